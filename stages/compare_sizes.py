"""Trains deep networks of several sizes, chooses one on the validation images, then tests them all."""

import statistics
from functools import partial
from pathlib import Path

import torch

from mlp import datasets
from mlp.comparison import Comparison, compare_all
from mlp.datasets import CLASSES, PIXELS
from mlp.evaluation import parameter_count, predict, right, summary, training_multiply_adds
from mlp.models import DeepNeuralNet
from mlp.params import Params
from mlp.training import Settings
from stages import run, write_csv, write_json
from stages.parallel import run_jobs
from stages.train import train_network


def main(params: Params) -> None:
    torch.set_num_threads(1)
    group = params.compare_sizes
    settings = Settings(group.epochs, group.batch_size, group.learning_rate)
    runs = [(hidden, seed) for hidden in group.architectures for seed in params.seeds]
    jobs = [(partial(DeepNeuralNet, PIXELS, hidden, CLASSES), settings, seed) for hidden, seed in runs]
    names = ["-".join(map(str, hidden)) for hidden, _ in runs]
    trained = run_jobs("compare_sizes", train_network, jobs, settings.epochs)
    scores = [curve[-1].validation_accuracy for _, curve in trained]  # None without validation images
    validation: dict[str, list[float]] = {}
    for name, score in zip(names, scores, strict=True):
        if score is not None:
            validation.setdefault(name, []).append(score)
    chosen = max(validation, key=lambda name: statistics.mean(validation[name]), default=None)

    test = datasets.load(Path("data/processed/test.safetensors"))
    images = len(datasets.load(Path("data/processed/train.safetensors")).labels) * settings.epochs
    rights = [right(predict(network, test), test.labels) for network, _ in trained]
    rows = [
        (
            name,
            parameter_count(network),
            training_multiply_adds(network, images),
            seed,
            score,
            hits.double().mean().item(),
        )
        for name, (_, seed), (network, _), score, hits in zip(names, runs, trained, scores, rights, strict=True)
    ]
    header = ["hidden", "parameters", "multiply_adds", "seed", "validation_accuracy", "test_accuracy"]
    write_csv(Path("plots/sizes.csv"), header, rows)
    by_name = {
        each: torch.stack([hits for name, hits in zip(names, rights, strict=True) if name == each]).numpy()
        for each in dict.fromkeys(names)
    }
    pairs = [(*pair, *comparison[:-1], holm, comparison.verdict) for *pair, comparison, holm in compare_all(by_name)]
    header = ["first", "second", *Comparison._fields[:-1], "holm_p_value", "verdict"]
    write_csv(Path("plots/size_comparisons.csv"), header, pairs)
    metrics = {"hidden": chosen, "deep": {"accuracy": summary([row[-1] for row in rows if row[0] == chosen])}}
    write_json(Path("metrics/sizes.json"), metrics)


if __name__ == "__main__":
    run(main)
