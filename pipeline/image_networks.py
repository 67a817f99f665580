"""Trains one kind of network on the images, once for each seed."""

from pathlib import Path

from mlp.spec import Architecture, Epoch, Settings
from pipeline.files import atomic_output, write_texts
from pipeline.jobs import train_all
from pipeline.tables import csv_text
from pipeline.training import images


def train_seeds(name: str, dataset: str, architecture: Architecture, settings: Settings, seeds: list[int]) -> None:
    """Trains a network for each seed. Writes models/<name>, and the learning curves to plots/curves/<name>.csv."""
    stage = f"train_{name}"
    trained = train_all(stage, images.jobs(dataset, [(architecture, settings)], seeds), f"{stage}.learning_rate")
    points = [(seed, *point) for seed, each in zip(seeds, trained, strict=True) for point in each.curve]
    with atomic_output(Path("models", name)) as folder:
        folder.mkdir()
        for seed, each in zip(seeds, trained, strict=True):
            (folder / f"seed-{seed}.safetensors").write_bytes(each.network)
        write_texts({f"plots/curves/{name}.csv": csv_text(["seed", *Epoch._fields], points)})
