"""Trains networks to predict whether a house costs more than the median."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlp.spec import Architecture, Settings
from pipeline.training import Job, Locate, file, train_on

if TYPE_CHECKING:
    from mlp.ames import Houses
    from mlp.examples import Examples


HOUSES = "data/prices/all"


def jobs(kinds: list[tuple[Architecture, Settings]], seeds: list[int]) -> list[Job]:
    """Returns a job for each kind of network and seed."""
    training = [file(f"{HOUSES}/train.safetensors")]
    return [Job("binary", training, None, "ames/all", None, *kind, seed) for kind in kinds for seed in seeds]


def train(alike: list[Job], locate: Locate) -> list[bytes]:
    from mlp import ames  # importing torch takes two seconds; only workers need it
    from mlp.binary import penalised_loss

    job = alike[0]
    houses = ames.load(locate(job.training[0]))
    loss = partial(penalised_loss, l1_penalty=job.settings.l1_penalty or 0)
    return train_on(alike, labelled(houses, houses), loss)


def above_median(split: str) -> "Examples":
    """Reads the houses of a split, labelled by the median of the training split."""
    from mlp import ames

    training, houses = (ames.load(Path(HOUSES, f"{each}.safetensors")) for each in ("train", split))
    return labelled(houses, training)


def labelled(houses: "Houses", training: "Houses") -> "Examples":
    """Returns examples whose target is 1.0 if the house costs more than the median of `training`, else 0.0."""
    return houses.examples()._replace(targets=(houses.prices > training.median_price()).double())
