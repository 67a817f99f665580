"""Trains the lecture's deep network at several learning rates, with the losses of its first epoch step by step."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlp.spec import Architecture, Settings
from pipeline.datasets import description
from pipeline.files import atomic_output
from pipeline.jobs import engine, epoch_done, run_jobs, seeds_of_jobs
from pipeline.networks import deep_network
from pipeline.params import Schema
from pipeline.params.compare_learning_rates import CompareLearningRates
from pipeline.stage import run
from pipeline.tables import write_csv

if TYPE_CHECKING:
    from mlp.images import LabelledImages

STRIDE = 25  # the lecture prints the loss of every 25th step


class Params(Schema):
    compare_learning_rates: CompareLearningRates


class Result(NamedTuple):
    """Of one network."""

    learning_rate: float
    seed: int
    losses: list[float]  # of each STRIDE-th step of the first epoch
    training_accuracy: float  # after the last epoch
    test_accuracy: float


def main(params: Params) -> None:
    group = params.compare_learning_rates
    architecture = deep_network(group.hidden, description())
    jobs = [
        (architecture, Settings(group.epochs, group.batch_size, rate), seeds)
        for rate in group.learning_rates
        for seeds in seeds_of_jobs(group.seeds)
    ]
    with atomic_output(Path("plots/learning_rates")) as folder:
        folder.mkdir()
        total = len(group.learning_rates) * len(group.seeds) * group.epochs
        key = "compare_learning_rates.learning_rates"
        results = run_jobs("compare_learning_rates", _train, jobs, total, key)
        curves = [
            (result.learning_rate, result.seed, number * STRIDE, loss)
            for result in results
            for number, loss in enumerate(result.losses, start=1)
        ]
        header = ["learning_rate", "seed", "step", "training_loss"]
        write_csv(folder / "first_epoch.csv", header, curves)
        accuracies = [(each.learning_rate, each.seed, each.training_accuracy, each.test_accuracy) for each in results]
        header = ["learning_rate", "seed", "training_accuracy", "test_accuracy"]
        write_csv(folder / "accuracy.csv", header, accuracies)


def _train(architecture: Architecture, settings: Settings, seeds: list[int]) -> list[Result]:
    from functools import partial  # torch takes two seconds, and only workers need it

    from mlp import images
    from mlp.evaluation import accuracy
    from mlp.models import build
    from mlp.prediction import predict
    from mlp.training import classification_loss, fit

    everything = _load()
    arrays = engine()
    losses: list[Any] = []

    def loss(network: Any, x: Any, labels: Any) -> Any:
        value = classification_loss(network, x, labels)
        losses.append(value)
        return value

    networks = fit(
        partial(build, architecture),
        *(everything.examples(), loss, settings, seeds, lambda *_: epoch_done(len(seeds)), arrays),
    )
    test = images.load(Path("data/processed/test.safetensors"))
    steps = len(losses) // settings.epochs
    first_epoch = [arrays.unstack(value.data) for value in losses[STRIDE - 1 : steps : STRIDE]]
    return [
        Result(
            settings.learning_rate,
            seed,
            [step[number].item() for step in first_epoch],
            *(accuracy(predict(network, each.examples()), each.labels) for each in (everything, test)),
        )
        for number, (network, seed) in enumerate(zip(networks, seeds, strict=True))
    ]


def _load() -> "LabelledImages":
    """All images but the test's: the lecture keeps none for validation."""
    import torch

    from mlp import images

    splits = [images.load(Path("data/processed", f"{split}.safetensors")) for split in ("train", "validation")]
    return splits[0]._replace(
        images=torch.cat([split.images for split in splits]), labels=torch.cat([split.labels for split in splits])
    )


if __name__ == "__main__":
    run(main, Params)
