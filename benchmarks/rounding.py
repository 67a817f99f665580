"""Measures how far weights drift apart between circumstances, and how often rounding does not take that away.

Each network is trained with several seeds, in the usual circumstances and under others. What is compared are the
weights in float64, before `mlp.training.round_weights`.
"""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from tqdm import tqdm

from mlp import ames, datasets
from mlp.binary import BinaryShallowNeuralNet, penalised_loss, xavier_uniform
from mlp.datasets import CLASSES, PIXELS
from mlp.models import DeepNeuralNet, ShallowNeuralNet, initialise
from mlp.params import Params, load
from mlp.training import SPACING, Settings, fit
from stages import run, write_csv

SEEDS = range(5)
FINER = 2.0**-20  # for comparison
USUAL = {"OMP_NUM_THREADS": "1"}
OTHERS = [
    {"OMP_NUM_THREADS": "2"},
    USUAL | {"ATEN_CPU_CAPABILITY": "default"},
    USUAL | {"MKL_CBWR": "COMPATIBLE"},
    USUAL | {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"},
]
Weights = NDArray[np.float64]


class Case(NamedTuple):
    """The arguments of `fit`, but for the seed."""

    make_network: Callable[[], Any]
    initialise: Callable[[Any, torch.Generator], None]
    batches: Callable[[int, torch.Generator], Iterable[tuple[Tensor, Tensor]]]
    loss: Callable[[Any, Tensor, Tensor], Tensor]
    settings: Settings


def main(params: Params) -> None:
    found = cases(params)
    pairs: dict[str, list[tuple[Weights, Weights]]] = {name: [] for name in found}
    with TemporaryDirectory() as scratch, tqdm(total=len(SEEDS) * (1 + len(OTHERS)), desc="rounding") as bar:
        for seed in SEEDS:
            for number, circumstance in enumerate([USUAL, *OTHERS]):
                command = [sys.executable, "-m", "benchmarks.rounding", str(seed), f"{scratch}/{number}.safetensors"]
                subprocess.run(command, env=os.environ | circumstance, check=True)
                bar.update()
            usual, *others = (load_file(f"{scratch}/{number}.safetensors") for number in range(1 + len(OTHERS)))
            for name, of in pairs.items():
                of += [(usual[name], other[name]) for other in others]
    header = ["network", "learning_rate", "weights", "comparisons", "largest_difference"]
    header += ["flips_per_million_finer", "flipped_finer", "flips_per_million", "flipped"]
    rows = [(name, found[name].settings.learning_rate, of[0][0].size, *compare(of)) for name, of in pairs.items()]
    write_csv(Path("benchmarks/rounding.csv"), header, rows)
    print(Path("benchmarks/rounding.csv").read_text(), end="")


def compare(pairs: list[tuple[Weights, Weights]]) -> list[object]:
    """Number and largest difference of pairs of weights; then, for the finer multiples and for ours, how many pairs
    of a million are expected to differ after rounding, and how many of these did.

    Where weights fall anywhere between two multiples, a difference d takes one across the middle with probability
    d / spacing. The sum over all weights is the expected number of flips; at least one has probability 1 - exp(-sum).
    """
    result: list[object] = [len(pairs), f"{max(abs(one - other).max() for one, other in pairs):.1e}"]
    for spacing in (FINER, SPACING):
        chances = [-math.expm1(-abs(one - other).sum() / spacing) for one, other in pairs]
        flipped = [bool((np.rint(one / spacing) != np.rint(other / spacing)).any()) for one, other in pairs]
        result += [f"{1e6 * sum(chances) / len(pairs):.1e}", sum(flipped)]
    return result


def cases(params: Params) -> dict[str, Case]:
    """The networks of the pipeline with their settings, and harder ones."""
    images = partial(datasets.batches, datasets.load(Path("data/processed/train.safetensors")))
    houses = ames.load(Path("data/prices/all/train.safetensors"))
    prices = partial(ames.batches, houses.inputs(), houses.targets())
    dear = partial(ames.batches, houses.inputs(), (houses.prices > houses.prices.quantile(0.5)).double())
    shallow, deep, of_prices, binary = params.train_shallow, params.train_deep, params.train_prices, params.train_binary
    usual = partial(DeepNeuralNet, PIXELS, params.hidden, CLASSES)
    inputs = len(ames.FEATURES)
    for_prices = Settings(of_prices.epochs, of_prices.batch_size, of_prices.learning_rate)
    for_binary = Settings(binary.epochs, binary.batch_size, binary.learning_rate, (binary.betas[0], binary.betas[1]))

    def classify(network: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(network(x), labels)

    def tell_price(network: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        return mse_loss(network(x).squeeze(1), targets)

    def of_images(make_network: Callable[[], Any], *settings: Any) -> Case:
        return Case(make_network, initialise, images, classify, Settings(*settings))

    return {
        "shallow": of_images(
            partial(ShallowNeuralNet, PIXELS, shallow.hidden, CLASSES),
            *(shallow.epochs, shallow.batch_size, shallow.learning_rate),
        ),
        "deep": of_images(usual, deep.epochs, deep.batch_size, deep.learning_rate),
        "shallow, prices": Case(
            partial(ShallowNeuralNet, inputs, of_prices.shallow_hidden, 1), initialise, prices, tell_price, for_prices
        ),
        "deep, prices": Case(
            partial(DeepNeuralNet, inputs, of_prices.deep_hidden, 1), initialise, prices, tell_price, for_prices
        ),
        "binary": Case(
            partial(BinaryShallowNeuralNet, inputs, binary.hidden),
            xavier_uniform,
            dear,
            partial(penalised_loss, l1_penalty=max(binary.l1_penalties)),
            for_binary,
        ),
        "ten hidden layers": of_images(partial(DeepNeuralNet, PIXELS, [40] * 10, CLASSES), 3, 256, 0.001),
        "deep, faster": of_images(usual, 5, 256, 0.01),
        "deep, much too fast": of_images(usual, 3, 64, 0.1),
    }


def unrounded(case: Case, seed: int) -> Weights:
    """All weights of a network after its last epoch, float64 [weights]."""
    kept: list[Weights] = []

    def keep(network: nn.Module, epoch: int, _: float) -> None:
        if epoch == case.settings.epochs:
            kept.append(np.concatenate([weight.detach().flatten().numpy() for weight in network.parameters()]))

    fit(*case[:-1], case.settings, seed, keep)
    return kept[0]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        everything = cases(load(Path("params.yaml")))
        save_file({name: unrounded(case, int(sys.argv[1])) for name, case in everything.items()}, sys.argv[2])
    else:
        run(main)
