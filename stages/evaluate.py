"""Measures all trained networks on the test images: metrics over seeds, accuracy per class, confusion matrices."""

import json
import statistics
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from mlp import artifacts, datasets
from mlp.evaluation import accuracy, confusion, predict
from mlp.params import Params
from stages import run, whole, write_csv


def main(params: Params) -> None:
    torch.set_num_threads(1)
    test = datasets.load(Path("data/processed/test.safetensors"))
    classes = datasets.CLASSES[params.dataset]
    metrics, per_class = {}, []
    for name in ("shallow", "deep"):
        networks = [artifacts.load(path) for path in sorted(Path("models", name).iterdir())]
        logits = [predict(network, test) for network in networks]
        metrics[name] = {
            "accuracy": _summary([accuracy(each, test.labels) for each in logits]),
            "loss": _summary([cross_entropy(each, test.labels).item() for each in logits]),
            "seeds": len(networks),
            "parameters": sum(parameter.numel() for parameter in networks[0].parameters()),
        }
        print(f"{name}: {json.dumps(metrics[name])}")
        matrix = torch.stack([confusion(each, test.labels) for each in logits]).mean(dim=0).tolist()
        shares = [
            (actual, predicted, round(share, 6))
            for actual, row in zip(classes, matrix, strict=True)
            for predicted, share in zip(classes, row, strict=True)
        ]
        write_csv(Path("plots/confusion", f"{name}.csv"), ["actual", "predicted", "share"], shares)
        per_class += [(name, actual, share) for actual, predicted, share in shares if actual == predicted]
    write_csv(Path("metrics/accuracy_per_class.csv"), ["network", "class", "accuracy"], per_class)
    with whole(Path("metrics/evaluation.json")) as file:
        file.write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")


def _summary(values: list[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation over seeds; one seed has no deviation."""
    std = round(statistics.stdev(values), 6) if len(values) > 1 else None
    return {"mean": round(statistics.mean(values), 6), "std": std}


if __name__ == "__main__":
    run(main)
