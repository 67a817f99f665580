"""A full disk, a read-only disk or a limit on open files gives a one-line error, and the old outputs stay."""

import random
import re
import subprocess

import pytest

from conftest import WorkingCopy
from faults.conftest import changed, files
from faults.record import LONG, record

pytestmark = pytest.mark.slow

TRIES = 100 if LONG else 5
STAGES = ["preprocess_prices", "train_prices", "evaluate_prices"]
FULL = "mount -t tmpfs -o size=64m none {0} && cp -r {0}.old/. {0} && ! cat /dev/zero 2>/dev/null > {0}/ballast"
READ_ONLY = "mount --bind {0} {0} && mount -o remount,bind,ro {0}"


def in_one_line(said: str) -> str:
    """Returns the only line of the message, without the progress above it."""
    (message,) = [line for line in said.splitlines() if line and "%" not in line]
    return message


def with_folder(copy: WorkingCopy, folder: str, how: str, command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command while `folder` is mounted as in `how`; also fails if it changes the folder."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody but root mount a disk")
    copy.run(f"cp -r {folder} {folder}.old")
    same = f"status=$?; diff -r -x ballast {folder} {folder}.old && exit $status"
    return copy.run(f"unshare -rm bash -c '{how.format(folder)} && {command}; {same}'", check=False)


@pytest.mark.parametrize(
    ("how", "reason"),
    [(FULL, "No space left on device"), (READ_ONLY, "Read-only file system")],
    ids=["full", "read-only"],
)
@pytest.mark.parametrize(
    ("stage", "folder", "output"),
    [
        ("preprocess_prices", "data", "data/prices"),
        ("train_prices", "models", "models/prices"),
        ("train_prices", "store", ".*/store/.*"),
        ("evaluate_prices", "metrics", "metrics/prices.(csv|json)"),
    ],
)
def test_a_full_or_read_only_disk_is_reported_and_outputs_stay(
    houses: WorkingCopy, how: str, reason: str, stage: str, folder: str, output: str
) -> None:
    before = files(houses)
    if folder == "store":
        houses.run("rm -r store/??")
    done = with_folder(houses, folder, how, f"python -m stages.{stage}")
    assert done.returncode == 1, done
    assert re.fullmatch(rf"\[Errno \d+\] {reason}: '{output}'", in_one_line(done.stderr)), done.stderr
    houses.run(f"rm -r {folder}.old")
    assert not changed(before, houses)


def test_too_few_file_descriptors_are_reported_in_one_line_and_nothing_is_lost(houses: WorkingCopy) -> None:
    """Some of the limits suffice. Python itself does not start with fewer than five."""
    before, chance, refused = files(houses), random.Random(0), 0
    for _ in range(TRIES):
        stage, limit = chance.choice(STAGES), chance.randint(5, 35)
        done = houses.run(f"ulimit -n {limit} && python -m stages.{stage}", check=False, MLP_STORE="off")
        if done.returncode:
            assert done.returncode == 1, done
            assert "Too many open files" in in_one_line(done.stderr)
            refused += 1
        assert not changed(before, houses)
    record("file descriptor limit too low", TRIES, as_asked=TRIES - refused, refused=refused)
