"""Training on house prices."""

from functools import partial

from mlp.spec import Architecture, Settings
from pipeline.training import Job, Locate, engine, file, pack


def jobs(houses: str, architecture: Architecture, settings: Settings, seeds: list[int]) -> list[Job]:
    """A job for each seed. `houses` names a folder of data/prices."""
    training = [file(f"data/prices/{houses}/train.safetensors")]
    return [Job("prices", training, None, f"ames/{houses}", None, architecture, settings, seed) for seed in seeds]


def train(alike: list[Job], locate: Locate) -> list[bytes]:
    from mlp import ames  # torch takes two seconds, and only workers need it
    from mlp.models import build
    from mlp.training import fit, regression_loss

    job = alike[0]
    examples = ames.load(locate(job.training[0])).examples()
    seeds = [each.seed for each in alike]
    networks = fit(partial(build, job.architecture), examples, regression_loss, job.settings, seeds, arrays=engine())
    return [pack(*each) for each in zip(alike, networks, strict=True)]
