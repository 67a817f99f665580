"""Trains deep networks of several sizes, chooses one on the validation images, then tests them all."""

import statistics
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp.comparison import Comparison, Correct, compare_all
from pipeline.datasets import description
from pipeline.files import json_text, write_texts
from pipeline.jobs import on_all_cores, train_all
from pipeline.networks import deep_network, settings_of
from pipeline.params import DatasetName, Schema, Seeds
from pipeline.params.compare_sizes import CompareSizes
from pipeline.stage import run
from pipeline.tables import csv_text, summary
from pipeline.training import Job, Trained, images


class Params(Schema):
    dataset: DatasetName
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
    of, how = description(), settings_of(group)
    kinds = [(deep_network(hidden, of), how) for hidden in group.architectures]
    jobs = images.jobs(params.dataset, kinds, params.seeds)
    trained = train_all("compare_sizes", jobs, "compare_sizes.learning_rate")
    results = on_all_cores(_score, list(zip(jobs, trained, strict=True)))
    validation: dict[str, list[float]] = {}
    hits_of: dict[str, list[Correct]] = {}
    for size, hits in results:
        hits_of.setdefault(size.hidden, []).append(hits)
        if size.validation_accuracy is not None:
            validation.setdefault(size.hidden, []).append(size.validation_accuracy)
    chosen = max(validation, key=lambda hidden: statistics.mean(validation[hidden]), default=None)

    comparisons = compare_all({hidden: np.stack(hits) for hidden, hits in hits_of.items()})
    pairs = [(*pair, *comparison[:-1], holm, comparison.verdict) for *pair, comparison, holm in comparisons]
    header = ["first", "second", *Comparison._fields[:-1], "holm_p_value", "verdict"]
    accuracies = [size.test_accuracy for size, _ in results if size.hidden == chosen]
    write_texts(
        {
            "plots/sizes.csv": csv_text(Size._fields, [size for size, _ in results]),
            "plots/size_comparisons.csv": csv_text(header, pairs),
            "metrics/sizes.json": json_text({"hidden": chosen, "deep": {"accuracy": summary(accuracies)}}),
        }
    )


def _score(job: Job, trained: Trained) -> tuple[Size, Correct]:
    """A network's scores, and about which test images it is right."""
    from mlp import checkpoints  # torch takes two seconds, and only workers need it
    from mlp.evaluation import correct, parameter_count, training_multiply_adds
    from mlp.images import load
    from mlp.prediction import predict

    pixels, hidden, classes = job.architecture.arguments
    training, test = (
        load(Path("data/processed", f"{split}.safetensors"), pixels, classes) for split in ("train", "test")
    )
    network = checkpoints.from_bytes(job.architecture, trained.network)
    hits = correct(predict(network, test.examples()), test.labels).numpy()
    size = Size(
        "-".join(map(str, hidden)),
        parameter_count(network),
        training_multiply_adds(network, len(training.labels) * job.settings.epochs),
        job.seed,
        trained.curve[-1].validation_accuracy,
        int(hits.sum()) / len(hits),
    )
    return size, hits


if __name__ == "__main__":
    run(main, Params)
