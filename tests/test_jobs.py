"""Trainings side by side: jobs of this file, in real worker processes."""

import os
import signal
import time
from pathlib import Path

import pytest

from mlp.errors import DivergedError, InputError
from pipeline.jobs import epoch_done, run_jobs, seeds_of_jobs

KEY = "train.learning_rate"


def squares(numbers: list[int], seconds: float) -> list[int]:
    time.sleep(seconds)
    epoch_done(len(numbers))
    return [number**2 for number in numbers]


def fails(reason: str, leaves: Path, after: Path | None) -> list[int]:
    """Fails once another job has left its file, and leaves one too."""
    while after and not after.exists():
        time.sleep(0.01)
    time.sleep(0.3)
    leaves.touch()
    raise InputError(reason)


def diverges(seed: int) -> list[int]:
    raise DivergedError("DeepNeuralNet", seed, 3, 0.5)


def is_killed() -> list[int]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


@pytest.fixture(autouse=True)
def two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLP_WORKERS", "2")


def test_results_come_in_the_order_of_the_jobs_and_all_epochs_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever ends first."""
    assert run_jobs("train", squares, [([1, 2], 0.5), ([3], 0), ([4], 0)], 4, KEY) == [1, 4, 9, 16]
    assert "train: 100%" in capsys.readouterr().err


def test_of_several_failures_the_first_in_order_is_reported_although_it_came_later(tmp_path: Path) -> None:
    left = tmp_path / "left by the second"
    jobs = [("the first", tmp_path / "left by the first", left), ("the second", left, None)]
    with pytest.raises(InputError, match="the first"):
        run_jobs("train", fails, jobs, 0, KEY)


def test_after_a_failure_jobs_that_wait_do_not_start(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="job 0"):
        run_jobs("train", fails, [(f"job {n}", tmp_path / str(n), None) for n in range(100)], 0, KEY)
    assert not (tmp_path / "99").exists()


def test_a_training_that_diverges_names_the_stage_and_the_key_to_lower() -> None:
    with pytest.raises(InputError) as error:
        run_jobs("train", diverges, [(4,)], 3, KEY)
    assert str(error.value) == (
        "train: DeepNeuralNet, seed 4: loss or weights are not finite after epoch 3, at learning rate 0.5; "
        "lower train.learning_rate in params.yaml"
    )


def test_a_killed_worker_ends_in_one_line() -> None:
    with pytest.raises(InputError) as error:
        run_jobs("train", is_killed, [(), ()], 0, KEY)
    assert str(error.value) == (
        "train: a training process was killed, possibly out of memory; fewer at a time need less: MLP_WORKERS is 2"
    )


@pytest.mark.parametrize("workers", ["0", "-1", "1.5", "two", ""])
def test_a_wrong_number_of_workers_is_refused_in_one_line(workers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLP_WORKERS", workers)
    with pytest.raises(InputError, match=f"^MLP_WORKERS is '{workers}'; allowed: an integer of at least 1$"):
        run_jobs("train", squares, [([1], 0)], 1, KEY)


def test_a_job_trains_one_network_on_processors_and_all_of_them_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLP_DEVICE", raising=False)
    assert seeds_of_jobs([3, 5]) == [[3], [5]]
    monkeypatch.setenv("MLP_DEVICE", "cuda")
    assert seeds_of_jobs([3, 5]) == [[3, 5]]
