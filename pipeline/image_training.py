"""Training on the images: one kind of network, once for each seed."""

from pathlib import Path
from typing import TYPE_CHECKING

from mlp.spec import Architecture, Epoch, Settings
from pipeline.datasets import PUBLIC, description
from pipeline.files import atomic_output
from pipeline.jobs import engine, epoch_done, run_jobs, seeds_of_jobs
from pipeline.tables import write_csv

if TYPE_CHECKING:
    from torch import nn

    from mlp.images import LabelledImages


def train_seeds(name: str, dataset: str, architecture: Architecture, settings: Settings, seeds: list[int]) -> None:
    """Trains a network for each seed into models/<name>, with its learning curves in plots/curves/<name>.csv."""
    with atomic_output(Path("models", name)) as folder:
        folder.mkdir()
        jobs = [(dataset, architecture, settings, of_job, folder) for of_job in seeds_of_jobs(seeds)]
        curves = run_jobs(f"train_{name}", _train, jobs, len(seeds) * settings.epochs, f"train_{name}.learning_rate")
    points = [(seed, *point) for seed, curve in zip(seeds, curves, strict=True) for point in curve]
    write_csv(Path("plots/curves", f"{name}.csv"), ["seed", *Epoch._fields], points)


def _train(
    dataset: str, architecture: Architecture, settings: Settings, seeds: list[int], folder: Path
) -> list[list[Epoch]]:
    from mlp import checkpoints, images  # torch takes two seconds, and only workers need it

    training = images.load(Path("data/processed/train.safetensors"))
    networks, curves = train_networks(training, architecture, settings, seeds)
    normalisation = checkpoints.Normalisation(mean=training.mean.item(), std=training.std.item())
    of, own = description(), None
    if dataset not in PUBLIC:
        own = checkpoints.Images(classes=of.classes, height=of.height, width=of.width)
    for network, seed in zip(networks, seeds, strict=True):
        output = folder / f"seed-{seed}.safetensors"
        checkpoints.save(network, architecture, output, dataset, seed, settings._asdict(), normalisation, own)
    return curves


def train_networks(
    training: "LabelledImages", architecture: Architecture, settings: Settings, seeds: list[int]
) -> "tuple[list[nn.Module], list[list[Epoch]]]":
    """Trains with the validation images beside, as a job of `run_jobs`, and gives the networks' learning curves too."""
    from functools import partial

    from mlp import images
    from mlp.classification import train
    from mlp.models import build

    validation = images.load(Path("data/processed/validation.safetensors"))
    make_network = partial(build, architecture)
    return train(make_network, training, validation, settings, seeds, engine(), lambda: epoch_done(len(seeds)))
