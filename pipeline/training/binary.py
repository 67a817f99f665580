"""Training on whether a house costs more than the median."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.training import Job, Locate, engine, pack

if TYPE_CHECKING:
    from mlp.examples import Examples


def train(alike: list[Job], locate: Locate) -> list[bytes]:
    from mlp.binary import penalised_loss  # torch takes two seconds, and only workers need it
    from mlp.models import build
    from mlp.training import fit

    job = alike[0]
    path = locate(job.training[0])
    loss = partial(penalised_loss, l1_penalty=job.settings.l1_penalty or 0)
    seeds = [each.seed for each in alike]
    networks = fit(
        partial(build, job.architecture), above_median(path, path), loss, job.settings, seeds, arrays=engine()
    )
    return [pack(*each) for each in zip(alike, networks, strict=True)]


def above_median(training: Path, split: Path) -> "Examples":
    """Houses of a split, and whether each costs more than the median of the training split, 0.0 or 1.0."""
    from mlp import ames

    median, houses = ames.load(training).median_price(), ames.load(split)
    return houses.examples()._replace(targets=(houses.prices > median).double())
