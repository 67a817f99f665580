"""Checks that a rebuild under changed circumstances gives the same bytes, and that differences are reported."""

import csv
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import ENVIRONMENT, ROOT, WorkingCopy
from mlp import ames, images
from mlp.errors import InputError
from mlp.house_features import BOUNDS
from mlp.prediction import predict
from test_readme import COMMANDS
from tools.verify import circumstances, difference, elsewhere, steps
from tools.verify.circumstances import CIRCUMSTANCES, EMULATED, Circumstance, Row, pythons, rebuild, train

EVERYTHING_AT_ONCE = CIRCUMSTANCES[-1]._replace(
    name="everything at once",
    environment={
        name: value
        for each in CIRCUMSTANCES
        for name, value in each.environment.items()
        if each.name != "a locale without UTF-8"  # covered by tests/test_locale.py
    }
    | {"ATEN_CPU_CAPABILITY": "default", "MLP_WORKERS": "2"},  # the fixture used one; eight would take long to start
    one_by_one=False,  # so would a DVC process for each stage, tested below
)
PIPELINE = """
stages:
  train:
    cmd: python train.py
    outs: [models]
  evaluate:
    cmd: cp models/seed-0.safetensors metrics
    deps: [models]
    outs:
      - metrics:
          cache: false
"""
TRAIN = """
import os, pathlib
import numpy as np
from safetensors.numpy import save_file
pathlib.Path("models").mkdir()
weight = np.arange(6.0) + 0.25 * (os.environ.get("OMP_NUM_THREADS") == "8")
save_file({"bias": np.zeros(2), "weight": weight}, "models/seed-0.safetensors")
"""


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", ENVIRONMENT["PATH"])


def test_everything_changed_at_once_gives_the_same_bytes(subset: WorkingCopy) -> None:
    """Runs the README's commands; dvc.lock, which is in git, has the hash of every output."""
    assert set(EVERYTHING_AT_ONCE.environment) > {"MLP_WORKERS", "OMP_NUM_THREADS", "MKL_CBWR", "TZ", "LANG", "USER"}
    assert "Räume" in EVERYTHING_AT_ONCE.folder
    moved = WorkingCopy(subset.path.rename(subset.path.with_name(EVERYTHING_AT_ONCE.folder)))
    written = (moved.path / "dvc.lock").stat().st_mtime_ns
    commands = COMMANDS["README.md: Check that it is reproducible"]
    moved.run(f"set -e; umask {EVERYTHING_AT_ONCE.umask:o}\n{commands}", check=True, **EVERYTHING_AT_ONCE.environment)
    assert moved.status() == ""
    assert (moved.path / "dvc.lock").stat().st_mtime_ns > written


@pytest.fixture(scope="module")
def small_template(tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """Creates a pipeline whose network depends on the number of threads."""
    copy = WorkingCopy(tmp_path_factory.mktemp("small"))
    (copy.path / "dvc.yaml").write_text(PIPELINE)
    (copy.path / "train.py").write_text(TRAIN)
    copy.run("git init -q && dvc init -q && mkdir -p data/manual && touch data/manual/.keep && dvc repro")
    copy.commit("All")
    return copy


@pytest.fixture
def small(small_template: WorkingCopy, tmp_path: Path) -> WorkingCopy:
    """A copy of `small_template` that the test may change."""
    return small_template.copied(tmp_path / "small")


def test_a_difference_names_the_first_output_and_tensor_and_its_size(small: WorkingCopy) -> None:
    assert rebuild(small.path, Circumstance("one thread", {"OMP_NUM_THREADS": "1"})) == Row("one thread", "same bytes")
    row = rebuild(small.path, Circumstance("eight threads", {"OMP_NUM_THREADS": "8"}))
    remark = "models: seed-0.safetensors: tensor weight differs in 6 of 6 numbers, by 2.5e-01 at most"
    assert row == Row("eight threads", "differs", remark)


def test_a_rebuild_with_everything_changed_at_once_is_compared(small: WorkingCopy) -> None:
    assert rebuild(small.path, EVERYTHING_AT_ONCE) == Row("everything at once", "same bytes")


def test_a_rebuild_of_one_stage_at_a_time_runs_them_all(small: WorkingCopy) -> None:
    circumstance = Circumstance("one stage at a time", {"OMP_NUM_THREADS": "1"}, one_by_one=True)
    assert rebuild(small.path, circumstance).result == "same bytes"


def test_a_metric_in_git_that_a_rebuild_does_not_give_is_a_difference(small: WorkingCopy) -> None:
    (small.path / "metrics").write_text("0.99")
    small.commit("A number typed by hand")
    row = rebuild(small.path, Circumstance("nothing", {}))
    assert (row.result, row.remark) == ("differs", "M metrics")


def test_a_users_own_data_set_is_not_a_difference(small: WorkingCopy) -> None:
    """Git ignores its files."""
    with (small.path / ".gitignore").open("a") as ignored:
        ignored.write("/data/manual/*/*\n")
    small.commit("As in this repository")
    (small.path / "data/manual/pets/train/cat").mkdir(parents=True)
    (small.path / "data/manual/pets/train/cat/0.png").touch()
    assert rebuild(small.path, Circumstance("nothing", {})).result == "same bytes"


def test_a_rebuild_uses_the_raw_files_of_the_repository(small: WorkingCopy) -> None:
    for folder in ("raw", "manual"):
        (small.path / "data" / folder / "mnist").mkdir(parents=True)
    (small.path / "data/manual/mnist/dataset.json").touch()
    (small.path / "data/raw/mnist/labels-ubyte").write_text("7")
    with (small.path / ".gitignore").open("a") as ignored:
        ignored.write("/data/raw\n*-ubyte\n")
    with (small.path / "train.py").open("a") as script:
        script.write("assert pathlib.Path('data/manual/mnist/labels-ubyte').read_text() == '7'\n")
    small.commit("It needs a raw file")
    assert rebuild(small.path, Circumstance("nothing", {})) == Row("nothing", "same bytes")


def test_a_failed_stage_is_reported_with_its_reason(small: WorkingCopy) -> None:
    (small.path / "train.py").write_text("raise SystemExit('no data')")
    small.commit("Broken")
    row = rebuild(small.path, Circumstance("nothing", {}))
    assert row.result == "failed"
    assert "no data" in row.remark


def test_instructions_that_the_processor_lacks_are_not_tried(
    small: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    row = rebuild(small.path, Circumstance("avx512", {}, needs="AVX512"))
    assert row == Row("avx512", "not tried", "this processor has no AVX512")
    assert rebuild(small.path, Circumstance("avx2", {}, needs="AVX2")).result == "same bytes"
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    row = rebuild(small.path, Circumstance("avx2", {}, needs="AVX2"))
    assert row == Row("avx2", "not tried", "this processor is not an x86-64")


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """Creates a folder with random images and houses at the pipeline's paths."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (70, 28, 28), generator=generator).byte()
    labels = torch.randint(10, (70,), generator=generator)
    inputs = torch.rand(70, 16, generator=generator).double()
    prices = 100_000 * (1 + inputs.sum(dim=1))
    for folder in ("processed", "prices/all"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    normalised = images.LabelledImages(pixels, labels, *images.pixel_statistics(pixels))
    images.save(normalised, tmp_path / "data/processed/train.safetensors")
    least, one = torch.tensor([least for least, _ in BOUNDS.values()]).double(), torch.ones(16).double()
    log_mean, log_std = torch.tensor([13.0, 0.5]).double()
    houses = ames.Houses(least + inputs, prices, least, one, log_mean, log_std)
    ames.save(houses, tmp_path / "data/prices/all/train.safetensors")
    return tmp_path


def test_images_of_any_size_and_any_number_of_classes_are_trained_on() -> None:
    data = {
        "images": torch.zeros(5, 3, 4, dtype=torch.uint8),
        "labels": torch.tensor([0, 1, 11, 2, 0]),
        "mean": torch.tensor(0.5).double(),
        "std": torch.tensor(0.5).double(),
        "houses": torch.zeros(5, 16).double(),
        "prices": torch.zeros(5).double(),
        "above_median": torch.zeros(5).double(),
    }
    outputs = {name: predict(make(), of).shape[1:] for name, (make, of, *_) in steps.trainings(data).items()}
    assert outputs == {name: () if name == "binary" else (1 if name == "prices" else 12,) for name in outputs}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens training to two epochs, in the copy of steps.py that is sent to each Python."""
    text = Path(steps.__file__).read_text(encoding="utf-8")
    shorter = re.sub(r"epochs=\d+", "epochs=2", text)
    assert shorter != text
    write = zipfile.ZipFile.write
    monkeypatch.setattr(
        zipfile.ZipFile,
        "write",
        lambda self, path, name: self.writestr(name, shorter) if name.endswith("steps.py") else write(self, path, name),
    )


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_other_pythons_train_the_same_networks_or_the_difference_is_reported(examples: Path, tmp_path: Path) -> None:
    python = Path(sys.executable)
    wrong = tmp_path / "wrong"
    faster = "USUAL = steps.USUAL._replace(learning_rate=0.002); steps.main("
    wrong.write_text(f"#!{python}\nimport sys\nexec(sys.stdin.read().replace('main(', {faster!r}))")
    wrong.chmod(0o755)
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'no torch here' >&2\nexit 3\n")
    broken.chmod(0o755)
    commands = [
        f"env OPENBLAS_CORETYPE=Nehalem MLP_DEVICE=cpu {python}",
        f"env ATEN_CPU_CAPABILITY=default {python}",
        str(wrong),
        str(broken),
        "echo",
        "/no/such/python",
    ]
    rows = list(train(examples, pythons("\n".join(commands)), size=70))
    assert [row.circumstance for row in rows] == [f"training by further Python {n}" for n in range(1, 7)]
    same, default, *others = rows
    assert same[1:] == ("same bytes", "")
    assert default.result == "same bytes"
    if steps.machine() != default.remark.removeprefix("on "):
        assert default.remark.startswith(f"on {platform.machine()} with ")
    assert others[0].result == "differs"
    assert others[0].remark.startswith("tensor binary.seed-0.biases1 differs in 8 of 8 numbers")
    assert [row[1:] for row in others[1:]] == [
        ("failed", "no torch here"),
        ("failed", "echo does not answer like a Python: b'-\\n'"),
        ("failed", "/no/such/python: No such file or directory"),
    ]


@pytest.mark.slow
def test_the_code_that_is_sent_needs_only_torch_numpy_and_safetensors(examples: Path) -> None:
    """This holds even in a folder that has modules of the same names."""
    for package in ("tools", "mlp"):
        (examples / package).mkdir()
        (examples / package / "__init__.py").touch()
    refuse = (
        "import sys, importlib.abc\n"
        "class Refuse(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('openpyxl', 'pydantic', 'tqdm', 'yaml', 'dvc', 'stages'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    program = refuse.encode() + elsewhere.program(examples, 64).replace(b"steps.main(", b"print('ready') or exit(")
    done = subprocess.run([sys.executable, "-"], input=program, cwd=examples, capture_output=True)
    assert done.stdout == b"ready\n", done.stderr


def test_commands_of_further_pythons_are_separated_by_commas_or_lines() -> None:
    places = pythons("ssh arm python3, qemu-x86_64 -cpu max '/my python'\n\n/opt/python,")
    assert [place.command for place in places] == [
        ["ssh", "arm", "python3"],
        ["qemu-x86_64", "-cpu", "max", "/my python"],
        ["/opt/python"],
    ]
    assert pythons("") == []


def test_commands_of_further_pythons_that_cannot_be_parsed_are_rejected_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^PYTHONS is 'ssh arm \"python3' \(No closing quotation\); needed: commands"):
        pythons('ssh arm "python3')


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-x86_64") and "CI" not in os.environ, reason="qemu-x86_64 is not installed")
@pytest.mark.usefixtures("short")
def test_an_emulated_processor_trains_the_same_networks(examples: Path) -> None:
    (row,) = train(examples, EMULATED[:1], size=64)
    assert row.result == ("same bytes" if platform.machine() == "x86_64" else "not tried")


def test_an_emulator_that_is_not_installed_is_not_tried(examples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(circumstances, "lacking", lambda _: None)
    monkeypatch.setattr(elsewhere, "train", lambda *_: ("here", {}))
    (row,) = train(examples, EMULATED[:1], size=64)
    assert row == Row("training on an emulated Nehalem", "not tried", "qemu-x86_64 is not installed")


def test_only_a_committed_state_is_verified(small: WorkingCopy) -> None:
    shutil.copy(ROOT / "params.yaml", small.path)
    done = small.run(f"PYTHONPATH={ROOT} {sys.executable} -m tools.verify", check=False)
    assert done.returncode == 1
    assert done.stderr == "params.yaml: not committed; what is rebuilt is the last commit\n"


def test_all_circumstances_are_reported_and_a_difference_is_exit_status_1(
    small: WorkingCopy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(small.path)
    monkeypatch.setattr(circumstances, "ENVIRONMENTS", [])
    monkeypatch.setattr(circumstances, "EMULATED", [])
    monkeypatch.setattr(
        circumstances, "CIRCUMSTANCES", [Circumstance(f"{n} threads", {"OMP_NUM_THREADS": str(n)}) for n in (1, 8)]
    )
    with pytest.raises(SystemExit, match="not every circumstance gave the same bytes"):
        circumstances.main()
    same, differs = capsys.readouterr().out.splitlines()[1:]
    assert same == "1 threads  same bytes"
    assert differs.startswith("8 threads  differs     models: seed-0.safetensors: tensor weight")
    rows = list(csv.DictReader((small.path / "docs/verified.csv").open()))
    assert [(row["circumstance"], row["result"]) for row in rows] == [
        ("1 threads", "same bytes"),
        ("8 threads", "differs"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("a\nb\n", "a\nb\n", None),
        ("a\nb\n", "a\nc\n", "table.csv: line 2 is 'c'; it was 'b'"),
        ("a\n", "a\nb\n", "table.csv: of another length"),
        ("a\n", None, "table.csv: only in before"),
        (None, "a\n", "table.csv: only in after"),
    ],
)
def test_files_are_compared_line_by_line(
    before: str | None, after: str | None, found: str | None, tmp_path: Path
) -> None:
    for name, content in (("before", before), ("after", after)):
        (tmp_path / name).mkdir()
        if content is not None:
            (tmp_path / name / "table.csv").write_text(content)
    difference_found = difference.of_paths(tmp_path / "before", tmp_path / "after")
    assert (difference_found or "").replace(f"{tmp_path}/", "") == (found or "")


def test_tensors_are_compared_number_by_number(tmp_path: Path) -> None:
    weights = {"bias": torch.zeros(3), "weight": torch.ones(2, 4)}
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    save_file(weights, one, {"network": "{}"})
    save_file(weights, other, {"network": "[]"})
    assert difference.of_paths(one, other) == "other metadata"
    weights["weight"][1, 2] += 2**-14
    save_file(weights, other, {"network": "{}"})
    assert difference.of_paths(one, other) == "tensor weight differs in 1 of 8 numbers, by 6.1e-05 at most"
    assert load_file(other)["weight"][1, 2] != 1
    save_file(weights | {"weight": torch.ones(8)}, other, {"network": "{}"})
    assert difference.of_paths(one, other) == "tensor weight is of another shape or type"
    assert difference.of_tensors({"a": np.zeros(2)}, {}) == "tensor a is missing in one"
    zeros = "tensor a differs in the sign of a zero or in what is not a number"
    assert difference.of_tensors({"a": np.zeros(2)}, {"a": -np.zeros(2)}) == zeros
