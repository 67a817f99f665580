"""Trains deep networks of several sizes, chooses one by its validation accuracy, then tests them all."""

import statistics
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import safe_open

from mlp.comparison import NO_DIFFERENCE, Comparison, Correct, compare_all
from mlp.errors import reading
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
    """The scores of one network."""

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
    with reading(Path(images.TRAINING)), safe_open(images.TRAINING, "numpy") as training:
        count = training.get_slice("labels").get_shape()[0]
    results = on_all_cores(_score, [(*each, count) for each in zip(jobs, trained, strict=True)])
    scores: dict[str, list[Size]] = {}
    validation: dict[str, list[float]] = {}
    hits_of: dict[str, list[Correct]] = {}
    for size, hits in results:
        scores.setdefault(size.hidden, []).append(size)
        hits_of.setdefault(size.hidden, []).append(hits)
        if size.validation_accuracy is not None:
            validation.setdefault(size.hidden, []).append(size.validation_accuracy)
    chosen = max(validation, key=lambda hidden: statistics.mean(validation[hidden]), default=None)

    best, *_ = by_accuracy = sorted(hits_of, key=lambda hidden: np.sum(hits_of[hidden]), reverse=True)
    comparisons = compare_all({hidden: np.stack(hits_of[hidden]) for hidden in by_accuracy})
    worse = {second for first, second, found, _ in comparisons if first == best and found.verdict != NO_DIFFERENCE}
    standing = {hidden: "shown to be worse" if hidden in worse else "not shown to be worse" for hidden in by_accuracy}
    standing[best] = "best"
    best_last = reversed(by_accuracy)  # so that it is drawn on top
    sizes = [(*size, standing[hidden]) for hidden in best_last for size in scores[hidden]]
    pairs = [(*pair, *comparison[:-1], adjusted, comparison.verdict) for *pair, comparison, adjusted in comparisons]
    header = ["first", "second", *Comparison._fields[:-1], "adjusted_p_value", "verdict"]
    accuracies = [size.test_accuracy for size, _ in results if size.hidden == chosen]
    write_texts(
        {
            "plots/sizes.csv": csv_text([*Size._fields, "standing"], sizes),
            "plots/size_comparisons.csv": csv_text(header, pairs),
            "metrics/sizes.json": json_text({"hidden": chosen, "deep": {"accuracy": summary(accuracies)}}),
        }
    )


def _score(job: Job, trained: Trained, training_images: int) -> tuple[Size, Correct]:
    """Returns a network's scores, and whether it classifies each test image correctly."""
    from mlp import checkpoints  # importing torch takes two seconds; only workers need it
    from mlp.evaluation import correct, parameter_count, training_multiply_adds
    from mlp.images import load
    from mlp.prediction import predict

    pixels, hidden, classes = job.architecture.arguments
    test = load(Path("data/processed/test.safetensors"), pixels, classes)
    network = checkpoints.from_bytes(job.architecture, trained.network)
    hits = correct(predict(network, test.examples()), test.labels).numpy()
    size = Size(
        "-".join(map(str, hidden)),
        parameter_count(network),
        training_multiply_adds(network, training_images * job.settings.epochs),
        job.seed,
        trained.curve[-1].validation_accuracy,
        int(hits.sum()) / len(hits),
    )
    return size, hits


if __name__ == "__main__":
    run(main, Params)
