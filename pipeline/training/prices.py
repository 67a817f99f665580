"""Trains networks on house prices."""

from mlp.spec import Architecture, Settings
from pipeline.training import Job, Locate, file, train_on


def jobs(houses: str, architecture: Architecture, settings: Settings, seeds: list[int]) -> list[Job]:
    """Returns a job for each seed. `houses` names a folder of data/prices."""
    training = [file(f"data/prices/{houses}/train.safetensors")]
    return [Job("prices", training, None, f"ames/{houses}", None, architecture, settings, seed) for seed in seeds]


def train(alike: list[Job], locate: Locate) -> list[bytes]:
    from mlp import ames  # importing torch takes two seconds; only workers need it
    from mlp.training import regression_loss

    return train_on(alike, ames.load(locate(alike[0].training[0])).examples(), regression_loss)
