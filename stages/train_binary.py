"""Trains the binary network to tell houses dearer than the median, at several L1 penalties, and measures each."""

import statistics
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from mlp import ames, artifacts
from mlp.binary import BinaryShallowNeuralNet, binary_accuracy, l1_norm, penalised_loss, xavier_uniform
from mlp.evaluation import summary
from mlp.params import Params
from mlp.training import Settings, fit
from stages import run, whole, write_csv, write_json
from stages.parallel import epoch_done, run_jobs


def main(params: Params) -> None:
    torch.set_num_threads(1)
    group = params.train_binary
    settings = Settings(group.epochs, group.batch_size, group.learning_rate, (group.betas[0], group.betas[1]))
    jobs = [(group.hidden, settings, penalty, seed) for penalty in group.l1_penalties for seed in params.seeds]
    training, validation, test = (_examples(part) for part in ("train", "validation", "test"))
    validation_losses: dict[float, list[float]] = {}
    with whole(Path("models/binary")) as folder:
        folder.mkdir()
        networks = run_jobs("train_binary", _train, jobs, group.epochs)
        for (_, _, penalty, seed), network in zip(jobs, networks, strict=True):
            made_with = settings._asdict() | {"l1_penalty": penalty}
            artifacts.save(network, folder / f"l1-{penalty}-seed-{seed}.safetensors", "ames/all", seed, made_with)
            validation_losses.setdefault(penalty, []).append(_scores(network, *validation)[0])
    chosen = min(validation_losses, key=lambda penalty: statistics.mean(validation_losses[penalty]))

    rows = [
        (penalty, seed, l1_norm(network).item(), *_scores(network, *training), *_scores(network, *test))
        for (_, _, penalty, seed), network in zip(jobs, networks, strict=True)
    ]
    header = ["l1_penalty", "seed", "l1_norm", "training_loss", "training_accuracy", "test_loss", "test_accuracy"]
    write_csv(Path("metrics/binary.csv"), header, rows)
    metrics = {"l1_penalty": chosen, "shallow": {"accuracy": summary([row[-1] for row in rows if row[0] == chosen])}}
    write_json(Path("metrics/binary.json"), metrics)


def _train(hidden: int, settings: Settings, l1_penalty: float, seed: int) -> BinaryShallowNeuralNet:
    make_network = partial(BinaryShallowNeuralNet, len(ames.FEATURES), hidden)
    order = partial(ames.batches, *_examples("train"))
    loss = partial(penalised_loss, l1_penalty=l1_penalty)
    return fit(make_network, xavier_uniform, order, loss, settings, seed, lambda *_: epoch_done())


def _scores(network: BinaryShallowNeuralNet, inputs: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean binary cross-entropy in nats, without the penalty, and accuracy."""
    with torch.inference_mode():
        probabilities = network(inputs)
    return binary_cross_entropy(probabilities, labels).item(), binary_accuracy(probabilities, labels)


def _examples(part: str) -> tuple[Tensor, Tensor]:
    """Inputs, float64 [n, 16], and whether a house is dearer than the median of the training part, 0.0 or 1.0, [n]."""
    training, houses = (ames.load(Path("data/prices/all", f"{each}.safetensors")) for each in ("train", part))
    return houses.inputs(), (houses.prices > training.prices.quantile(0.5)).double()


if __name__ == "__main__":
    run(main)
