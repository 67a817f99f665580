"""Running a stage or another command, and what its user sees of errors."""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from mlp.errors import InputError
from pipeline.params import Params, load


def run(stage: Callable[[Params], None], schema: type[Params]) -> None:
    """Runs a stage on what its schema reads from params.yaml."""
    if "DVC_STAGE" in os.environ:
        threading.Thread(target=_end_with_dvc, daemon=True).start()
    exit_on_user_error(lambda: stage(load(schema)))


def exit_on_user_error(command: Callable[[], None]) -> None:
    """Runs a command. What the user can mend ends in one line and exit status 1."""
    if sys.getfilesystemencoding() != "utf-8" and "utf8" not in sys._xoptions:  # or bytes would depend on the locale
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    try:
        command()
    except (InputError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted")


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
