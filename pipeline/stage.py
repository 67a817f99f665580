"""Running a stage or another command, and what its user sees of errors."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import psutil
from ruamel.yaml import YAML

from mlp.errors import InputError
from pipeline.files import remove_unfinished
from pipeline.params import Params, load

CHANGED = "changed while the stage ran; run `dvc repro` again"


def run(stage: Callable[[Params], None], schema: type[Params]) -> None:
    """Runs a stage on what its schema reads from params.yaml."""
    if "DVC_STAGE" in os.environ:
        threading.Thread(target=_end_with_dvc, daemon=True).start()

    def work() -> None:
        remove_unfinished()
        dependencies, params = _dependencies(), load(schema)
        stage(params)
        # DVC records both as they are by the end, whatever the outputs were made from
        if load(schema) != params:
            raise InputError(f"params.yaml: {CHANGED}")
        for path, written in dependencies.items():
            if path.stat().st_mtime_ns != written:
                raise InputError(f"{path}: {CHANGED}")

    exit_on_user_error(work)


def _dependencies() -> dict[Path, int]:
    """What DVC takes a stage to depend on, where it has started it, and when each of them was written."""
    name = os.environ.get("DVC_STAGE")
    paths = YAML(typ="safe").load(Path("dvc.yaml"))["stages"][name]["deps"] if name else []
    return {Path(path): Path(path).stat().st_mtime_ns for path in paths if "$" not in path}


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


def _end_with_dvc() -> None:
    """A stage whose DVC was killed could replace the outputs of the one that the next DVC starts."""
    child = psutil.Process()
    parent = child.parent()
    if parent and parent.cmdline()[-2:-1] == ["-c"]:  # the shell: bash becomes the stage, dash stays in between
        child = parent
    dvc = child.ppid()
    with suppress(psutil.NoSuchProcess):
        while child.ppid() == dvc:
            time.sleep(0.2)
    os._exit(1)
