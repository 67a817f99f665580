"""Measures all trained networks on the test images."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from mlp import artifacts, datasets
from mlp.evaluation import accuracy, confusion, predict
from mlp.params import Params
from stages import run, whole


def main(params: Params) -> None:
    torch.set_num_threads(1)
    test = datasets.load(Path("data/processed/test.safetensors"))
    classes = datasets.CLASSES[params.dataset]
    metrics = {name: _evaluate(name, test, classes) for name in ("shallow", "deep")}
    with whole(Path("metrics/evaluation.json")) as file:
        file.write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")


def _evaluate(name: str, test: datasets.LabelledImages, classes: list[str]) -> dict[str, Any]:
    """The metrics of an architecture over its seeds; its confusion matrix goes to plots/confusion/<name>.csv."""
    networks = [artifacts.load(path) for path in sorted(Path("models", name).iterdir())]
    logits = [predict(network, test) for network in networks]
    shares = np.mean([confusion(each, test.labels) for each in logits], axis=0)
    with whole(Path("plots/confusion", f"{name}.csv")) as table, table.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["actual", "predicted", "share"])
        for (actual, predicted), share in np.ndenumerate(shares):
            writer.writerow([classes[actual], classes[predicted], round(share, 6)])
    return {
        "accuracy": _summary([accuracy(each, test.labels) for each in logits]),
        "loss": _summary([cross_entropy(each, test.labels).item() for each in logits]),
        "seeds": len(networks),
        "parameters": sum(parameter.numel() for parameter in networks[0].parameters()),
        "accuracy_per_class": {label: round(shares[i, i], 6) for i, label in enumerate(classes)},
    }


def _summary(values: list[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation over seeds; one seed has no deviation."""
    std = round(float(np.std(values, ddof=1)), 6) if len(values) > 1 else None
    return {"mean": round(float(np.mean(values)), 6), "std": std}


if __name__ == "__main__":
    run(main)
