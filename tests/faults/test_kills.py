"""After a kill of any process at any moment, the next run gives the same results as an undisturbed one."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from conftest import ENVIRONMENT, WorkingCopy, at_work, descendants, workers_of
from faults.conftest import changed, files
from faults.record import LONG, record

pytestmark = pytest.mark.slow

KILLS, ROUND = (1000, 20) if LONG else (50, 25)  # in total, and between two checks of the results
VICTIMS = {"DVC alone": 4, "a stage": 4, "a process that trains": 1, "all at once": 4}  # with weights for drawing
TARGETS = {"train_prices": 9, "evaluate_prices": 1}  # with weights, too
# runs `dvc repro` on each target from stdin, in a fork of a process that has imported DVC, which takes a second
READY = """
import os, sys
import dulwich.porcelain, dulwich.worktree, dvc.analytics, dvc.commands.repro, dvc.compare, dvc.data_cloud, dvc.dirs
import dvc.repo.reproduce, dvc.rwlock, dvc.stage.cache, dvc.stage.run, dvc_render, flatten_dict, networkx, ruamel.yaml
from dvc.cli import main
for target in sys.stdin:
    if pid := os.fork():
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    else:
        os.setsid()
        os.chdir(sys.argv[1])
        said = os.open(".dvc/tmp/said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.exit(main(["repro", target.strip()]))  # quiet, it would not say why it failed
"""


class Runs:
    """Runs DVC in a copy, one target at a time."""

    def __init__(self, copy: WorkingCopy) -> None:
        command = [sys.executable, "-c", READY, str(copy.path)]
        pipe = subprocess.PIPE
        self.ready = subprocess.Popen(command, env=ENVIRONMENT, stdin=pipe, stdout=pipe, text=True)
        self.said = copy.path / ".dvc/tmp/said"

    def start(self, target: str) -> psutil.Process:
        print(target, file=self.ready.stdin, flush=True)
        return psutil.Process(self._number())

    def end(self) -> tuple[int, str]:
        """Waits for the run and returns its exit status and output."""
        return self._number(), self.said.read_text(encoding="utf-8")

    def _number(self) -> int:
        assert self.ready.stdout
        return int(self.ready.stdout.readline())


@pytest.fixture
def runs(houses: WorkingCopy) -> Iterator[Runs]:
    made = Runs(houses)
    yield made
    made.ready.kill()
    made.ready.communicate()


def part_of(dvc: psutil.Process, victim: str) -> psutil.Process | None:
    """Waits for the victim, a process of the run, and returns it, or None if DVC ends first."""
    with suppress(psutil.NoSuchProcess):
        while victim not in {"DVC alone", "all at once"}:
            for child in dvc.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if victim == "a stage" and "-m" in child.cmdline():
                        return child
            for worker in workers_of(dvc.pid):
                if victim == "a process that trains":
                    return worker
            time.sleep(0.05)
        return dvc
    return None


def killed(dvc: psutil.Process, victim: str, after: float) -> bool:
    """Kills the victim after some seconds. Returns False if there was none or it ended first."""
    part = part_of(dvc, victim)
    try:
        if part:
            psutil.wait_procs([part], timeout=after)
            if victim == "all at once":
                os.killpg(part.pid, signal.SIGKILL)
            else:
                part.kill()
            return True
    except (ProcessLookupError, psutil.NoSuchProcess):
        pass
    return False


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
@pytest.mark.parametrize("delay", [0, 0.03, 0.1, 0.3])
def test_a_stage_ends_even_if_its_dvc_was_killed_before_the_first_check(
    houses: WorkingCopy, shell: str, delay: float
) -> None:
    houses.edit_params(train_prices=houses.params()["train_prices"] | {"epochs": 100_000})
    command = ["dvc", "repro", "-q", "-s", "train_prices"]
    with subprocess.Popen(command, cwd=houses.path, env=ENVIRONMENT | {"SHELL": shell}) as dvc:
        while not descendants(dvc.pid, "stages.train_prices"):
            assert dvc.poll() is None
            time.sleep(0.01)
        time.sleep(delay)
        dvc.kill()
    latest = time.monotonic() + 10
    while (alive := at_work(houses)) and time.monotonic() < latest:
        time.sleep(0.1)
    for each in alive:
        each.kill()
    assert not alive


def test_after_a_kill_at_any_moment_the_next_run_gives_the_same_bytes(houses: WorkingCopy, runs: Runs) -> None:
    """If DVC was killed while writing its own files, the next run is `make recover`."""
    before, chance = files(houses), random.Random(0)
    kills, repaired = Counter[str](), Counter[str]()
    last = ""  # the last victim whose kill also ended DVC

    def next_params(epochs: int, seed: int = 0) -> None:
        houses.edit_params(seeds=[seed], train_prices=houses.params()["train_prices"] | {"epochs": epochs})

    def repair() -> None:
        houses.run("make recover", MAKEFLAGS="")
        repaired[last] += 1

    next_params(1)
    runs.start("evaluate_prices")
    assert runs.end()[0] == 0
    shutil.rmtree(houses.path / ".dvc/cache/runs")
    next_params(2)
    begin = time.monotonic()
    runs.start("train_prices")
    assert runs.end()[0] == 0
    seconds = time.monotonic() - begin  # of a run whose networks come from the store
    tries = 0
    while kills.total() < KILLS:
        tries += 1
        (victim,) = chance.choices(list(VICTIMS), list(VICTIMS.values()))
        # epochs alternate to reveal outputs of a survivor of the last run; a new seed is not in the store, but trained
        next_params(1 + tries % 2, seed=tries if victim == "a process that trains" else 0)
        (target,) = chance.choices(list(TARGETS), list(TARGETS.values()))
        if chance.random() < 0.8:
            shutil.rmtree(houses.path / ".dvc/cache/runs", ignore_errors=True)  # else no stage runs
        done = killed(runs.start(target), victim, chance.uniform(0, seconds / 5 if victim == "a stage" else seconds))
        status, said = runs.end()
        if not done and status:
            assert re.search(r"dvc\.lock|rwlock", said), said
            repair()
        if not done:
            continue
        kills[victim] += 1
        if victim == "a process that trains":
            assert status == 0, said
        elif victim != "a stage":
            last = victim
        if kills.total() % ROUND == 0:
            houses.run("git checkout params.yaml")
            again = houses.run("dvc repro evaluate_prices", check=False)
            if again.returncode or houses.status() or any(name.endswith(".tmp") for name in files(houses)):
                repair()
            assert not changed(before, houses)
            assert houses.status() == ""
            psutil.wait_procs(at_work(houses), timeout=5)
            assert not at_work(houses)
    for victim, count in kills.items():
        record(f"kill -9: {victim}", count, as_asked=count - repaired[victim], repaired=repaired[victim])
