"""Training on the images."""

import math
from functools import partial
from typing import Any

from mlp.spec import Architecture, Settings
from pipeline.datasets import PUBLIC, description
from pipeline.training import Job, Locate, engine, file, pack

TRAINING, VALIDATION = (f"data/processed/{split}.safetensors" for split in ("train", "validation"))


def jobs(
    dataset: str, kinds: list[tuple[Architecture, Settings]], seeds: list[int], validate: bool = True
) -> list[Job]:
    """A job for each kind of network and seed. Without `validate`, networks also learn from the validation images."""
    of, own = description(), None
    if dataset not in PUBLIC:
        own = {"classes": of.classes, "height": of.height, "width": of.width}
    training, validation = file(TRAINING), file(VALIDATION)
    learnt, held_back = ([training], validation) if validate else ([training, validation], None)
    return [Job("images", learnt, held_back, dataset, own, *kind, seed) for kind in kinds for seed in seeds]


def train(alike: list[Job], locate: Locate) -> list[bytes]:
    from mlp import images  # torch takes two seconds, and only workers need it
    from mlp.checkpoints import Normalisation
    from mlp.classification import train as train_classifiers
    from mlp.models import build
    from mlp.training import classification_loss

    job, arrays = alike[0], engine()
    pixels, _, classes, *_ = job.architecture.arguments
    training = images.joined([images.load(locate(each), pixels, classes) for each in job.training])
    validation = images.load(locate(job.validation), pixels, classes) if job.validation else None
    steps = math.ceil(len(training.labels) / job.settings.batch_size)
    losses: list[Any] = []  # of each step of the first epoch, computed when training is over

    def loss(network: Any, x: Any, labels: Any) -> Any:
        value = classification_loss(network, x, labels)
        if len(losses) < steps:
            losses.append(value)
        return value

    networks, curves = train_classifiers(
        partial(build, job.architecture),
        training,
        validation,
        job.settings,
        [each.seed for each in alike],
        arrays,
        loss,
    )
    normalisation = Normalisation(mean=training.mean.item(), std=training.std.item())
    first_epoch = [arrays.unstack(each.data) for each in losses]
    return [
        pack(*each, [step[number].item() for step in first_epoch], normalisation)
        for number, each in enumerate(zip(alike, networks, curves, strict=True))
    ]
