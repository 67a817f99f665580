"""Whatever is killed at whatever moment, the next run gives what an undisturbed one gives."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from conftest import ENVIRONMENT, WorkingCopy, clone, with_environment, workers_of
from faults.record import LONG, record

pytestmark = pytest.mark.slow

KILLS, ROUND = (1000, 20) if LONG else (48, 12)  # in all, and between two looks at what came out
VICTIMS = {"DVC alone": 4, "a stage": 4, "a process that trains": 1, "all at once": 4}  # and how often each is drawn
TARGETS = {"train_prices": 3, "evaluate_prices": 1}  # likewise
OWN = {".git", ".dvc", ".venv", "store", "__pycache__"}  # what DVC and others keep for themselves


@pytest.fixture
def houses(tmp_path: Path) -> WorkingCopy:
    """The pipeline of the house prices, with one seed and two epochs, run and committed."""
    copy = clone(tmp_path / "copy")
    with_environment(copy)
    copy.edit_params(seeds=[0], train_prices=copy.params()["train_prices"] | {"epochs": 2})
    (copy.path / "dvc.lock").unlink()
    copy.run("dvc repro evaluate_prices")
    copy.commit("House prices")
    return copy


def files(copy: WorkingCopy) -> dict[str, bytes]:
    """All that a user sees."""
    return {
        str(path.relative_to(copy.path)): path.read_bytes()
        for top in copy.path.iterdir()
        if top.name not in OWN
        for path in (top.rglob("*") if top.is_dir() else [top])
        if path.is_file() and not OWN & set(path.parts)
    }


def at_work(copy: WorkingCopy) -> list[psutil.Process]:
    """The processes that run in a copy."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(copy.path):
                found.append(process)
    return found


def part_of(dvc: subprocess.Popen[str], victim: str) -> psutil.Process | None:
    """A process of the run, as soon as there is one of that name."""
    while dvc.poll() is None:
        if victim in {"DVC alone", "all at once"}:
            return psutil.Process(dvc.pid)
        if victim == "a process that trains":
            for worker in workers_of(dvc.pid):
                return worker
        for child in psutil.Process(dvc.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if victim == "a stage" and "-m" in child.cmdline():
                    return child
        time.sleep(0.02)
    return None


def disturbed(copy: WorkingCopy, victim: str, target: str, after: float) -> tuple[bool, int, str]:
    """Whether the victim lived that many seconds, then DVC's exit status and what it said."""
    dvc = subprocess.Popen(
        ["dvc", "repro", "-q", target],
        cwd=copy.path,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    part = part_of(dvc, victim)
    killed = False
    if part:
        with suppress(subprocess.TimeoutExpired):
            dvc.wait(after)
        killed = dvc.returncode is None and part.is_running()
        if killed and victim == "all at once":
            os.killpg(dvc.pid, signal.SIGKILL)
        elif killed:
            part.kill()
    assert dvc.stderr
    said = dvc.stderr.read() if not killed or victim not in {"DVC alone", "all at once"} else ""
    return killed, dvc.wait(), said


def test_killed_at_any_moment_the_next_run_gives_the_same_bytes(houses: WorkingCopy) -> None:
    """A run that DVC itself refuses, since it was killed while it wrote its own files, becomes `make recover`."""
    before, chance = files(houses), random.Random(0)
    kills, repaired = Counter[str](), Counter[str]()
    last, epochs = "", 2

    def repair() -> None:
        houses.run("make recover", MAKEFLAGS="")
        repaired[last] += 1

    houses.run("dvc exp run -q -S train_prices.epochs=1 train_prices && rm -r .dvc/cache/runs")
    begin = time.monotonic()
    houses.run("git checkout params.yaml && dvc repro train_prices")
    seconds = time.monotonic() - begin
    while kills.total() < KILLS:
        (victim,) = chance.choices(list(VICTIMS), list(VICTIMS.values()))
        (target,) = chance.choices(list(TARGETS), list(TARGETS.values()))
        epochs = 3 - epochs
        houses.edit_params(train_prices=houses.params()["train_prices"] | {"epochs": epochs})
        if chance.random() < 0.8:
            shutil.rmtree(houses.path / ".dvc/cache/runs", ignore_errors=True)  # or everything comes from there
        if victim == "a process that trains":
            shutil.rmtree(houses.path / "store", ignore_errors=True)
        killed, status, said = disturbed(houses, victim, target, chance.uniform(0, seconds * 0.7))
        print(f"{killed} {victim} {target} {status} {time.monotonic() - begin:.1f} {said}")
        if killed:
            kills[victim] += 1
            if victim in {"DVC alone", "all at once"}:
                last = victim
            assert status == 0 or victim != "a process that trains", said
        elif status:
            assert re.search(r"dvc\.lock|rwlock", said), said
            repair()
        if killed and kills.total() % ROUND == 0:
            houses.run("git checkout params.yaml")
            done = houses.run("dvc repro evaluate_prices", check=False)
            if done.returncode or houses.status():
                print(done, houses.status())
                repair()
            assert files(houses) == before
            assert houses.status() == ""
            psutil.wait_procs(at_work(houses), timeout=5)
            assert not at_work(houses)
    print(kills, repaired)
    for victim, tries in kills.items():
        record(f"killed: {victim}", tries, as_asked=tries - repaired[victim], repaired=repaired[victim])
