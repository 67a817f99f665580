"""Trains networks on the images."""

from functools import partial

from mlp.spec import Architecture, Settings
from pipeline.datasets import PUBLIC, description
from pipeline.training import Job, Locate, engine, file, pack

TRAINING, VALIDATION = (f"data/processed/{split}.safetensors" for split in ("train", "validation"))


def jobs(
    dataset: str, kinds: list[tuple[Architecture, Settings]], seeds: list[int], validate: bool = True
) -> list[Job]:
    """Returns a job for each kind and seed. Without `validate`, networks also learn from the validation images."""
    of, own = description(), None
    if dataset not in PUBLIC:
        own = {"classes": of.classes, "height": of.height, "width": of.width}
    training, validation = file(TRAINING), file(VALIDATION)
    learnt, held_back = ([training], validation) if validate else ([training, validation], None)
    return [Job("images", learnt, held_back, dataset, own, *kind, seed) for kind in kinds for seed in seeds]


def train(alike: list[Job], locate: Locate) -> list[bytes]:
    from mlp import images  # importing torch takes two seconds; only workers need it
    from mlp.checkpoints import Normalisation
    from mlp.classification import train as train_classifiers
    from mlp.models import build

    job, arrays = alike[0], engine()
    pixels, _, classes, *_ = job.architecture.arguments
    training = images.joined([images.load(locate(each), pixels, classes) for each in job.training])
    validation = images.load(locate(job.validation), pixels, classes) if job.validation else None
    networks, curves, losses = train_classifiers(
        partial(build, job.architecture),
        training,
        validation,
        job.settings,
        [each.seed for each in alike],
        arrays,
    )
    normalisation = Normalisation(mean=training.mean.item(), std=training.std.item())
    first_epoch = [arrays.unstack(each.data) for each in losses]
    return [
        pack(*each, [step[number].item() for step in first_epoch], normalisation)
        for number, each in enumerate(zip(alike, networks, curves, strict=True))
    ]
