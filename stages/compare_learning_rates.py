"""Trains the lecture's deep network at several learning rates, with the losses of its first epoch step by step."""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mlp import datasets
from mlp.datasets import CLASSES, PIXELS, LabelledImages, batches, pixel_statistics
from mlp.evaluation import accuracy, predict
from mlp.models import DeepNeuralNet, Network, initialise
from mlp.params import Params
from mlp.training import Settings, fit
from stages import csv_text, run, whole
from stages.parallel import epoch_done, run_jobs

STRIDE = 25  # the lecture prints the loss of every 25th step


class Result(NamedTuple):
    losses: list[float]  # of each STRIDE-th step of the first epoch
    training_accuracy: float  # after the last epoch
    test_accuracy: float


def main(params: Params) -> None:
    group = params.compare_learning_rates
    jobs = [
        (group.hidden, Settings(group.epochs, group.batch_size, rate), seed)
        for rate in group.learning_rates
        for seed in group.seeds
    ]
    with whole(Path("plots/learning_rates")) as folder:
        folder.mkdir()
        results = run_jobs("compare_learning_rates", _train, jobs, group.epochs)
        curves = [
            (settings.learning_rate, seed, number * STRIDE, loss)
            for (_, settings, seed), result in zip(jobs, results, strict=True)
            for number, loss in enumerate(result.losses, start=1)
        ]
        header = ["learning_rate", "seed", "step", "training_loss"]
        (folder / "first_epoch.csv").write_text(csv_text(header, curves))
        accuracies = [
            (settings.learning_rate, seed, result.training_accuracy, result.test_accuracy)
            for (_, settings, seed), result in zip(jobs, results, strict=True)
        ]
        header = ["learning_rate", "seed", "training_accuracy", "test_accuracy"]
        (folder / "accuracy.csv").write_text(csv_text(header, accuracies))
        everything = _load()
        mean, std = (round(each.item(), 6) for each in pixel_statistics(everything.images))
        steps = {size: sum(1 for _ in batches(everything, size)) for size in (64, 256)}
        (folder / "images.json").write_text(json.dumps({"mean": mean, "std": std, "steps": steps}) + "\n")


def _load() -> LabelledImages:
    """All images but the test's: the lecture keeps none for validation."""
    parts = [datasets.load(Path("data/processed", f"{part}.safetensors")) for part in ("train", "validation")]
    return parts[0]._replace(
        images=torch.cat([part.images for part in parts]), labels=torch.cat([part.labels for part in parts])
    )


def _train(hidden: list[int], settings: Settings, seed: int) -> Result:
    everything = _load()
    losses: list[float] = []

    def loss(network: Network, x: Tensor, labels: Tensor) -> Tensor:
        value = cross_entropy(network(x), labels)
        losses.append(value.item())
        return value

    make_network = partial(DeepNeuralNet, PIXELS, hidden, CLASSES)
    network = fit(make_network, initialise, partial(batches, everything), loss, settings, seed, lambda *_: epoch_done())
    test = datasets.load(Path("data/processed/test.safetensors"))
    steps = len(losses) // settings.epochs
    return Result(
        losses[STRIDE - 1 : steps : STRIDE],
        accuracy(predict(network, everything), everything.labels),
        accuracy(predict(network, test), test.labels),
    )


if __name__ == "__main__":
    run(main)
