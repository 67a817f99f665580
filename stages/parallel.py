"""Trainings side by side on all cores, with their progress."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from mlp.errors import InputError

Result = TypeVar("Result")

epochs_done: "Synchronized[int]"  # of all workers together, set when a worker starts


def run_jobs(stage: str, job: Callable[..., Result], arguments: Sequence[tuple[Any, ...]], epochs: int) -> list[Result]:
    """The results of `job` for each of the argument tuples, in their order. A job calls `epoch_done` `epochs` times."""
    context = multiprocessing.get_context("spawn")
    counter = context.Value("i", 0)
    workers = min(_workers(), len(arguments))
    with (
        ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(counter,)) as pool,
        tqdm(total=len(arguments) * epochs, desc=stage, unit="epoch") as bar,
    ):
        futures = [pool.submit(job, *each) for each in arguments]
        waiting = set(futures)
        while waiting:
            waiting = wait(waiting, timeout=0.2).not_done
            bar.update(counter.value - bar.n)
        try:
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise InputError(
                f"{stage}: a training process was killed, perhaps for want of memory; "
                f"fewer at a time need less: MLP_WORKERS is {workers}"
            ) from error


def epoch_done() -> None:
    with epochs_done.get_lock():
        epochs_done.value += 1


def _workers() -> int:
    """How many networks train at a time. It changes no result, so it comes from the environment."""
    text = os.environ.get("MLP_WORKERS", str(os.cpu_count()))
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"MLP_WORKERS is {text!r}; allowed: a whole number of at least 1")
    return int(text)


def _start_worker(counter: "Synchronized[int]") -> None:
    global epochs_done
    epochs_done = counter
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a worker without a traceback of its own
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for its next job for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
