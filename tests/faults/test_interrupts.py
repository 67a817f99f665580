"""Ctrl-C at any moment ends a stage with one word, and a stage works with closed outputs."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from conftest import ENVIRONMENT, ROOT, WorkingCopy, at_work
from faults.conftest import changed, files
from faults.record import LONG, record

pytestmark = pytest.mark.slow

TRIES = 100 if LONG else 8
STAGES = ["preprocess_prices", "train_prices", "evaluate_prices"]


def start(arguments: list[str], copy: WorkingCopy) -> subprocess.Popen[str]:
    """Starts a module as a terminal would, and returns once Python runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=copy.path,
        env=ENVIRONMENT | {"MLP_STORE": "off"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # else ignored in the background
    )
    while b"site-packages" not in Path(f"/proc/{process.pid}/maps").read_bytes():
        time.sleep(0.01)
    return process


def test_ctrl_c_at_any_moment_prints_one_word(houses: WorkingCopy) -> None:
    """All processes receive it, as from a terminal, and sometimes twice."""
    before, chance, interrupted = files(houses), random.Random(0), 0
    for _ in range(TRIES):
        stage = start([f"stages.{chance.choice(STAGES)}"], houses)
        for delay in (chance.uniform(0, 3), chance.uniform(0, 0.3))[: chance.choice([1, 1, 2])]:
            time.sleep(delay)
            with suppress(ProcessLookupError):
                os.killpg(stage.pid, signal.SIGINT)
        _, said = stage.communicate(timeout=60)
        told = [line for line in said.splitlines() if line and "%" not in line]
        assert (stage.returncode, told) in [(1, ["interrupted"]), (0, [])], said
        interrupted += stage.returncode
    assert not changed(before, houses)
    psutil.wait_procs(at_work(houses), timeout=5)
    assert not at_work(houses)
    record("Ctrl-C at a random moment during a stage", TRIES, as_asked=TRIES - interrupted, refused=interrupted)


@pytest.mark.parametrize("command", ["predict some.png", "compare_commits HEAD HEAD", "documents", "verify"])
def test_ctrl_c_while_a_tool_starts_prints_one_word(command: str, houses: WorkingCopy) -> None:
    tool = start(["tools." + command.split()[0], *command.split()[1:]], houses)
    time.sleep(0.3)  # while it imports libraries
    os.killpg(tool.pid, signal.SIGINT)
    _, said = tool.communicate(timeout=60)
    assert (tool.returncode, said) == (1, "interrupted\n")


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-"])
def test_a_stage_works_with_closed_outputs(closed: str, houses: WorkingCopy) -> None:
    before = files(houses)
    houses.run(f"rm -r models/prices && MLP_STORE=off python -m stages.train_prices {closed}")
    assert not changed(before, houses)
    assert houses.run(f"rm -r data/prices && python -m stages.train_prices {closed}", check=False).returncode == 1


@pytest.mark.parametrize("lines", [1, 100_000], ids=["a line", "more than a buffer"])
@pytest.mark.parametrize(
    ("target", "reason"), [("> /dev/full", "Errno 28] No space left on device"), ("| true", "Errno 32] Broken pipe")]
)
def test_an_output_that_cannot_be_written_is_one_line(target: str, reason: str, lines: int) -> None:
    script = f"from pipeline.stage import exit_on_user_error\nexit_on_user_error(lambda: print('text\\n' * {lines}))"
    done = subprocess.run(
        f'sleep 0.1; {sys.executable} -c "$SCRIPT" {target}; exit ${{PIPESTATUS[0]}}',
        shell=True,
        executable="/bin/bash",
        cwd=ROOT,
        env={name: value for name, value in ENVIRONMENT.items() if name != "PYTHONUNBUFFERED"} | {"SCRIPT": script},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert re.fullmatch(rf"\[{reason}(: 'standard output')?\n", done.stderr)
