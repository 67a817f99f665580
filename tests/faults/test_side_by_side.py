"""Of two simultaneous commands in one clone, one may wait or be refused, but no result is wrong."""

import re
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from conftest import ALONE, ENVIRONMENT, WorkingCopy, at_work, different, finish_queue
from faults.conftest import changed, files

pytestmark = pytest.mark.slow


def results(copy: WorkingCopy) -> dict[str, bytes]:
    return {name: content for name, content in files(copy).items() if name.startswith(("models", "metrics", "plots"))}


@pytest.fixture(scope="module")
def expected(houses_template: WorkingCopy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The results of an undisturbed run for one epoch."""
    copy = houses_template.copied(tmp_path_factory.mktemp("undisturbed") / "copy")
    copy.run("dvc exp run -q -S train_prices.epochs=1 evaluate_prices")
    return results(copy)


@pytest.mark.parametrize(("other", "delay"), [("dvc repro evaluate_prices", 0), ("dvc exp run evaluate_prices", 3)])
def test_two_simultaneous_runs_give_the_same_bytes(
    houses: WorkingCopy, expected: dict[str, bytes], other: str, delay: int
) -> None:
    """A starting experiment briefly stashes changes and restores outputs; a stage that detects this fails."""
    before = files(houses)
    houses.run("rm -r .dvc/cache/runs store")  # so that the last run trains, too
    houses.edit_params(train_prices=houses.params()["train_prices"] | {"epochs": 1})
    both = []
    for command in ("dvc repro evaluate_prices", other):
        both.append(
            subprocess.Popen(command.split(), cwd=houses.path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        )
        time.sleep(delay)
    for run in both:
        said = run.communicate()[1]
        assert run.returncode == 0 or re.search("busy|lock|changed while|started in this folder", said), said
    assert houses.params()["train_prices"]["epochs"] == 1
    houses.run("dvc repro evaluate_prices")
    assert not different(results(houses), expected)
    houses.run("git checkout -q params.yaml && dvc repro evaluate_prices")
    assert not changed(before, houses)
    assert houses.status() == ""


def test_an_experiment_is_refused_until_dvc_has_recorded_the_stage(
    houses: WorkingCopy, expected: dict[str, bytes], tmp_path: Path
) -> None:
    """DVC alone would let it restore older outputs, and parameters, over those that DVC is about to record."""
    ended = tmp_path / "ended"
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, pathlib, sys, time\n"
        "if sys.orig_argv[1:] == ['-m', 'stages.train_prices']:\n"
        "    atexit.register(time.sleep, 4)\n"  # DVC records the outputs only now
        f"    atexit.register(pathlib.Path({str(ended)!r}).touch)\n"
    )
    houses.edit_params(train_prices=houses.params()["train_prices"] | {"epochs": 1})

    def refused() -> None:
        experiment = houses.run("dvc exp run evaluate_prices", check=False)
        assert experiment.returncode == 255
        assert "'refs/exps/stash' is busy, it is being blocked by:" in experiment.stderr

    slow_exit = ENVIRONMENT | {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(["dvc", "repro", "-q", "evaluate_prices"], cwd=houses.path, env=slow_exit) as repro:
        locks = houses.path / ".dvc/tmp/exps/rwlock"
        while "stages.train_prices" not in (locks.read_text(encoding="utf-8") if locks.exists() else ""):
            assert repro.poll() is None
            time.sleep(0.05)
        refused()
        while not ended.exists():
            assert repro.poll() is None
            time.sleep(0.05)
        refused()
        houses.run("dvc exp run --queue evaluate_prices")
    assert repro.returncode == 0
    assert not psutil.wait_procs(at_work(houses, "stages.train_prices"), timeout=5)[1]
    assert not different(results(houses), expected)


def test_a_queue_goes_on_after_its_worker_was_killed_as_documented(
    houses: WorkingCopy, expected: dict[str, bytes]
) -> None:
    def status(experiment: str) -> str:
        (line,) = [line for line in houses.run("dvc queue status").stdout.splitlines() if f" {experiment} " in line]
        return line.split()[-1]

    for name, epochs in (("first", 3), ("second", 1)):
        houses.run(f"dvc exp run --queue -n {name} -S train_prices.epochs={epochs} evaluate_prices")
    houses.run(f"dvc queue start {ALONE}")
    while not at_work(houses, "stages.train_prices"):
        time.sleep(0.2)
    (worker,) = at_work(houses, "queue-worker")
    worker.kill()
    psutil.wait_procs(at_work(houses, "exec-run"))
    assert [status("first"), status("second")] == ["Running", "Queued"]
    houses.run("dvc queue kill first")
    finish_queue(houses)
    assert [status("first"), status("second")] == ["Success", "Success"]
    for name in ("first", "second"):
        houses.run(f"git checkout -q . && dvc exp apply {name}")
    assert not different(results(houses), expected)
