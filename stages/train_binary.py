"""Trains the binary network to predict whether a house costs more than the median, at several L1 penalties."""

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mlp.house_features import FEATURES
from mlp.spec import Architecture, Settings
from pipeline.files import atomic_output, write_json
from pipeline.jobs import engine, epoch_done, run_jobs, seeds_of_jobs
from pipeline.params import Schema, Seeds
from pipeline.params.train_binary import TrainBinary
from pipeline.stage import run
from pipeline.tables import summary, write_csv

if TYPE_CHECKING:
    from mlp.examples import Examples


class Scores(NamedTuple):
    """Of one network. Losses are mean binary cross-entropies in nats, without the penalty."""

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
    settings = Settings(group.epochs, group.batch_size, group.learning_rate, (group.betas[0], group.betas[1]))
    with atomic_output(Path("models/binary")) as folder:
        folder.mkdir()
        jobs = [
            (group.hidden, settings, penalty, seeds, folder)
            for penalty in group.l1_penalties
            for seeds in seeds_of_jobs(params.seeds)
        ]
        total = len(group.l1_penalties) * len(params.seeds) * group.epochs
        results = run_jobs("train_binary", _train, jobs, total, "train_binary.learning_rate")
    validation_losses: dict[float, list[float]] = {}
    for scores, validation_loss in results:
        validation_losses.setdefault(scores.l1_penalty, []).append(validation_loss)
    chosen = min(validation_losses, key=lambda penalty: statistics.mean(validation_losses[penalty]))
    write_csv(Path("metrics/binary.csv"), Scores._fields, [scores for scores, _ in results])
    accuracies = [scores.test_accuracy for scores, _ in results if scores.l1_penalty == chosen]
    write_json(Path("metrics/binary.json"), {"l1_penalty": chosen, "binary": {"accuracy": summary(accuracies)}})


def _train(
    hidden: int, settings: Settings, l1_penalty: float, seeds: list[int], folder: Path
) -> list[tuple[Scores, float]]:
    """The scores of the networks, with their losses on the validation split."""
    from functools import partial  # torch takes two seconds, and only workers need it

    from mlp import checkpoints
    from mlp.binary import binary_accuracy, l1_norm, mean_binary_cross_entropy, penalised_loss
    from mlp.exact import Exact
    from mlp.models import build
    from mlp.prediction import predict
    from mlp.training import fit

    architecture = Architecture("BinaryShallowNeuralNet", [len(FEATURES), hidden])
    loss, make_network = partial(penalised_loss, l1_penalty=l1_penalty), partial(build, architecture)
    training, validation, test = (_examples(split) for split in ("train", "validation", "test"))
    networks = fit(make_network, training, loss, settings, seeds, lambda *_: epoch_done(len(seeds)), engine())
    results = []
    for network, seed in zip(networks, seeds, strict=True):
        output = folder / f"l1-{l1_penalty}-seed-{seed}.safetensors"
        made_with = settings._asdict() | {"l1_penalty": l1_penalty}
        checkpoints.save(network, architecture, output, "ames/all", seed, made_with)
        with Exact([network]):
            norm = float(l1_norm(network).data)
        scores = []
        for examples in (training, test, validation):
            probabilities = predict(network, examples)
            scores.append(mean_binary_cross_entropy(probabilities, examples.targets))
            scores.append(binary_accuracy(probabilities, examples.targets))
        results.append((Scores(l1_penalty, seed, norm, *scores[:4]), scores[4]))
    return results


def _examples(split: str) -> "Examples":
    """Houses, and whether each costs more than the median of the training split, 0.0 or 1.0."""
    from mlp import ames

    training, houses = (ames.load(Path("data/prices/all", f"{each}.safetensors")) for each in ("train", split))
    return houses.examples()._replace(targets=(houses.prices > training.median_price()).double())


if __name__ == "__main__":
    run(main, Params)
