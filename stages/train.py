"""Training on the images: one kind of network, once for each seed."""

from pathlib import Path
from typing import TYPE_CHECKING

from mlp.params import Params
from mlp.spec import Architecture, Epoch, Settings
from stages import whole, write_csv
from stages.networks import NETWORKS
from stages.parallel import engine, epoch_done, run_jobs, seeds_of_jobs

if TYPE_CHECKING:
    from torch import nn

    from mlp.datasets import LabelledImages


def train_seeds(name: str, params: Params) -> None:
    """Trains a network for each seed into models/<name>, with its learning curves in plots/curves/<name>.csv."""
    architecture, settings = NETWORKS[name](params)
    with whole(Path("models", name)) as folder:
        folder.mkdir()
        jobs = [(params.dataset, architecture, settings, seeds, folder) for seeds in seeds_of_jobs(params.seeds)]
        total = len(params.seeds) * settings.epochs
        curves = run_jobs(f"train_{name}", _train, jobs, total, f"train_{name}.learning_rate")
    points = [(seed, *point) for seed, curve in zip(params.seeds, curves, strict=True) for point in curve]
    write_csv(Path("plots/curves", f"{name}.csv"), ["seed", *Epoch._fields], points)


def _train(
    dataset: str, architecture: Architecture, settings: Settings, seeds: list[int], folder: Path
) -> list[list[Epoch]]:
    from mlp import artifacts, datasets  # torch takes two seconds, and only workers need it

    training = datasets.load(Path("data/processed/train.safetensors"))
    networks, curves = train_networks(training, architecture, settings, seeds)
    normalisation = artifacts.Normalisation(mean=training.mean.item(), std=training.std.item())
    for network, seed in zip(networks, seeds, strict=True):
        output = folder / f"seed-{seed}.safetensors"
        artifacts.save(network, architecture, output, dataset, seed, settings._asdict(), normalisation)
    return curves


def train_networks(
    training: "LabelledImages", architecture: Architecture, settings: Settings, seeds: list[int]
) -> "tuple[list[nn.Module], list[list[Epoch]]]":
    """Trains with the validation images beside, as a job of `run_jobs`, and gives the networks' learning curves too."""
    from functools import partial

    from mlp import datasets
    from mlp.models import build
    from mlp.training import train

    validation = datasets.load(Path("data/processed/validation.safetensors"))
    make_network = partial(build, architecture)
    return train(make_network, training, validation, settings, seeds, engine(), lambda: epoch_done(len(seeds)))
