"""Training on the images: one network, and one for each seed."""

from collections.abc import Callable
from pathlib import Path

from mlp import artifacts, datasets
from mlp.models import Network
from mlp.training import Epoch, Settings, train
from stages import whole, write_csv
from stages.parallel import epoch_done, run_jobs


def train_seeds(
    name: str, dataset: str, make_network: Callable[[], Network], settings: Settings, seeds: list[int]
) -> None:
    """Trains a network for each seed into models/<name>, with its learning curves in plots/curves/<name>.csv."""
    with whole(Path("models", name)) as folder:
        folder.mkdir()
        jobs = [(dataset, make_network, settings, seed, folder / f"seed-{seed}.safetensors") for seed in seeds]
        curves = run_jobs(f"train_{name}", _train_seed, jobs, settings.epochs)
    points = [(seed, *point) for seed, curve in zip(seeds, curves, strict=True) for point in curve]
    write_csv(Path("plots/curves", f"{name}.csv"), ["seed", *Epoch._fields], points)


def _train_seed(
    dataset: str, make_network: Callable[[], Network], settings: Settings, seed: int, output: Path
) -> list[Epoch]:
    network, curve = train_network(make_network, settings, seed)
    training = datasets.load(Path("data/processed/train.safetensors"))
    normalisation = artifacts.Normalisation(mean=training.mean.item(), std=training.std.item())
    artifacts.save(network, output, dataset, seed, settings._asdict(), normalisation)
    return curve


def train_network(make_network: Callable[[], Network], settings: Settings, seed: int) -> tuple[Network, list[Epoch]]:
    """Trains on the training images, as a job of `run_jobs`, and gives the network's learning curve too."""
    training = datasets.load(Path("data/processed/train.safetensors"))
    validation = datasets.load(Path("data/processed/validation.safetensors"))
    curve: list[Epoch] = []

    def on_epoch(epoch: Epoch) -> None:
        curve.append(epoch)
        epoch_done()

    return train(make_network, training, validation, settings, seed, on_epoch), curve
