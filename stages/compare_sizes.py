"""Trains deep networks of several sizes, chooses one on the validation images, then tests them all."""

import json
import statistics
from functools import partial
from pathlib import Path

import torch

from mlp import datasets
from mlp.datasets import CLASSES, PIXELS
from mlp.evaluation import accuracy, parameter_count, predict, summary
from mlp.models import DeepNeuralNet, Network
from mlp.params import Params
from mlp.training import Epoch, Settings, train
from stages import run, whole, write_csv
from stages.parallel import epoch_done, run_jobs


def main(params: Params) -> None:
    torch.set_num_threads(1)
    group = params.compare_sizes
    settings = Settings(group.epochs, group.batch_size, group.learning_rate)
    jobs = [(hidden, settings, seed) for hidden in group.architectures for seed in params.seeds]
    trained = run_jobs("compare_sizes", _train, jobs, settings.epochs)
    names = ["-".join(map(str, hidden)) for hidden, _, _ in jobs]
    validation: dict[str, list[float]] = {}
    for name, (_, score) in zip(names, trained, strict=True):
        if score is not None:
            validation.setdefault(name, []).append(score)
    chosen = max(validation, key=lambda name: statistics.mean(validation[name]), default=None)

    test = datasets.load(Path("data/processed/test.safetensors"))
    rows = [
        (name, parameter_count(network), seed, score, accuracy(predict(network, test), test.labels))
        for name, (_, _, seed), (network, score) in zip(names, jobs, trained, strict=True)
    ]
    header = ["hidden", "parameters", "seed", "validation_accuracy", "test_accuracy"]
    write_csv(Path("metrics/sizes.csv"), header, rows)
    metrics = {"hidden": chosen, "deep": {"accuracy": summary([row[-1] for row in rows if row[0] == chosen])}}
    with whole(Path("metrics/sizes.json")) as file:
        file.write_text(json.dumps(metrics, indent=2) + "\n")


def _train(hidden: list[int], settings: Settings, seed: int) -> tuple[Network, float | None]:
    """The network and its accuracy on the validation images, if there are any."""
    training = datasets.load(Path("data/processed/train.safetensors"))
    validation = datasets.load(Path("data/processed/validation.safetensors"))
    curve: list[Epoch] = []

    def on_epoch(epoch: Epoch) -> None:
        curve.append(epoch)
        epoch_done()

    network = train(partial(DeepNeuralNet, PIXELS, hidden, CLASSES), training, validation, settings, seed, on_epoch)
    return network, curve[-1].validation_accuracy


if __name__ == "__main__":
    run(main)
