"""Measures all trained networks on the test images, and says which kind is better and whether to believe it."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from mlp import artifacts, datasets
from mlp.comparison import compare
from mlp.evaluation import (
    accuracy,
    confusion,
    correct,
    expected_calibration_error,
    mean_cross_entropy,
    parameter_count,
    predict,
    probabilities,
    reliability,
    training_multiply_adds,
)
from mlp.params import Params
from mlp.spec import CLASS_NAMES
from stages import run, summary, write_csv, write_json
from stages.networks import NETWORKS

MISTAKES = 16


def main(params: Params) -> None:
    torch.set_num_threads(1)
    test = datasets.load(Path("data/processed/test.safetensors"))
    training_images = len(datasets.load(Path("data/processed/train.safetensors")).labels)
    classes = CLASS_NAMES[params.dataset]
    logits: dict[str, list[Tensor]] = {name: [] for name in NETWORKS}  # of each seed
    rows = []
    for name in NETWORKS:
        for seed in params.seeds:
            path = Path("models", name, f"seed-{seed}.safetensors")
            network = artifacts.load(path, params.dataset)
            multiply_adds = training_multiply_adds(
                network, training_images * artifacts.read_origin(path).settings["epochs"]
            )
            found = predict(network, test.examples())
            loss = mean_cross_entropy(found, test.labels)
            calibration_error = expected_calibration_error(reliability(found, test.labels))
            score = accuracy(found, test.labels)
            rows.append((name, parameter_count(network), multiply_adds, seed, score, loss, calibration_error))
            logits[name].append(found)
    header = ["network", "parameters", "multiply_adds", "seed", "accuracy", "loss", "calibration_error"]
    write_csv(Path("metrics/networks.csv"), header, rows)

    labels = test.labels.repeat(len(params.seeds))  # of all seeds together
    shares = [
        (name, actual, predicted, share)
        for name in NETWORKS
        for actual, row in zip(classes, confusion(torch.cat(logits[name]), labels).tolist(), strict=True)
        for predicted, share in zip(classes, row, strict=True)
    ]
    write_csv(Path("metrics/confusion.csv"), ["network", "actual", "predicted", "share"], shares)
    bins = [(name, *each) for name in NETWORKS for each in reliability(torch.cat(logits[name]), labels)]
    write_csv(Path("plots/reliability.csv"), ["network", "images", "confidence", "accuracy"], bins)
    mistakes = [
        (name, image, classes[actual], classes[predicted], *chances)
        for name in NETWORKS
        for image, actual, predicted, *chances in _mistakes(logits[name][0], test.labels)
    ]
    header = ["network", "image", "actual", "predicted", "probability_of_actual", "probability_of_predicted"]
    write_csv(Path("plots/mistakes.csv"), header, mistakes)

    metrics: dict[str, object] = {
        name: {
            "accuracy": summary([row[4] for row in rows if row[0] == name]),
            "calibration_error": summary([row[6] for row in rows if row[0] == name]),
        }
        for name in NETWORKS
    }
    hits = {
        name: torch.stack([correct(each, test.labels) for each in logits[name]]).numpy() for name in ("shallow", "deep")
    }
    comparison = compare(hits["shallow"], hits["deep"], ("shallow", "deep"))._asdict()
    metrics["comparison"] = {
        key: round(value, 6) if isinstance(value, float) else value for key, value in comparison.items()
    }
    write_json(Path("metrics/evaluation.json"), metrics)
    print(json.dumps(metrics, indent=2))


def _mistakes(logits: Tensor, labels: Tensor) -> Iterator[tuple[int, int, int, float, float]]:
    """The images about which a network is surest and wrong: place, actual and predicted class, their probabilities."""
    chances = probabilities(logits)
    confidences, predicted = chances.max(dim=1)
    wrong = (predicted != labels).nonzero().flatten()
    for image in wrong[confidences[wrong].argsort(descending=True, stable=True)][:MISTAKES].tolist():
        actual, guess = int(labels[image]), int(predicted[image])
        yield image, actual, guess, chances[image, actual].item(), chances[image, guess].item()


if __name__ == "__main__":
    run(main)
