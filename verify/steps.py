"""A few training steps of each network on the real data, so few that an emulated processor can take them."""

import sys
from functools import partial
from pathlib import Path

import torch
from torch.nn.functional import mse_loss

from mlp import ames, artifacts, datasets
from mlp.binary import BinaryShallowNeuralNet, penalised_loss, xavier_uniform
from mlp.datasets import CLASSES, PIXELS
from mlp.models import DeepNeuralNet, ShallowNeuralNet, initialise
from mlp.training import Settings, fit, train

SETTINGS = Settings(epochs=2, batch_size=64, learning_rate=0.001)
IMAGES = 640


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    folder.mkdir()
    everything = datasets.load(Path("data/processed/train.safetensors"))
    images = everything._replace(images=everything.images[:IMAGES], labels=everything.labels[:IMAGES])
    houses = ames.load(Path("data/prices/all/train.safetensors"))
    dear = (houses.prices > houses.prices.median()).double()
    networks = {
        "shallow": train(partial(ShallowNeuralNet, PIXELS, 64, CLASSES), images, images, SETTINGS, 0),
        "deep": train(partial(DeepNeuralNet, PIXELS, [80, 40, 20], CLASSES), images, images, SETTINGS, 0),
        "prices": fit(
            partial(DeepNeuralNet, len(ames.FEATURES), [80, 40, 20], 1),
            initialise,
            partial(ames.batches, houses.inputs(), houses.targets()),
            lambda network, x, targets: mse_loss(network(x).squeeze(1), targets),
            SETTINGS,
            0,
            lambda *_: None,
        ),
        "binary": fit(
            partial(BinaryShallowNeuralNet, len(ames.FEATURES), 8),
            xavier_uniform,
            partial(ames.batches, houses.inputs(), dear),
            partial(penalised_loss, l1_penalty=0.001),
            SETTINGS,
            0,
            lambda *_: None,
        ),
    }
    for name, network in networks.items():
        artifacts.save(network, folder / f"{name}.safetensors", "a few examples", 0, SETTINGS._asdict())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
