"""Checks that dvc.yaml matches what its stages read, and that stages import no more than they use."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import HOUSES, IMAGES, ROOT, WorkingCopy, train_here
from pipeline.imports import imports
from pipeline.networks import NETWORKS
from pipeline.params import Group, load
from pipeline.params.complete import Params
from tools.dependencies import dependencies

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES: dict[str, Any] = PIPELINE["stages"]
WHOLE = [{"params.yaml": None}]  # every parameter
PAGES = {"check_params", "report"}  # stages that read all of params.yaml
TABLES = {"openpyxl", "pandas", "scipy", "sklearn"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_exactly_the_modules_that_it_imports(stage: str) -> None:
    assert STAGES[stage]["deps"] == dependencies(stage, STAGES[stage]), "run make deps"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_exactly_the_params_that_it_reads(
    stage: str, subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs the stage and records every parameter that it reads."""
    module = importlib.import_module(f"stages.{stage}")
    monkeypatch.chdir(subset.path)
    train_here(monkeypatch)
    params = load(module.Params)
    prefixes = {id(group): f"{name}." for name, group in params if isinstance(group, Group)} | {id(params): ""}
    read: set[str] = set()
    plain = Group.__getattribute__

    def recording(self: Group, name: str) -> Any:
        value = plain(self, name)
        if id(self) in prefixes and name in type(self).model_fields and not isinstance(value, Group):
            read.add(prefixes[id(self)] + name)
        return value

    monkeypatch.setattr(Group, "__getattribute__", recording)
    module.main(params)
    declared = STAGES[stage].get("params", [])
    assert declared == WHOLE or read == set(declared)


@pytest.mark.parametrize(
    ("file", "stages"),
    {
        "pipeline/params/train_prices.py": {"train_prices", *PAGES},
        "pipeline/params/compare_sizes.py": {"compare_sizes", "lecture", *PAGES},
        "pipeline/params/train_shallow.py": {"train_shallow", "lecture", *PAGES},
        "pipeline/networks.py": {*IMAGES[2:], "report"},
        "pipeline/image_folder.py": {"download"},
        "mlp/images.py": {*IMAGES},
        "mlp/evaluation.py": {*IMAGES[2:]},
        "mlp/comparison.py": {"evaluate", "compare_sizes"},
        "mlp/ames.py": {*HOUSES},
        "mlp/binary.py": {"train_binary"},
        "mlp/exact.py": {*IMAGES[2:], *HOUSES},
        "stages/train_deep.py": {"train_deep"},
        "requirements-dev.lock": set(),
        "tools/predict.py": set(),
    }.items(),
)
def test_a_change_reruns_only_what_it_affects(file: str, stages: set[str]) -> None:
    assert (ROOT / file).exists()
    affected = {name for name, stage in STAGES.items() if file in stage["deps"]}
    assert affected == stages, "a new stage belongs in IMAGES or HOUSES of tests/conftest.py"


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_its_stage_metrics_charts_and_artifact(name: str) -> None:
    """CONTRIBUTING.md lists them. The next test covers networks missing from NETWORKS, which no stage would notice."""
    network, curves = f"models/{name}", f"plots/curves/{name}.csv"
    assert {network, curves} <= set(STAGES[f"train_{name}"]["outs"])
    assert network in STAGES["evaluate"]["deps"]
    assert curves in STAGES["report"]["deps"]
    assert PIPELINE["artifacts"][name]["path"] == network
    for chart in ("validation_accuracy", "loss"):
        (drawn,) = (each[chart]["y"] for each in PIPELINE["plots"] if chart in each)
        assert curves in drawn


def test_every_stage_that_trains_on_images_alone_is_in_networks() -> None:
    trained = {path for stage in STAGES.values() for path in stage.get("outs", []) if str(path).startswith("models/")}
    assert trained - {"models/prices", "models/binary"} == {f"models/{name}" for name in NETWORKS}


def test_params_yaml_is_read_in_one_place_only() -> None:
    readers = [
        file.relative_to(ROOT).as_posix()
        for folder in ("stages", "pipeline", "mlp")
        for file in (ROOT / folder).rglob("*.py")
        if "yaml" in set(imports(ast.parse(file.read_text()))) or "params.yaml" in literals(file)
    ]
    assert readers == ["pipeline/params/__init__.py"]


def literals(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_every_parameter_is_read_by_a_stage() -> None:
    """Stages that read all of params.yaml, such as the report, do not count."""
    declared = {key for stage in STAGES.values() if stage.get("params") != WHOLE for key in stage.get("params", [])}
    assert declared == every_parameter()


def every_parameter() -> set[str]:
    return {
        f"{name}.{inner}" if inner else name
        for name, field in Params.model_fields.items()
        for inner in getattr(field.annotation, "model_fields", None) or [""]
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_a_description_and_its_own_script(stage: str) -> None:
    assert STAGES[stage]["desc"]
    assert STAGES[stage]["cmd"] == f"python -m stages.{stage}"


@pytest.mark.parametrize(
    ("package", "above"),
    [
        ("mlp", {"pipeline", "stages", "tools", "dvc"}),
        ("pipeline", {"stages", "tools", "dvc"}),
        ("stages", {"tools", "dvc"}),
    ],
)
def test_a_layer_imports_nothing_from_above(package: str, above: set[str]) -> None:
    for file in (ROOT / package).rglob("*.py"):
        locks = {"dvc"} if file == ROOT / "pipeline/experiments.py" else set()  # it takes DVC's own locks
        assert not {name.partition(".")[0] for name in imports(ast.parse(file.read_text()))} & (above - locks), file


def test_stages_are_scripts_of_dvc_yaml_and_nothing_else() -> None:
    assert {file.stem for file in (ROOT / "stages").iterdir() if file.suffix} == {*STAGES, "__init__"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "unused"),
    [
        ("download", {"torch", "torchvision", "numpy", "safetensors", "pypi_simple", "tqdm", *TABLES}),
        ("preprocess", {"torchvision", "torch._dynamo", *TABLES}),
        ("train_shallow", {"torch", "torchvision", *TABLES}),
        ("train_deep", {"torch", "torchvision", *TABLES}),
        ("evaluate", {"torchvision", "torch._dynamo", "scipy.stats", "statsmodels", *(TABLES - {"scipy"})}),
        ("compare_sizes", {"torch", "torchvision", "scipy.stats", "statsmodels", *(TABLES - {"scipy"})}),
        ("compare_learning_rates", {"torch", "torchvision", *TABLES}),
        ("preprocess_prices", {"torchvision", "torch._dynamo", "pandas", "scipy", "sklearn"}),
        ("train_prices", {"torch", "torchvision", *TABLES}),
        ("evaluate_prices", {"torchvision", "torch._dynamo"}),  # scikit-learn imports pandas
        ("train_binary", {"torch", "torchvision", *TABLES}),
        ("lecture", {"torchvision", "torch", "sklearn", "statsmodels"}),
        ("plots_page", {"torch", "torchvision", "numpy", *TABLES}),
        ("report", {"torch", "torchvision", "sklearn", "scipy", "statsmodels"}),
        ("tools.predict", {"torchvision", "torch._dynamo", *TABLES}),
    ],
)
def test_starting_a_stage_imports_nothing_that_it_does_not_use(stage: str, unused: set[str]) -> None:
    module = stage if "." in stage else f"stages.{stage}"
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert not loaded & (unused | {"dvc", "requests", "matplotlib"})


@pytest.mark.slow
def test_training_does_not_import_the_compiler() -> None:
    """Constructing torch.optim.Adam would import it, which costs every process more than a second."""
    script = (
        "import sys, torch; from functools import partial; from mlp.examples import Examples; from mlp.spec import *;"
        "from mlp.models import ShallowNeuralNet; from mlp.training import *;"
        "examples = Examples(torch.rand(8, 4).double(), torch.arange(8) % 2);"
        "fit(partial(ShallowNeuralNet, 4, 3, 2), examples, classification_loss, Settings(1, 4, 0.1), [0]);"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert not {"torch._dynamo", "torchvision", *TABLES} & set(done.stdout.split())
