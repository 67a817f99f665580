"""Trainings side by side on all cores, with their progress."""

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from typing import Any, TypeVar

from tqdm import tqdm

from mlp.errors import DivergedError, InputError

Result = TypeVar("Result")

epochs_done: "Synchronized[int]"  # of all workers together, set when a worker starts


def run_jobs(
    stage: str, job: Callable[..., list[Result]], arguments: Sequence[tuple[Any, ...]], epochs: int, rate: str
) -> list[Result]:
    """The results of `job` for each of the argument tuples, one after the other.

    All jobs together call `epoch_done` for `epochs`. `rate` is the key of the learning rate in params.yaml.
    """
    context = multiprocessing.get_context("spawn")
    counter = context.Value("i", 0)
    workers = min(_workers(), len(arguments))
    with (
        ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(counter,)) as pool,
        tqdm(total=epochs, desc=stage, unit="epoch") as bar,
    ):
        futures = [pool.submit(job, *each) for each in arguments]
        running = True
        while running:
            done, waiting = wait(futures, timeout=0.2, return_when=FIRST_EXCEPTION)
            bar.update(counter.value - bar.n)
            running = bool(waiting) and not any(future.exception() for future in done)
        # what has begun ends, and jobs begin in their order: so of several failures the first in order is reported
        pool.shutdown(cancel_futures=True)
        try:
            return [result for future in futures for result in future.result()]
        except BrokenProcessPool as error:
            raise InputError(
                f"{stage}: a training process was killed, possibly out of memory; "
                f"fewer at a time need less: MLP_WORKERS is {workers}"
            ) from error
        except DivergedError as error:
            raise InputError(f"{stage}: {error}; lower {rate} in params.yaml") from error


def seeds_of_jobs(seeds: Sequence[int]) -> list[list[int]]:
    """One network a job on processors; all that are alike at once on a device."""
    return [list(seeds)] if os.environ.get("MLP_DEVICE") else [[seed] for seed in seeds]


def engine() -> Any:
    """What computes. It changes no result, so it comes from the environment: MLP_DEVICE as torch names devices."""
    from mlp.on_numpy import OnNumpy  # a process that only hands out work need not wait for torch
    from mlp.on_torch import OnTorch

    device = os.environ.get("MLP_DEVICE")
    try:
        return OnTorch(device) if device else OnNumpy()
    except (RuntimeError, AssertionError) as error:  # as torch puts it, in several lines
        reason = str(error).splitlines()[0]
        raise InputError(f"MLP_DEVICE is {device!r}; allowed: a device of torch, as cuda ({reason})") from error


def epoch_done(networks: int) -> None:
    with epochs_done.get_lock():
        epochs_done.value += networks


def _workers() -> int:
    """How many networks train at a time. It changes no result, so it comes from the environment."""
    text = os.environ.get("MLP_WORKERS", str(os.cpu_count()))
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"MLP_WORKERS is {text!r}; allowed: an integer of at least 1")
    return int(text)


def _start_worker(counter: "Synchronized[int]") -> None:
    global epochs_done
    epochs_done = counter
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a worker without a traceback of its own
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)
    gc.freeze()  # what is imported stays, so that nobody looks for garbage in it


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for its next job for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
