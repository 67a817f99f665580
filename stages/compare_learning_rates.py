"""Trains the lecture's deep network at several learning rates, with the losses of its first epoch step by step."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlp.params import Params
from mlp.spec import Settings
from stages import csv_text, run, whole
from stages.networks import deep_network
from stages.parallel import engine, epoch_done, run_jobs, seeds_of_jobs

if TYPE_CHECKING:
    from mlp.datasets import LabelledImages

STRIDE = 25  # the lecture prints the loss of every 25th step


class Result(NamedTuple):
    """Of one network."""

    learning_rate: float
    seed: int
    losses: list[float]  # of each STRIDE-th step of the first epoch
    training_accuracy: float  # after the last epoch
    test_accuracy: float


def main(params: Params) -> None:
    group = params.compare_learning_rates
    jobs = [
        (group.hidden, Settings(group.epochs, group.batch_size, rate), seeds)
        for rate in group.learning_rates
        for seeds in seeds_of_jobs(group.seeds)
    ]
    with whole(Path("plots/learning_rates")) as folder:
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
        (folder / "first_epoch.csv").write_text(csv_text(header, curves))
        accuracies = [(each.learning_rate, each.seed, each.training_accuracy, each.test_accuracy) for each in results]
        header = ["learning_rate", "seed", "training_accuracy", "test_accuracy"]
        (folder / "accuracy.csv").write_text(csv_text(header, accuracies))


def _train(hidden: list[int], settings: Settings, seeds: list[int]) -> list[Result]:
    from functools import partial  # torch takes two seconds, and only workers need it

    from mlp import datasets
    from mlp.evaluation import accuracy, predict
    from mlp.models import build
    from mlp.training import classification_loss, fit

    everything = _load()
    arrays = engine()
    losses: list[Any] = []

    def loss(network: Any, x: Any, labels: Any) -> Any:
        value = classification_loss(network, x, labels)
        losses.append(value)
        return value

    networks = fit(
        partial(build, deep_network(hidden)),
        *(everything.examples(), loss, settings, seeds, lambda *_: epoch_done(len(seeds)), arrays),
    )
    test = datasets.load(Path("data/processed/test.safetensors"))
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

    from mlp import datasets

    parts = [datasets.load(Path("data/processed", f"{part}.safetensors")) for part in ("train", "validation")]
    return parts[0]._replace(
        images=torch.cat([part.images for part in parts]), labels=torch.cat([part.labels for part in parts])
    )


if __name__ == "__main__":
    run(main)
