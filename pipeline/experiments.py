"""Shuts out `dvc exp run` from the folder while DVC runs a stage there, until DVC has recorded the stage's outputs.

When it starts, an experiment temporarily reverts changes and restores outputs, even those that a stage has just
replaced; DVC would record them as that stage's.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from mlp.errors import InputError

FOLDER = Path(".dvc/tmp/exps")  # where DVC keeps the locks and processes of experiments
AGAIN = "run `dvc repro` again"
STARTED = f"`dvc exp run` started in this folder, too; {AGAIN}"

_answers: list[Connection] = []


def start() -> None:
    """Starts the process that holds the lock. A stage calls this before it imports its libraries, to save time."""
    ours, theirs = Pipe()
    if os.fork() == 0:
        try:
            _hold_lock(theirs)
        finally:
            os._exit(0)
    theirs.close()
    _answers.append(ours)


@contextmanager
def shut_out() -> Iterator[None]:
    """Runs the block while DVC refuses `dvc exp run`. Raises InputError if an experiment has started nonetheless."""
    if not _answers:
        start()
    if refusal := _answers.pop().recv():
        raise InputError(refusal)
    if _other_experiment():
        raise InputError(STARTED)
    yield
    if _other_experiment():
        raise InputError(STARTED)


def _hold_lock(refusal: Connection) -> None:
    """Takes the lock that `dvc exp run` takes first, and sends None, or a message if it cannot.

    Releases the lock when DVC has recorded the stage's outputs, which is after the stage's own process has ended.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setsid()  # signals to the stage's process group are not for this process
    import psutil
    from dvc.exceptions import DvcException
    from dvc.fs import localfs
    from dvc.lock import LockError
    from dvc.rwlock import rwlock

    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        with rwlock(str(FOLDER), localfs, " ".join(sys.orig_argv), ["refs/exps/stash"], [], hardlink=False):
            runners = [process.pid for process in psutil.Process().parents() if _runs_a_stage(process.pid)]
            refusal.send(None)
            for stream in range(3):  # or a reader of the stage's output would wait for this process, too
                os.dup2(nowhere, stream)
            while any(psutil.pid_exists(runner) and _runs_a_stage(runner) for runner in runners):
                time.sleep(0.05)
    except LockError:
        refusal.send(STARTED)
    except DvcException as error:
        refusal.send(f"{error} Run `make recover`.")
    except OSError as error:
        refusal.send(str(error))


def _runs_a_stage(pid: int) -> bool:
    """Returns whether a process is DVC and waits for the end of a stage, whose outputs it locks meanwhile."""
    try:
        locks = json.loads(Path(".dvc/tmp/rwlock").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except ValueError:  # DVC is writing it
        return True
    return any(lock["pid"] == pid for lock in locks.get("write", {}).values())


def _other_experiment() -> bool:
    """Returns whether an experiment other than the one that started this process runs in this folder."""
    import psutil

    with suppress(OSError, ValueError, psutil.Error):  # there is none, or it was killed
        number = json.loads((FOLDER / "run/workspace/workspace.json").read_text(encoding="utf-8"))["pid"]
        process = psutil.Process(number)
        return "dvc" in " ".join(process.cmdline()) and process not in psutil.Process().parents()
    return False
