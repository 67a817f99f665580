"""A rebuild gives the same bytes under changed circumstances, and a difference is found and named."""

import csv
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import ENVIRONMENT, ROOT, WorkingCopy
from mlp.params import load
from verify import __main__ as verify
from verify import difference
from verify.__main__ import CIRCUMSTANCES, Circumstance, Row, emulate, rebuild

EVERYTHING_AT_ONCE = CIRCUMSTANCES[-1]._replace(
    name="everything at once",
    environment={name: value for each in CIRCUMSTANCES for name, value in each.environment.items()}
    | {"ATEN_CPU_CAPABILITY": "default", "MLP_WORKERS": "3"},  # eight would spend their time on starting
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
import os, pathlib, torch
from safetensors.torch import save_file
pathlib.Path("models").mkdir()
weight = torch.arange(6.0) + 0.25 * (os.environ.get("OMP_NUM_THREADS") == "8")
save_file({"bias": torch.zeros(2), "weight": weight}, "models/seed-0.safetensors")
"""


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", ENVIRONMENT["PATH"])


def test_everything_changed_at_once_gives_the_same_bytes(subset: WorkingCopy) -> None:
    assert set(EVERYTHING_AT_ONCE.environment) > {"MLP_WORKERS", "OMP_NUM_THREADS", "MKL_CBWR", "TZ", "LANG", "USER"}
    assert "Räume" in EVERYTHING_AT_ONCE.folder
    assert EVERYTHING_AT_ONCE.one_by_one
    assert rebuild(subset.path, EVERYTHING_AT_ONCE) == Row("everything at once", "same bytes")


@pytest.fixture
def small(tmp_path: Path) -> WorkingCopy:
    """A pipeline whose network depends on the number of threads."""
    copy = WorkingCopy(tmp_path / "small")
    copy.path.mkdir()
    (copy.path / "dvc.yaml").write_text(PIPELINE)
    (copy.path / "train.py").write_text(TRAIN)
    copy.run("git init -q && dvc init -q && mkdir data && touch data/.keep && dvc repro")
    copy.commit("All")
    return copy


def test_a_difference_names_the_first_output_and_tensor_and_its_size(small: WorkingCopy) -> None:
    assert rebuild(small.path, Circumstance("one thread", {"OMP_NUM_THREADS": "1"})) == Row("one thread", "same bytes")
    row = rebuild(small.path, Circumstance("eight threads", {"OMP_NUM_THREADS": "8"}))
    remark = "models: seed-0.safetensors: tensor weight differs in 6 of 6 numbers, by 2.5e-01 at most"
    assert row == Row("eight threads", "differs", remark)


def test_a_metric_in_git_that_a_rebuild_does_not_give_is_a_difference(small: WorkingCopy) -> None:
    (small.path / "metrics").write_text("0.99")
    small.commit("A number typed by hand")
    row = rebuild(small.path, Circumstance("nothing", {}))
    assert (row.result, row.remark) == ("differs", "M metrics")


def test_a_stage_that_fails_is_told_with_its_reason(small: WorkingCopy) -> None:
    (small.path / "train.py").write_text("raise SystemExit('no data')")
    small.commit("Broken")
    row = rebuild(small.path, Circumstance("nothing", {}))
    assert row.result == "failed"
    assert "no data" in row.remark


def test_instructions_that_the_processor_lacks_are_not_tried(
    small: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    row = rebuild(small.path, Circumstance("avx512", {}, capability="AVX512"))
    assert row == Row("avx512", "not tried", "this processor has no AVX512")
    assert rebuild(small.path, Circumstance("avx2", {}, capability="AVX2")).result == "same bytes"


@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="qemu-x86_64 is not installed")
def test_an_emulated_processor_trains_the_same_networks(subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(subset.path)
    assert emulate("Nehalem").result == "same bytes"


def test_only_a_committed_state_is_verified(small: WorkingCopy) -> None:
    shutil.copy(ROOT / "params.yaml", small.path)
    done = small.run(f"PYTHONPATH={ROOT} {sys.executable} -m verify", check=False)
    assert done.returncode == 1
    assert done.stderr == "params.yaml: not committed; what is rebuilt is the last commit\n"


def test_all_circumstances_are_told_and_one_that_matters_is_exit_status_1(
    small: WorkingCopy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(small.path)
    monkeypatch.setattr(verify, "PROCESSORS", [])
    monkeypatch.setattr(
        verify, "CIRCUMSTANCES", [Circumstance(f"{n} threads", {"OMP_NUM_THREADS": str(n)}) for n in (1, 8)]
    )
    with pytest.raises(SystemExit, match="the bytes depend on the circumstances"):
        verify.main(load(ROOT / "params.yaml"))
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
    told = difference.of_paths(tmp_path / "before", tmp_path / "after")
    assert (told or "").replace(f"{tmp_path}/", "") == (found or "")


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
    assert difference.of_paths(one, other) == "tensor weight is of another shape"
