"""Runs a stage or another command, and reports errors to the user."""

import gc
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import NoReturn

from ruamel.yaml import YAML

from mlp.errors import InputError
from pipeline import experiments
from pipeline.experiments import AGAIN
from pipeline.files import remove_unfinished
from pipeline.params import Params, load


def run(stage: Callable[[Params], None], schema: type[Params]) -> None:
    """Runs a stage with the parameters that its schema reads from params.yaml."""
    name = os.environ.get("DVC_STAGE", "").rpartition(":")[2]  # DVC writes ../dvc.yaml:name if run from another folder

    def work() -> None:
        remove_unfinished()
        if name:
            with experiments.shut_out(), _nothing_changes(name, schema) as params:
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


def exit_on_user_error(command: Callable[[], None]) -> None:
    """Runs a command. Exits with a message and status 1, without a traceback, on Ctrl-C or a user error."""
    if not gc.isenabled():  # during the imports
        gc.freeze()  # imported objects stay alive: do not search them for garbage, not even at exit
        gc.enable()
    if sys.getfilesystemencoding() != "utf-8" and "utf8" not in sys._xoptions:  # or bytes would depend on the locale
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    watched = signal.getsignal(signal.SIGINT) != signal.SIG_IGN  # background jobs ignore it
    if watched:
        signal.signal(signal.SIGINT, _interrupt_once)
    try:
        try:
            command()
        finally:
            _flush_stdout()
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except Exception as error:
        if watched and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            sys.exit("interrupted")  # a library has replaced the KeyboardInterrupt
        if isinstance(error, InputError | OSError | MemoryError):
            sys.exit(str(error) or "out of memory")
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C must not raise an exception during exit


def _flush_stdout() -> None:
    """Raises an OSError that names it if standard output cannot be written; at exit, that would be a traceback."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:
        with suppress(OSError):
            sys.stdout.close()  # otherwise Python would try again at exit
        raise OSError(error.errno, error.strerror, "standard output") from error


def _interrupt_once(*_: object) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would only interrupt the cleanup
    raise KeyboardInterrupt
