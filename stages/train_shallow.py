"""Trains the shallow network, once for each seed."""

from functools import partial

from mlp.datasets import CLASSES, PIXELS
from mlp.models import ShallowNeuralNet
from mlp.params import Params
from mlp.training import Settings
from stages import run
from stages.train import train_seeds


def main(params: Params) -> None:
    group = params.train_shallow
    network = partial(ShallowNeuralNet, PIXELS, group.hidden, CLASSES)
    settings = Settings(group.epochs, group.batch_size, group.learning_rate)
    train_seeds("shallow", params.dataset, network, settings, params.seeds)


if __name__ == "__main__":
    run(main)
