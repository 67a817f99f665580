"""Trains deep networks of several sizes, chooses one on the validation images, then tests them all."""

import statistics
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp.comparison import Comparison, Correct, compare_all
from mlp.spec import Architecture, Settings
from pipeline.datasets import description
from pipeline.files import write_json
from pipeline.image_training import train_networks
from pipeline.jobs import run_jobs, seeds_of_jobs
from pipeline.networks import deep_network, settings_of
from pipeline.params import Schema, Seeds
from pipeline.params.compare_sizes import CompareSizes
from pipeline.stage import run
from pipeline.tables import summary, write_csv


class Params(Schema):
    seeds: Seeds
    compare_sizes: CompareSizes


class Size(NamedTuple):
    """One network of one size."""

    hidden: str
    parameters: int
    multiply_adds: int
    seed: int
    validation_accuracy: float | None  # None without validation images
    test_accuracy: float


def main(params: Params) -> None:
    group = params.compare_sizes
    images, how = description(), settings_of(group)
    jobs = [
        (deep_network(hidden, images), how, seeds)
        for hidden in group.architectures
        for seeds in seeds_of_jobs(params.seeds)
    ]
    total = len(group.architectures) * len(params.seeds) * how.epochs
    results = run_jobs("compare_sizes", _train, jobs, total, "compare_sizes.learning_rate")
    validation: dict[str, list[float]] = {}
    hits_of: dict[str, list[Correct]] = {}
    for size, hits in results:
        hits_of.setdefault(size.hidden, []).append(hits)
        if size.validation_accuracy is not None:
            validation.setdefault(size.hidden, []).append(size.validation_accuracy)
    chosen = max(validation, key=lambda hidden: statistics.mean(validation[hidden]), default=None)

    write_csv(Path("plots/sizes.csv"), Size._fields, [size for size, _ in results])
    comparisons = compare_all({hidden: np.stack(hits) for hidden, hits in hits_of.items()})
    pairs = [(*pair, *comparison[:-1], holm, comparison.verdict) for *pair, comparison, holm in comparisons]
    header = ["first", "second", *Comparison._fields[:-1], "holm_p_value", "verdict"]
    write_csv(Path("plots/size_comparisons.csv"), header, pairs)
    accuracies = [size.test_accuracy for size, _ in results if size.hidden == chosen]
    write_json(Path("metrics/sizes.json"), {"hidden": chosen, "deep": {"accuracy": summary(accuracies)}})


def _train(architecture: Architecture, settings: Settings, seeds: list[int]) -> list[tuple[Size, Correct]]:
    """The networks' scores, and about which test images each is right."""
    from mlp import images  # torch takes two seconds, and only workers need it
    from mlp.evaluation import correct, parameter_count, training_multiply_adds
    from mlp.prediction import predict

    training = images.load(Path("data/processed/train.safetensors"))
    networks, curves = train_networks(training, architecture, settings, seeds)
    test = images.load(Path("data/processed/test.safetensors"))
    results = []
    for network, curve, seed in zip(networks, curves, seeds, strict=True):
        hits = correct(predict(network, test.examples()), test.labels).numpy()
        size = Size(
            "-".join(map(str, architecture.arguments[1])),
            parameter_count(network),
            training_multiply_adds(network, len(training.labels) * settings.epochs),
            seed,
            curve[-1].validation_accuracy,
            int(hits.sum()) / len(hits),
        )
        results.append((size, hits))
    return results


if __name__ == "__main__":
    run(main, Params)
