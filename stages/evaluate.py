"""Measures all trained networks on the test images: metrics over seeds, accuracy per class, confusion matrices."""

import json
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from mlp import artifacts, datasets
from mlp.evaluation import accuracy, confusion, parameter_count, predict, summary
from mlp.params import Params
from stages import run, write_csv, write_json


def main(params: Params) -> None:
    torch.set_num_threads(1)
    test = datasets.load(Path("data/processed/test.safetensors"))
    classes = datasets.CLASS_NAMES[params.dataset]
    metrics, per_network, per_class = {}, [], []
    for name in ("shallow", "deep"):
        matrices, rows = [], []
        for path in sorted(Path("models", name).iterdir()):
            network = artifacts.load(path, params.dataset)
            logits = predict(network, test)
            matrices.append(confusion(logits, test.labels))
            loss = cross_entropy(logits, test.labels).item()
            seed = int(path.stem.removeprefix("seed-"))
            rows.append((name, parameter_count(network), seed, accuracy(logits, test.labels), loss))
        per_network += rows
        metrics[name] = {"accuracy": summary([row[3] for row in rows])}
        print(f"{name}: {json.dumps(metrics[name])}")
        shares = [
            (actual, predicted, share)
            for actual, row in zip(classes, torch.stack(matrices).mean(dim=0).tolist(), strict=True)
            for predicted, share in zip(classes, row, strict=True)
        ]
        write_csv(Path("plots/confusion", f"{name}.csv"), ["actual", "predicted", "share"], shares)
        per_class += [(name, actual, share) for actual, predicted, share in shares if actual == predicted]
    write_csv(Path("metrics/networks.csv"), ["network", "parameters", "seed", "accuracy", "loss"], per_network)
    write_csv(Path("metrics/accuracy_per_class.csv"), ["network", "class", "accuracy"], per_class)
    write_json(Path("metrics/evaluation.json"), metrics)


if __name__ == "__main__":
    run(main)
