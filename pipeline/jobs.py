"""Runs jobs in parallel, on the cores of this machine or on a Dask cluster, and trains each network only once."""

import atexit
import gc
import importlib
import multiprocessing
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from tqdm import tqdm

from mlp.errors import DivergedError, InputError, shortened
from pipeline.store import Store, code, key
from pipeline.training import File, Job, KilledError, Locate, Trained, file, unpack

Result = TypeVar("Result")

ATTEMPTS = 3  # at a job whose process keeps being killed
TICK = 0.5  # seconds between checks on the running jobs

# The process of each thread of the pool. A threading.local would shut it down when its thread ends, which at exit can
# coincide with Python's own shutdown of it.
_processes: WeakKeyDictionary[threading.Thread, ProcessPoolExecutor] = WeakKeyDictionary()


class Workers(NamedTuple):
    """Where jobs run: on this machine or on a cluster."""

    submit: "Callable[[list[Job], str], Future[list[bytes]]]"  # runs `train`
    cores: Callable[[], int]  # number of jobs that run in parallel; raises InputError if the cluster is gone
    killed: type[Exception]  # raised by a future whose process was killed


def train_all(stage: str, jobs: Sequence[Job], rate: str) -> list[Trained]:
    """Returns the result of each job, from the store or by training. `rate` is the learning rate's key in params.yaml.

    Stores each result as soon as it arrives, and waits for networks that another process is training. A job whose
    process is killed is retried, alone, after all others; once a job raises InputError, no further job is submitted.
    Raises InputError for the first failed job in the order of `jobs`.
    """
    store, names = Store(), [key(job) for job in jobs]
    by_name = dict(zip(names, jobs, strict=True))
    waiting = _groups(by_name)
    running: dict[Future[list[bytes]], list[str]] = {}
    found: dict[str, bytes] = {}
    failed: dict[str, str] = {}
    kills: Counter[str] = Counter()
    workers, stopped = _workers(), False
    with _stopped_by_errors(), tqdm(total=len(by_name), desc=stage, unit="network") as bar:
        while waiting or running:
            for group in sorted(waiting, key=lambda group: kills[group[0]]):
                if running and kills[group[0]]:
                    break
                there, mine = _claim_group(store, group)
                found |= there
                if not bar.disable:  # estimate the remaining time from training alone
                    bar.initial, bar.n = bar.initial + len(there), bar.n + len(there)
                if mine:
                    alike = [by_name[name] for name in mine]
                    running[workers.submit(alike, code(alike[0].kind))] = mine
                group[:] = [name for name in group if name not in there and name not in mine]
            waiting = [group for group in waiting if group]
            if waiting and not running:
                time.sleep(TICK)
            for future in wait(running, TICK, FIRST_COMPLETED).done:
                group = running.pop(future)
                try:
                    for name, content in zip(group, future.result(), strict=True):
                        store.put(name, content)
                        found[name] = content
                except workers.killed:
                    kills.update(group)
                    if stopped:
                        continue
                    if kills[group[0]] < ATTEMPTS:
                        waiting.append(group)
                    else:
                        failed[group[0]] = (
                            f"{_name(by_name[group[0]])}: its process was killed {ATTEMPTS} times, "
                            "possibly out of memory; all other networks are kept"
                        )
                except CancelledError:
                    failed[group[0]] = "the Dask cluster has lost its job; what was finished is in the store"
                except ImportError as error:
                    failed[group[0]] = (
                        f"a worker cannot import all it needs ({error}); start it in a clone, with its packages"
                    )
                except (MemoryError, RuntimeError) as error:
                    if not isinstance(error, MemoryError) and "memory" not in str(error):
                        raise
                    failed[group[0]] = (
                        f"{_name(by_name[group[0]])}: {shortened(str(error), 200)}; all other networks are kept"
                    )
                except InputError as error:
                    advice = f"; lower {rate} in params.yaml" if isinstance(error, DivergedError) else ""
                    failed[group[0]] = f"{error}{advice}"
                    waiting, stopped = [], True
                    running = {each: group for each, group in running.items() if not each.cancel()}
            at_work = min(workers.cores(), len(running)) if running else 0
            bar.set_postfix_str(f"{at_work} running, {len(failed)} failed", refresh=False)
            bar.update(len(found) - bar.n)
    for name in names:
        if name in failed:
            raise InputError(f"{stage}: {failed[name]}")
    return [unpack(found[name]) for name in names]


def on_all_cores(function: Callable[..., Result], arguments: Sequence[tuple[Any, ...]]) -> list[Result]:
    """Calls a function with each argument tuple in the training processes, and returns the results in order."""
    with _stopped_by_errors():
        futures = [_pool(_count()).submit(_in_process, function, *each) for each in arguments]
        try:
            return [future.result() for future in tqdm(futures, "evaluation", unit="network")]
        except KilledError as error:
            raise InputError("a process that evaluates was killed, possibly out of memory") from error


def _unchanged(expected: File) -> Path:
    if file(expected.path) != expected:
        raise InputError(f"{expected.path}: changed while networks were to be trained on it; run again")
    return Path(expected.path)


def train(alike: list[Job], expected: str, locate: Locate = _unchanged) -> list[bytes]:
    """Trains jobs that differ only in their seeds, in a worker process. `unpack` reads the results.

    Raises InputError if this process has other code than `expected`, or a file has changed.
    """
    kind = alike[0].kind
    if code(kind) != expected:
        raise InputError(
            "this worker has other code or other libraries; needed: the same commit and the same lock file"
        )
    module = importlib.import_module(f"pipeline.training.{kind}")
    groups = [alike] if os.environ.get("MLP_DEVICE") else [[job] for job in alike]  # this worker's, not the stage's
    return [result for group in groups for result in module.train(group, locate)]


def _claim_group(store: Store, group: list[str]) -> tuple[dict[str, bytes], list[str]]:
    """Returns a group's results in the store, and the names to train here; other processes are training the rest."""
    found, mine = dict[str, bytes](), []
    for name in group:
        if store.claim(name):
            content = store.get(name)
            if content is None:
                mine.append(name)
            else:
                found[name] = content
                store.release(name)
    return found, mine


def _groups(by_name: dict[str, Job]) -> list[list[str]]:
    """Groups networks to train in one job: one each on the CPU; on a device, all that differ only in their seeds."""
    if not os.environ.get("MLP_DEVICE"):
        return [[name] for name in by_name]
    return [list(group) for _, group in groupby(by_name, lambda name: by_name[name]._replace(seed=0))]


def _name(job: Job) -> str:
    name, arguments = job.architecture
    return f"{name}({', '.join(map(str, arguments))}), seed {job.seed}"


def _workers() -> Workers:
    """Returns where jobs run. This affects no result, so it is set by environment variables."""
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    if not address:
        count = _count()
        return Workers(lambda *job: _pool(count).submit(_in_process, train, *job), lambda: count, KilledError)
    try:
        from distributed import KilledWorker

        from pipeline import cluster
    except ImportError as error:
        raise InputError("DASK_SCHEDULER_ADDRESS is set, but Dask is not installed; run make cluster") from error
    return Workers(lambda *job: cluster.submit(address, train, *job), lambda: cluster.cores(address), KilledWorker)


def _count() -> int:
    text = os.environ.get("MLP_WORKERS", str(os.cpu_count()))
    if not re.fullmatch("[1-9][0-9]{0,3}", text):
        raise InputError(f"MLP_WORKERS is {shortened(repr(text))}; allowed: an integer from 1 to 9999")
    return int(text)


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    """Returns a pool of threads with one process each, so that it is known which job a killed process was running."""
    return ThreadPoolExecutor(count)


def _in_process(function: Callable[..., Result], *arguments: Any) -> Result:
    thread = threading.current_thread()
    if thread not in _processes:
        _processes[thread] = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), start_process)
        # Ctrl-C is for the stage, which ends its processes; they inherit this mask. It cannot be set earlier, because
        # Python's resource tracker, which the executor starts first, unblocks the signal.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return _processes[thread].submit(function, *arguments).result()
    except BrokenProcessPool as error:
        del _processes[thread]
        raise KilledError from error


@contextmanager
def _stopped_by_errors() -> Iterator[None]:
    """Kills all processes if the block fails; otherwise they would first finish all running and queued jobs."""
    try:
        yield
    except BaseException:
        pool = _pool(_count())
        pool.shutdown(wait=False, cancel_futures=True)
        ending = threading.Thread(target=pool.shutdown)
        ending.start()
        while ending.is_alive():  # a thread may be about to start a process
            for process in multiprocessing.active_children():
                process.kill()
            ending.join(TICK / 10)
        _pool.cache_clear()
        raise


def start_process() -> None:
    """Prepares a worker process: it computes on one thread, exits with its parent, and skips Python's cleanup."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    atexit.register(os._exit, 0)  # Python's own cleanup takes 0.2 s after importing torch, and the stage waits for it
    gc.disable()
    import torch

    torch.set_num_threads(1)
    gc.freeze()  # as in `pipeline.stage.exit_on_user_error`
    gc.enable()


def _end_with_parent() -> None:
    """Ends this process when its parent is killed; otherwise it would wait forever for its next job."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
