"""Trains the binary network to predict whether a house costs more than the median, at several L1 penalties."""

import statistics
from pathlib import Path
from typing import NamedTuple

from mlp.house_features import FEATURES
from mlp.spec import Architecture, Settings
from pipeline.files import atomic_output, json_text, write_texts
from pipeline.jobs import on_all_cores, train_all
from pipeline.params import Schema, Seeds
from pipeline.params.train_binary import TrainBinary
from pipeline.stage import run
from pipeline.tables import csv_text, summary
from pipeline.training import Job, Trained, binary


class Scores(NamedTuple):
    """The scores of one network. Losses are mean binary cross-entropies in nats, without the penalty."""

    l1_penalty: float
    seed: int
    l1_norm: float
    training_loss: float
    training_accuracy: float
    test_loss: float
    test_accuracy: float


class Params(Schema):
    seeds: Seeds
    train_binary: TrainBinary


def main(params: Params) -> None:
    group = params.train_binary
    betas = (group.betas[0], group.betas[1])
    architecture = Architecture("BinaryShallowNeuralNet", [len(FEATURES), group.hidden])
    settings = Settings(group.epochs, group.batch_size, group.learning_rate, betas)
    kinds = [(architecture, settings._replace(l1_penalty=penalty)) for penalty in group.l1_penalties]
    jobs = binary.jobs(kinds, params.seeds)
    trained = train_all("train_binary", jobs, "train_binary.learning_rate")
    results = on_all_cores(_score, list(zip(jobs, trained, strict=True)))
    validation_losses: dict[float, list[float]] = {}
    for scores, validation_loss in results:
        validation_losses.setdefault(scores.l1_penalty, []).append(validation_loss)
    chosen = min(validation_losses, key=lambda penalty: statistics.mean(validation_losses[penalty]))
    accuracies = [scores.test_accuracy for scores, _ in results if scores.l1_penalty == chosen]
    texts = {
        "metrics/binary.csv": csv_text(Scores._fields, [scores for scores, _ in results], ["l1_penalty"]),
        "metrics/binary.json": json_text({"l1_penalty": chosen, "binary": {"accuracy": summary(accuracies)}}),
    }
    with atomic_output(Path("models/binary")) as folder:
        folder.mkdir()
        for job, each in zip(jobs, trained, strict=True):
            name = f"l1-{job.settings.l1_penalty}-seed-{job.seed}.safetensors"
            (folder / name).write_bytes(each.network)
        write_texts(texts)


def _score(job: Job, trained: Trained) -> tuple[Scores, float]:
    """Returns the scores of a network, and its loss on the validation split."""
    from mlp import checkpoints  # importing torch takes two seconds; only workers need it
    from mlp.binary import binary_accuracy, l1_norm, mean_binary_cross_entropy
    from mlp.exact import Exact
    from mlp.prediction import predict

    network = checkpoints.from_bytes(job.architecture, trained.network)
    with Exact([network]):
        norm = float(l1_norm(network).data)
    scores = []
    for split in ("train", "test", "validation"):
        examples = binary.above_median(split)
        probabilities = predict(network, examples)
        scores.append(mean_binary_cross_entropy(probabilities, examples.targets))
        scores.append(binary_accuracy(probabilities, examples.targets))
    return Scores(job.settings.l1_penalty or 0.0, job.seed, norm, *scores[:4]), scores[4]


if __name__ == "__main__":
    run(main, Params)
