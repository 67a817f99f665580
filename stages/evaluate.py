"""Measures all trained networks on the test images, and compares the shallow with the deep ones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mlp import checkpoints, images
from mlp.comparison import compare
from mlp.evaluation import (
    accuracy,
    confusion,
    correct,
    expected_calibration_error,
    mean_cross_entropy,
    parameter_count,
    probabilities,
    reliability,
    training_multiply_adds,
)
from pipeline.datasets import description
from pipeline.files import by_seed, json_text, write_texts
from pipeline.networks import NETWORKS
from pipeline.params import DatasetName, Schema, Seeds
from pipeline.stage import run
from pipeline.tables import csv_text, summary

MISTAKES = 16


class Params(Schema):
    dataset: DatasetName
    seeds: Seeds


class Scores(NamedTuple):
    """The scores of one network on the test images."""

    network: str
    parameters: int
    multiply_adds: int
    seed: int
    accuracy: float
    loss: float
    calibration_error: float


def main(params: Params) -> None:
    torch.set_num_threads(1)
    of = description()
    classes = of.classes
    test, training = (
        images.load(Path(f"data/processed/{split}.safetensors"), of.pixels, len(classes)) for split in ("test", "train")
    )
    logits: dict[str, list[Tensor]] = {name: [] for name in NETWORKS}  # one tensor for each seed
    rows = []
    for name in NETWORKS:
        for seed, path in zip(params.seeds, by_seed(Path("models", name), params.seeds), strict=True):
            network, found = checkpoints.predict_from_file(path, params.dataset, test.examples(), len(classes))
            epochs = checkpoints.read_metadata(path).settings.epochs
            multiply_adds = training_multiply_adds(network, len(training.labels) * epochs)
            loss = mean_cross_entropy(found, test.labels)
            calibration_error = expected_calibration_error(reliability(found, test.labels))
            score = accuracy(found, test.labels)
            rows.append(Scores(name, parameter_count(network), multiply_adds, seed, score, loss, calibration_error))
            logits[name].append(found)

    labels = test.labels.repeat(len(params.seeds))  # one copy for each seed
    shares = [
        (name, actual, predicted, share)
        for name in NETWORKS
        for actual, row in zip(classes, confusion(torch.cat(logits[name]), labels).tolist(), strict=True)
        for predicted, share in zip(classes, row, strict=True)
    ]
    bins = [(name, *each) for name in NETWORKS for each in reliability(torch.cat(logits[name]), labels)]
    mistakes = [
        (name, image, classes[actual], classes[predicted], *of_both)
        for name in NETWORKS
        for image, actual, predicted, *of_both in _mistakes(logits[name][0], test.labels)
    ]
    header = ["network", "image", "actual", "predicted", "probability_of_actual", "probability_of_predicted"]

    metrics: dict[str, object] = {
        name: {
            "accuracy": summary([each.accuracy for each in rows if each.network == name]),
            "calibration_error": summary([each.calibration_error for each in rows if each.network == name]),
        }
        for name in NETWORKS
    }
    correct_by = {
        name: torch.stack([correct(each, test.labels) for each in logits[name]]).numpy() for name in ("shallow", "deep")
    }
    comparison = compare(correct_by["shallow"], correct_by["deep"], ("shallow", "deep"))._asdict()
    metrics["comparison"] = {
        key: round(value, 6) if isinstance(value, float) else value for key, value in comparison.items()
    }
    write_texts(
        {
            "metrics/networks.csv": csv_text(Scores._fields, rows),
            "metrics/confusion.csv": csv_text(["network", "actual", "predicted", "share"], shares),
            "plots/reliability.csv": csv_text(["network", "images", "confidence", "accuracy"], bins),
            "plots/mistakes.csv": csv_text(header, mistakes),
            "metrics/evaluation.json": json_text(metrics),
        }
    )
    print(json.dumps(metrics, indent=2))


def _mistakes(logits: Tensor, labels: Tensor) -> Iterator[tuple[int, int, int, float, float]]:
    """Yields the most confident errors: index of the image, actual and predicted class, their probabilities."""
    of_classes = probabilities(logits)
    confidences, predicted = of_classes.max(dim=1)
    wrong = (predicted != labels).nonzero().flatten()
    for image in wrong[confidences[wrong].argsort(descending=True, stable=True)][:MISTAKES].tolist():
        actual, guess = int(labels[image]), int(predicted[image])
        yield image, actual, guess, of_classes[image, actual].item(), of_classes[image, guess].item()


if __name__ == "__main__":
    run(main, Params)
