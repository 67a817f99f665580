"""The networks that are compared on the images, by name: what trains, measures, draws or reports them asks here."""

from collections.abc import Callable

from mlp.params import Params
from mlp.spec import CLASSES, PIXELS, Architecture, Settings


def shallow(params: Params) -> tuple[Architecture, Settings]:
    group = params.train_shallow
    architecture = Architecture("ShallowNeuralNet", [PIXELS, group.hidden, CLASSES])
    return architecture, Settings(group.epochs, group.batch_size, group.learning_rate)


def deep(params: Params) -> tuple[Architecture, Settings]:
    group = params.train_deep
    return deep_network(params.hidden), Settings(group.epochs, group.batch_size, group.learning_rate)


def deep_network(hidden: list[int]) -> Architecture:
    return Architecture("DeepNeuralNet", [PIXELS, hidden, CLASSES])


NETWORKS: dict[str, Callable[[Params], tuple[Architecture, Settings]]] = {"shallow": shallow, "deep": deep}
