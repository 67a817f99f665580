"""The architecture and settings of a network, and its learning curve, as plain data.

This module does not import torch, so a process that only dispatches jobs need not import it either.
"""

from typing import Any, NamedTuple


class Architecture(NamedTuple):
    name: str  # of a class in mlp.models.CLASSES
    arguments: list[Any]  # of that class; for images, the first are inputs, hidden units and outputs


class Settings(NamedTuple):
    epochs: int
    batch_size: int
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    l1_penalty: float | None = None  # of the binary network


class Epoch(NamedTuple):
    """One point of a learning curve. Losses are mean cross-entropies in nats."""

    epoch: int  # from 1
    training_loss: float  # mean over the epoch's examples, each before its batch's update
    validation_loss: float | None  # at the epoch's end; None without validation images
    validation_accuracy: float | None
