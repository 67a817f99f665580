"""Defines, by name, the networks that are compared on the images, for the stages that train, test or report them."""

from collections.abc import Callable
from typing import Any

from mlp.spec import Architecture, Settings
from pipeline.datasets import Description
from pipeline.params import Training


def shallow(params: Any, images: Description) -> tuple[Architecture, Settings]:
    group = params.train_shallow
    architecture = Architecture("ShallowNeuralNet", [images.pixels, group.hidden, len(images.classes)])
    return architecture, settings_of(group)


def deep(params: Any, images: Description) -> tuple[Architecture, Settings]:
    return deep_network(params.hidden, images), settings_of(params.train_deep)


def deep_network(hidden: list[int], images: Description) -> Architecture:
    return Architecture("DeepNeuralNet", [images.pixels, hidden, len(images.classes)])


def settings_of(group: Training) -> Settings:
    return Settings(group.epochs, group.batch_size, group.learning_rate)


# each function maps a stage's parameters and the images' description to an architecture and its settings
NETWORKS: dict[str, Callable[[Any, Description], tuple[Architecture, Settings]]] = {"shallow": shallow, "deep": deep}
