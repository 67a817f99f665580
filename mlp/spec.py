"""What determines a trained network and what its inputs and outputs mean, as plain data.

A process that only hands out work needs no more of mlp than this, and need not import torch.
"""

from typing import Any, NamedTuple

PIXELS = 28 * 28
CLASSES = 10
CLASS_NAMES = {
    "mnist": ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    "fashion_mnist": [
        "T-Shirt",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle Boot",
    ],
}
FEATURES = [  # of a house
    "Lot Area",
    "Overall Qual",
    "Overall Cond",
    "Year Built",
    "Year Remod/Add",
    "Total Bsmt SF",
    "1st Flr SF",
    "2nd Flr SF",
    "Gr Liv Area",
    "Full Bath",
    "Half Bath",
    "Bedroom AbvGr",
    "Kitchen AbvGr",
    "TotRms AbvGrd",
    "Garage Area",
    "Yr Sold",
]


class Architecture(NamedTuple):
    name: str  # of a class in mlp.models.NETWORKS
    arguments: list[Any]  # of that class


class Settings(NamedTuple):
    epochs: int
    batch_size: int
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)


class Epoch(NamedTuple):
    """One point of a learning curve. Losses are mean cross-entropies in nats."""

    epoch: int  # from 1
    training_loss: float  # mean over the epoch's examples, each when its batch came
    validation_loss: float | None  # at the epoch's end; None without validation images
    validation_accuracy: float | None
