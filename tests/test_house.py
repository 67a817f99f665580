"""dvc.yaml tells the truth about its stages, and stages import no more than they use."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT, WorkingCopy
from mlp.params import Group, Params, load

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES: dict[str, Any] = PIPELINE["stages"]
WHOLE = [{"params.yaml": None}]  # every parameter
TABLES = {"openpyxl", "pandas", "scipy", "sklearn"}


def local_modules(module: str, found: set[str]) -> set[str]:
    """Files of all modules of this repository that a module imports, directly or not, anywhere in its text."""
    file = ROOT / module.replace(".", "/")
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    name = str(file.relative_to(ROOT))
    if file.exists() and name not in found:
        found.add(name)
        for imported in imports(ast.parse(file.read_text())):
            local_modules(imported, found)
        if "." in module:
            local_modules(module.rpartition(".")[0], found)
    return found


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not followed here"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_exactly_the_modules_that_it_imports(stage: str) -> None:
    declared = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")}
    assert declared == local_modules(f"stages.{stage}", set())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_exactly_the_params_that_it_reads(
    stage: str, subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs the stage with every read of a checked parameter on record."""
    module = importlib.import_module(f"stages.{stage}")
    monkeypatch.chdir(subset.path)
    params = load(Path("params.yaml"))
    groups = {id(group): f"{name}." for name, group in params if isinstance(group, Group)}
    read: set[str] = set()
    plain = Group.__getattribute__

    def recording(self: Group, name: str) -> Any:
        value = plain(self, name)
        if name in type(self).model_fields and not isinstance(value, Group):
            read.add(groups.get(id(self), "") + name)
        return value

    monkeypatch.setattr(Group, "__getattribute__", recording)
    if stage == "download":  # its files are the real ones here, those of the subset are known in its copy only
        monkeypatch.setattr(module, "download", lambda *_: None)
    module.main(params)
    declared = STAGES[stage].get("params", [])
    assert read == (every_parameter() if declared == WHOLE else set(declared))


def test_params_yaml_is_read_in_one_place_only() -> None:
    readers = [
        str(file.relative_to(ROOT))
        for folder in ("stages", "mlp")
        for file in (ROOT / folder).glob("*.py")
        if "yaml" in set(imports(ast.parse(file.read_text()))) or "params.yaml" in literals(file)
    ]
    assert sorted(readers) == ["mlp/params.py", "stages/__init__.py"]


def literals(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_every_parameter_is_read_by_a_stage() -> None:
    """By another than the report, which shows them all."""
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


def test_mlp_imports_neither_stages_nor_dvc() -> None:
    for file in (ROOT / "mlp").glob("*.py"):
        assert not {name.partition(".")[0] for name in imports(ast.parse(file.read_text()))} & {"stages", "dvc"}


@pytest.mark.parametrize(
    ("stage", "unused"),
    [
        ("download", {"torch", "torchvision", "numpy", "safetensors", "pypi_simple", "tqdm", *TABLES}),
        ("preprocess", {"torchvision", "torch._dynamo", *TABLES}),
        ("train_shallow", {"torch", "torchvision", *TABLES}),
        ("train_deep", {"torch", "torchvision", *TABLES}),
        ("evaluate", {"torchvision", "torch._dynamo", "sklearn", "openpyxl"}),  # statsmodels imports pandas
        ("compare_sizes", {"torch", "torchvision", "sklearn", "openpyxl"}),
        ("compare_learning_rates", {"torch", "torchvision", *TABLES}),
        ("preprocess_prices", {"torchvision", "torch._dynamo", "pandas", "scipy", "sklearn"}),
        ("train_prices", {"torch", "torchvision", *TABLES}),
        ("evaluate_prices", {"torchvision", "torch._dynamo"}),  # scikit-learn imports pandas
        ("train_binary", {"torch", "torchvision", *TABLES}),
        ("lecture", {"torchvision", "torch", "sklearn", "statsmodels"}),
        ("report", {"torch", "torchvision", "sklearn", "scipy", "statsmodels"}),
        ("predict", {"torchvision", "torch._dynamo", *TABLES}),
    ],
)
def test_starting_a_stage_imports_nothing_that_it_does_not_use(stage: str, unused: set[str]) -> None:
    script = f"import sys, stages.{stage}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert not loaded & (unused | {"dvc", "requests", "matplotlib"})


def test_training_does_not_import_the_compiler() -> None:
    """torch.optim.Adam does when it is constructed, which would cost every process more than a second."""
    script = (
        "import sys, torch; from functools import partial; from mlp.datasets import Examples; from mlp.spec import *;"
        "from mlp.models import ShallowNeuralNet; from mlp.training import *;"
        "examples = Examples(torch.rand(8, 4).double(), torch.arange(8) % 2);"
        "fit(partial(ShallowNeuralNet, 4, 3, 2), examples, classification_loss, Settings(1, 4, 0.1), [0]);"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert not {"torch._dynamo", "torchvision", *TABLES} & set(done.stdout.split())
