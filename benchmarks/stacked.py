"""Times the training of many networks at once on the device MLP_DEVICE, and of a single network on one CPU core.

The single network must be bit-identical to the one with the same seed in each stack. Writes benchmarks/stacked.csv,
which docs/reproducibility.md shows.
"""

import os
import statistics
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from benchmarks.training import PROCESSED, machine
from mlp.errors import InputError
from mlp.examples import Examples
from mlp.images import load
from mlp.models import build
from mlp.on_numpy import OnNumpy
from mlp.spec import Architecture, Settings
from mlp.training import classification_loss, fit
from pipeline.datasets import description
from pipeline.files import write_texts
from pipeline.networks import NETWORKS
from pipeline.params.complete import Params
from pipeline.stage import run
from pipeline.tables import csv_text
from pipeline.training import engine

STACKS = [1, 8, 1000]  # networks at once


class Row(NamedTuple):
    network: str
    device: str
    networks: int  # trained at once
    epochs: int
    seconds: float  # per epoch of all networks, median over epochs


def main(params: Params) -> None:
    if "MLP_DEVICE" not in os.environ:
        raise InputError("MLP_DEVICE is not set; needed: the device that trains many networks at once, such as cuda")
    torch.set_num_threads(1)
    examples = load(PROCESSED / "train.safetensors").examples()
    rows = [
        row
        for name, network in NETWORKS.items()
        for row in measure(name, *network(params, description()), examples, STACKS)
    ]
    write_texts({"benchmarks/stacked.csv": csv_text(Row._fields, rows)})
    print(Path("benchmarks/stacked.csv").read_text(encoding="utf-8"), end="")


def measure(
    name: str, architecture: Architecture, settings: Settings, examples: Examples, stacks: list[int]
) -> list[Row]:
    """Times one network and each stack. Raises InputError if bits depend on the device or the number of networks."""

    def train(networks: int, arrays: Any) -> tuple[nn.Module, float]:
        """Returns the first network and the median seconds of an epoch."""
        times = [time.perf_counter()]
        trained = fit(
            partial(build, architecture),
            examples,
            classification_loss,
            settings,
            range(networks),
            lambda *_: times.append(time.perf_counter()),
            arrays,
        )
        return trained[0], statistics.median(after - before for before, after in pairwise(times))

    device = engine()
    alone, seconds = train(1, OnNumpy())
    rows = [Row(name, f"one core of {machine()}", 1, settings.epochs, seconds)]
    for networks in stacks:
        twin, seconds = train(networks, device)
        for parameter, other in zip(alone.parameters(), twin.parameters(), strict=True):
            if not torch.equal(parameter, other):
                raise InputError(f"{name}: seed 0 among {networks} networks on {device.name()} has other parameters")
        rows.append(Row(name, device.name(), networks, settings.epochs, seconds))
    return rows


if __name__ == "__main__":
    run(main, Params)
