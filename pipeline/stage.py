"""Runs a stage or another command, and reports errors to the user."""

import gc
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from typing import NoReturn

import psutil
from ruamel.yaml import YAML

from mlp.errors import InputError
from pipeline.files import remove_unfinished
from pipeline.params import Params, load

AGAIN = "run `dvc repro` again"
STARTED = f"`dvc exp run` started in this folder, too; {AGAIN}"
EXPERIMENTS = Path(".dvc/tmp/exps")  # where DVC keeps the locks and processes of experiments


def run(stage: Callable[[Params], None], schema: type[Params]) -> None:
    """Runs a stage with the parameters that its schema reads from params.yaml."""
    gc.freeze()  # imported objects stay alive: do not search them for garbage, not even at exit
    gc.enable()
    name = os.environ.get("DVC_STAGE", "").rpartition(":")[2]  # DVC writes ../dvc.yaml:name if run from another folder

    def work() -> None:
        remove_unfinished()
        if name:
            with _no_experiment_starts(), _nothing_changes(name, schema) as params:
                stage(params)
        else:
            stage(load(schema))

    exit_on_user_error(work)


@contextmanager
def _nothing_changes(stage: str, schema: type[Params]) -> Iterator[Params]:
    """Yields the parameters. Raises InputError if they or a dependency in dvc.yaml change during the block.

    DVC would record their state after the stage, even though the outputs were made from an earlier one.
    """
    params = load(schema)
    paths = YAML(typ="safe").load(Path("dvc.yaml"))["stages"][stage]["deps"]
    # a path may contain a parameter, such as ${preprocess_prices.file}
    named = [re.sub(r"\$\{(.+?)\}", lambda key: attrgetter(key[1])(params), path) for path in paths]
    dependencies = {Path(path): _modification_times(Path(path)) for path in named}
    yield params
    if load(schema) != params:
        raise InputError(f"params.yaml: changed while the stage ran; {AGAIN}")
    for path, written in dependencies.items():
        if _modification_times(path) != written:
            raise InputError(f"{path}: changed while the stage ran; {AGAIN}")


def _modification_times(path: Path) -> dict[Path, int]:
    """Returns the modification times, in ns, of a file, or of a folder and everything in it."""
    return {each: each.stat().st_mtime_ns for each in (path, *path.rglob("*"))}


@contextmanager
def _no_experiment_starts() -> Iterator[None]:
    """Makes DVC refuse `dvc exp run` in this folder until it has recorded the stage's outputs.

    Raises InputError if an experiment was already starting. When it starts, an experiment temporarily reverts changes
    and restores outputs, even those that a stage has just replaced; DVC would record them as that stage's.
    """
    EXPERIMENTS.mkdir(parents=True, exist_ok=True)
    ours, theirs = Pipe()
    if os.fork() == 0:
        try:
            _hold_lock(theirs)
        finally:
            os._exit(0)
    theirs.close()
    if refusal := ours.recv():
        raise InputError(refusal)
    if _other_experiment():
        raise InputError(STARTED)
    yield
    if _other_experiment():
        raise InputError(STARTED)


def _hold_lock(refusal: Connection) -> None:
    """Takes the lock that `dvc exp run` takes first, and sends None, or a message if it cannot.

    Releases the lock when DVC has recorded the stage's outputs, which is after the process that runs the stage ended.
    """
    from dvc.exceptions import DvcException  # imported here: only stages need it, and it takes 0.2 seconds
    from dvc.fs import localfs
    from dvc.lock import LockError
    from dvc.rwlock import rwlock

    os.setsid()  # Ctrl-C is not for this process
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        with rwlock(str(EXPERIMENTS), localfs, " ".join(sys.orig_argv), ["refs/exps/stash"], [], hardlink=False):
            runners = [process for process in psutil.Process().parents() if _runs_a_stage(process)]
            refusal.send(None)
            for stream in range(3):  # or whoever reads the stage's output would wait for the end of this process
                os.dup2(nowhere, stream)
            while any(runner.is_running() and _runs_a_stage(runner) for runner in runners):
                time.sleep(0.05)
    except LockError:
        refusal.send(STARTED)
    except DvcException as error:
        refusal.send(f"{error} Run `make recover`.")
    except OSError as error:
        refusal.send(str(error))


def _runs_a_stage(process: psutil.Process) -> bool:
    """Returns whether a process is DVC and waits for the end of a stage, whose outputs it locks meanwhile."""
    try:
        locks = json.loads(Path(".dvc/tmp/rwlock").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except ValueError:  # DVC is writing it
        return True
    return any(lock["pid"] == process.pid for lock in locks.get("write", {}).values())


def _other_experiment() -> bool:
    """Returns whether an experiment other than the one that started this process runs in this folder."""
    with suppress(OSError, ValueError, psutil.Error):  # there is none, or it was killed
        number = json.loads((EXPERIMENTS / "run/workspace/workspace.json").read_text(encoding="utf-8"))["pid"]
        process = psutil.Process(number)
        return "dvc" in " ".join(process.cmdline()) and process not in psutil.Process().parents()
    return False


def exit_on_user_error(command: Callable[[], None]) -> None:
    """Runs a command. Exits with a message and status 1, without a traceback, on Ctrl-C or a user error."""
    if sys.getfilesystemencoding() != "utf-8" and "utf8" not in sys._xoptions:  # or bytes would depend on the locale
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # background jobs ignore it
        signal.signal(signal.SIGINT, _interrupt_once)
    try:
        command()
    except (InputError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C must not raise an exception during exit


def _interrupt_once(*_: object) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would only interrupt the cleanup
    raise KeyboardInterrupt
