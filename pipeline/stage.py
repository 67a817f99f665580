"""Running a stage or another command, and what its user sees of errors."""

import gc
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import NoReturn

import psutil
from ruamel.yaml import YAML

from mlp.errors import InputError
from pipeline.files import remove_unfinished
from pipeline.params import Params, load

AGAIN = "run `dvc repro` again"
EXPERIMENTS = Path(".dvc/tmp/exps")  # where DVC keeps the locks and processes of experiments


def run(stage: Callable[[Params], None], schema: type[Params]) -> None:
    """Runs a stage on what its schema reads from params.yaml."""
    gc.freeze()  # what is imported stays, so that nobody looks for garbage in it, not even as the process ends
    gc.enable()
    name = os.environ.get("DVC_STAGE", "").rpartition(":")[2]  # from another folder DVC writes ../dvc.yaml:name

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
    """Yields the parameters. Raises InputError if by the end they or what DVC takes the stage to depend on has changed.

    DVC records both as they are by then, whatever the outputs were made from.
    """
    params = load(schema)
    paths = YAML(typ="safe").load(Path("dvc.yaml"))["stages"][stage]["deps"]
    # one may have a parameter in it, such as ${preprocess_prices.file}
    named = [re.sub(r"\$\{(.+?)\}", lambda key: attrgetter(key[1])(params), path) for path in paths]
    dependencies = {Path(path): _written(Path(path)) for path in named}
    yield params
    if load(schema) != params:
        raise InputError(f"params.yaml: changed while the stage ran; {AGAIN}")
    for path, written in dependencies.items():
        if _written(path) != written:
            raise InputError(f"{path}: changed while the stage ran; {AGAIN}")


def _written(path: Path) -> dict[Path, int]:
    """When a file, or a folder and all that is in it, was written."""
    return {each: each.stat().st_mtime_ns for each in (path, *path.rglob("*"))}


@contextmanager
def _no_experiment_starts() -> Iterator[None]:
    """Has DVC refuse `dvc exp run` in this folder. Raises InputError where one was already starting.

    As it starts, an experiment takes changes back for a moment and restores outputs, even those that a stage has just
    replaced; DVC would record them as that stage's.
    """
    from dvc.exceptions import DvcException  # here, as only stages need them, and importing takes a fifth of a second
    from dvc.fs import localfs
    from dvc.lock import LockError
    from dvc.rwlock import rwlock

    EXPERIMENTS.mkdir(parents=True, exist_ok=True)
    started = InputError(f"`dvc exp run` started in this folder, too; {AGAIN}")
    try:
        # what `dvc exp run` locks first, for as long as it puts changes aside
        with rwlock(str(EXPERIMENTS), localfs, " ".join(sys.orig_argv), ["refs/exps/stash"], [], hardlink=False):
            if _other_experiment():
                raise started
            yield
            if _other_experiment():
                raise started
    except LockError as error:
        raise started from error
    except DvcException as error:
        raise InputError(f"{error} Run `make recover`.") from error


def _other_experiment() -> bool:
    """Whether an experiment that did not start this process runs in this folder."""
    with suppress(OSError, ValueError, psutil.Error):  # none, or it was killed
        number = json.loads((EXPERIMENTS / "run/workspace/workspace.json").read_text(encoding="utf-8"))["pid"]
        process = psutil.Process(number)
        return "dvc" in " ".join(process.cmdline()) and process not in psutil.Process().parents()
    return False


def exit_on_user_error(command: Callable[[], None]) -> None:
    """Runs a command. What the user can mend ends in one line and exit status 1, and so does Ctrl-C."""
    if sys.getfilesystemencoding() != "utf-8" and "utf8" not in sys._xoptions:  # or bytes would depend on the locale
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in the background
        signal.signal(signal.SIGINT, _interrupt_once)
    try:
        command()
    except (InputError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done, and an exit is no place for an exception


def _interrupt_once(*_: object) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would only stop the clearing up
    raise KeyboardInterrupt
