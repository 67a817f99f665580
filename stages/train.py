"""What both training stages do: one network for each seed, side by side on all cores."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import torch
from tqdm import tqdm

from mlp import artifacts, datasets
from mlp.errors import InputError
from mlp.models import Network
from mlp.training import Epoch, Settings, train
from stages import whole, write_csv

CLASSES = 10
PIXELS = 28 * 28

epochs_done: "Synchronized[int]"  # of all workers together, set when a worker starts


def train_seeds(name: str, make_network: Callable[[], Network], settings: Settings, seeds: list[int]) -> None:
    """Trains a network for each seed into models/<name>, with its learning curves in plots/curves/<name>.csv."""
    context = multiprocessing.get_context("spawn")
    counter = context.Value("i", 0)
    workers = min(_workers(), len(seeds))
    with whole(Path("models", name)) as folder:
        folder.mkdir()
        with (
            ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(counter,)) as pool,
            tqdm(total=len(seeds) * settings.epochs, desc=f"train_{name}", unit="epoch") as bar,
        ):
            jobs = [pool.submit(_train_seed, make_network, settings, seed, folder) for seed in seeds]
            waiting = set(jobs)
            while waiting:
                waiting = wait(waiting, timeout=0.2).not_done
                bar.update(counter.value - bar.n)
            try:
                points = [(seed, *point) for seed, job in zip(seeds, jobs, strict=True) for point in job.result()]
            except BrokenProcessPool as error:
                raise InputError(
                    f"train_{name}: a training process was killed, perhaps for want of memory; "
                    f"fewer at a time need less: MLP_WORKERS is {workers}"
                ) from error
    rounded = ([round(value, 6) if isinstance(value, float) else value for value in point] for point in points)
    write_csv(Path("plots/curves", f"{name}.csv"), ["seed", *Epoch._fields], rounded)


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


def _train_seed(make_network: Callable[[], Network], settings: Settings, seed: int, folder: Path) -> list[Epoch]:
    training = datasets.load(Path("data/processed/train.safetensors"))
    validation = datasets.load(Path("data/processed/validation.safetensors"))
    curve: list[Epoch] = []

    def on_epoch(epoch: Epoch) -> None:
        curve.append(epoch)
        with epochs_done.get_lock():
            epochs_done.value += 1

    network = train(make_network, training, validation, settings, seed, on_epoch)
    artifacts.save(network, folder / f"seed-{seed}.safetensors")
    return curve
