"""Measures the overhead of a job and the efficiency of two workers, on the process pool and on a Dask cluster.

Short and long jobs are submitted as a stage submits them. The pool and the cluster alternate, so that other load on the
machine slows both alike; each figure is a median. Writes benchmarks/jobs.csv.
"""

import importlib
import logging
import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from distributed import LocalCluster

from benchmarks.training import machine
from mlp.house_features import FEATURES
from mlp.spec import Architecture, Settings
from pipeline.datasets import description
from pipeline.files import write_texts
from pipeline.jobs import on_all_cores, train_all
from pipeline.networks import deep
from pipeline.params.complete import Params
from pipeline.stage import run
from pipeline.tables import csv_text
from pipeline.training import Job, images, prices
from tools.documents import jobs_table

REPEATS = 5
TABLE = Path("benchmarks/jobs.csv")
HEADER = [
    "jobs",
    "where",
    "training_seconds",  # of one job, elapsed time
    "overhead_seconds",
    "dispatch_seconds",  # CPU time of this process, in which the Dask scheduler runs too
    "efficiency_of_two_workers",
    "machine",
]


def main(params: Params) -> None:
    with cluster(1) as one, cluster(2) as two:
        places = {"the pool": ["", ""], "a Dask cluster": [one.scheduler_address, two.scheduler_address]}
        rows = [row for what, jobs in short_and_long(params).items() for row in measure(what, jobs, places)]
    write_texts({str(TABLE): csv_text(HEADER, rows)})
    print(jobs_table(pd.read_csv(TABLE)))


def short_and_long(params: Params) -> dict[str, list[Job]]:
    """Returns jobs that train a deep network for one epoch, on few examples (houses) and on many (images)."""
    group, (architecture, settings) = params.train_prices, deep(params, description())
    small = Architecture("DeepNeuralNet", [len(FEATURES), group.deep_hidden, 1])
    one_epoch = Settings(1, group.batch_size, group.learning_rate)
    return {
        "house prices": prices.jobs("all", small, one_epoch, list(range(32))),
        "images": images.jobs(params.dataset, [(architecture, settings._replace(epochs=1))], list(range(4))),
    }


def measure(what: str, jobs: list[Job], places: dict[str, list[str]]) -> list[tuple[Any, ...]]:
    """Returns a table row for each place, given its schedulers with one and two workers ("" for the pool)."""
    figures: dict[str, list[tuple[float, ...]]] = {where: [] for where in places}
    for number in range(REPEATS + 1):
        os.environ |= {"MLP_WORKERS": "1", "DASK_SCHEDULER_ADDRESS": ""}
        training = statistics.mean(on_all_cores(seconds_of_training, [(job,) for job in jobs]))
        for where, addresses in places.items():
            (one, cpu), (two, _) = (seconds_of(jobs, workers, address) for workers, address in enumerate(addresses, 1))
            if number:  # the first round is a warm-up, in which the processes start
                figures[where].append((training, one / len(jobs) - training, cpu / len(jobs), one / two / 2))
    return [
        (what, where, *map(statistics.median, zip(*each, strict=True)), machine()) for where, each in figures.items()
    ]


def seconds_of_training(job: Job) -> float:
    train = importlib.import_module(f"pipeline.training.{job.kind}").train
    start = time.perf_counter()
    train([job], lambda file: Path(file.path))
    return time.perf_counter() - start


def seconds_of(jobs: list[Job], workers: int, scheduler: str) -> tuple[float, float]:
    """Returns this process's elapsed and CPU seconds to submit all jobs, with an empty store, and collect results."""
    with TemporaryDirectory() as store:
        os.environ |= {"MLP_WORKERS": str(workers), "DASK_SCHEDULER_ADDRESS": scheduler, "MLP_STORE": store}
        start, cpu = time.perf_counter(), time.process_time()
        train_all("jobs", jobs, "")
        return time.perf_counter() - start, time.process_time() - cpu


def cluster(workers: int) -> LocalCluster:
    """Starts worker processes that are connected over TCP to a scheduler in this process."""
    quiet = {"dashboard_address": ":0", "silence_logs": logging.ERROR}
    return LocalCluster(n_workers=workers, threads_per_worker=1, protocol="tcp", **quiet)


if __name__ == "__main__":
    run(main, Params)
