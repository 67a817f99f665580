"""Checks that a stage runs on the same parameters and dependencies that DVC records."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlp.errors import InputError
from pipeline import experiments
from pipeline.params import Schema
from pipeline.stage import run

# a stage under DVC forks before it has other threads; this process has some
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


class Params(Schema):
    hidden: list[int]
    dataset: str = "pets"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Creates a project as its stage sees it under DVC; the stage depends on a file and a folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "train")
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a script ignores it
    Path("params.yaml").write_text("{hidden: [80], dataset: pets, seeds: [0]}", encoding="utf-8")
    Path("data/pets/train").mkdir(parents=True)
    Path("data/pets/train/0.png").write_text("", encoding="utf-8")
    Path("dvc.yaml").write_text("stages: {train: {cmd: train, deps: [train.py, 'data/${dataset}']}}", encoding="utf-8")
    Path("train.py").write_text("", encoding="utf-8")
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize("name", ["train", "../dvc.yaml:train"])
def test_a_stage_gets_what_its_schema_reads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC prefixes the name with the file if it was started in another folder."""
    monkeypatch.setenv("DVC_STAGE", name)
    read: list[Params] = []
    run(read.append, Params)
    assert read == [Params(hidden=[80])]


@pytest.mark.parametrize(
    ("file", "text"),
    [("params.yaml", "{hidden: [40], seeds: [0]}"), ("train.py", "# other code"), ("data/pets/train/0.png", "other")],
)
def test_a_dependency_that_changes_while_a_stage_runs_fails_the_stage(file: str, text: str) -> None:
    """Otherwise DVC would record the changed file as what the outputs were made from."""

    def stage(_: Params) -> None:
        Path(file).write_text(text, encoding="utf-8")

    named = "data/pets" if "pets" in file else file
    with pytest.raises(SystemExit, match=rf"^{named}: changed while the stage ran; run `dvc repro` again$"):
        run(stage, Params)


def test_what_a_stage_does_not_read_may_change_meanwhile() -> None:
    def stage(_: Params) -> None:
        Path("params.yaml").write_text("{hidden: [80], seeds: [1]}", encoding="utf-8")
        Path("other.py").write_text("", encoding="utf-8")

    run(stage, Params)


def test_a_stage_fails_if_an_unrelated_experiment_runs() -> None:
    """DVC records in workspace.json which process runs an experiment in the folder."""
    file = experiments.FOLDER / "run/workspace/workspace.json"
    file.parent.mkdir(parents=True)

    def note(pid: int) -> None:
        file.write_text(json.dumps({"pid": pid}), encoding="utf-8")

    refused = "^`dvc exp run` started in this folder, too; run `dvc repro` again$"
    with subprocess.Popen([sys.executable, "-c", "input()", "dvc"], stdin=subprocess.PIPE) as experiment:
        with pytest.raises(SystemExit, match=refused):
            run(lambda _: note(experiment.pid), Params)
        with pytest.raises(SystemExit, match=refused):
            run(lambda _: pytest.fail("ran"), Params)
        experiment.kill()
    run(lambda _: None, Params)
    note(os.getpid())  # the id has been reused by a process other than dvc
    run(lambda _: None, Params)


def test_a_damaged_lock_is_named_with_its_remedy() -> None:
    experiments.FOLDER.mkdir(parents=True)
    (experiments.FOLDER / "rwlock").write_text("", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"RWLock-file .*rwlock.* Run `make recover`\.$"):
        run(lambda _: None, Params)


@pytest.mark.parametrize("error", [InputError("data/prices: damaged"), RuntimeError("could not read")])
def test_an_interrupt_is_reported_as_such_even_if_a_library_replaces_it(error: Exception) -> None:
    """torch does: interrupted while it gets a tensor's storage, it cannot determine the shape."""

    def stage(_: Params) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise error from None

    with pytest.raises(SystemExit, match=r"^interrupted$"):
        run(stage, Params)
