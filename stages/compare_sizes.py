"""Trains deep networks of several sizes, chooses one on the validation images, then tests them all."""

import statistics
from functools import partial
from pathlib import Path

import torch

from mlp import datasets
from mlp.datasets import CLASSES, PIXELS
from mlp.evaluation import accuracy, parameter_count, predict, summary
from mlp.models import DeepNeuralNet
from mlp.params import Params
from mlp.training import Epoch, Settings
from stages import csv_text, run, whole, write_csv, write_json
from stages.parallel import run_jobs
from stages.train import train_network


def main(params: Params) -> None:
    torch.set_num_threads(1)
    group = params.compare_sizes
    settings = Settings(group.epochs, group.batch_size, group.learning_rate)
    runs = [(hidden, seed) for hidden in group.architectures for seed in params.seeds]
    jobs = [(partial(DeepNeuralNet, PIXELS, hidden, CLASSES), settings, seed) for hidden, seed in runs]
    names = ["-".join(map(str, hidden)) for hidden, _ in runs]
    with whole(Path("plots/sizes")) as folder:
        folder.mkdir()
        trained = run_jobs("compare_sizes", train_network, jobs, settings.epochs)
        points = [
            (name, seed, *point)
            for name, (_, seed), (_, curve) in zip(names, runs, trained, strict=True)
            for point in curve
        ]
        (folder / "curves.csv").write_text(csv_text(["hidden", "seed", *Epoch._fields], points))
    scores = [curve[-1].validation_accuracy for _, curve in trained]  # None without validation images
    validation: dict[str, list[float]] = {}
    for name, score in zip(names, scores, strict=True):
        if score is not None:
            validation.setdefault(name, []).append(score)
    chosen = max(validation, key=lambda name: statistics.mean(validation[name]), default=None)

    test = datasets.load(Path("data/processed/test.safetensors"))
    rows = [
        (name, parameter_count(network), seed, score, accuracy(predict(network, test), test.labels))
        for name, (_, seed), (network, _), score in zip(names, runs, trained, scores, strict=True)
    ]
    header = ["hidden", "parameters", "seed", "validation_accuracy", "test_accuracy"]
    write_csv(Path("metrics/sizes.csv"), header, rows)
    metrics = {"hidden": chosen, "deep": {"accuracy": summary([row[-1] for row in rows if row[0] == chosen])}}
    write_json(Path("metrics/sizes.json"), metrics)


if __name__ == "__main__":
    run(main)
