"""The scripts that dvc.yaml runs, one for each stage."""

import gc
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import NoReturn

if sys.stderr is None:  # closed, as by `2>&-`: the next file opened would take its descriptor
    sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    os.set_inheritable(sys.stderr.fileno(), True)

# each library reads these only once, at import or when the process starts
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # networks train in parallel: more threads would slow them down
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "100000000")  # glibc keeps the memory of arrays for reuse
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "1000000000")
# tqdm reads these only once, at import: a log gets a line every few seconds instead of a progress bar
if not sys.stderr.isatty():
    os.environ.setdefault("TQDM_MININTERVAL", "5")
    os.environ.setdefault(
        "TQDM_BAR_FORMAT", "{desc} {percentage:.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]\n"
    )


def _interrupted(*_: object) -> NoReturn:
    os.write(2, b"interrupted\n")
    os._exit(1)  # an exception could surface anywhere in an import, or be swallowed there


def _end_with_dvc() -> None:
    """Ends the stage if DVC is killed; otherwise it could replace the outputs of the stage that the next DVC starts."""
    import psutil  # imported here so that Ctrl-C is handled before

    with suppress(psutil.NoSuchProcess):
        child = psutil.Process()
        parent = child.parent()
        if parent and parent.cmdline()[-2:-1] == ["-c"]:  # a shell: dash stays in between, bash becomes the stage
            child, parent = parent, parent.parent()
        # if DVC was killed before this, init has adopted its child
        if parent and (parent.pid > 1 or "dvc" in " ".join(parent.cmdline())):
            while child.ppid() == parent.pid:
                time.sleep(0.2)
    os._exit(1)


if sys.argv[0] == "-m":  # the value under `python -m stages.<name>` until that module is found
    # until `pipeline.stage.run` takes over
    signal.signal(signal.SIGINT, _interrupted)
    gc.disable()  # importing creates no garbage, and searching for it takes a quarter of the time to import torch
    if "DVC_STAGE" in os.environ:
        from pipeline import experiments  # imported here so that Ctrl-C is handled before

        experiments.start()
        threading.Thread(target=_end_with_dvc, daemon=True).start()
