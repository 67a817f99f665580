"""The lecture's networks, built from its blocks. Unless stated otherwise, they map [b, ...] to logits [b, n_y]."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mlp.errors import InputError
from mlp.spec import Architecture


class DenseReLU(nn.Module):
    """A fully connected layer with ReLU."""

    def __init__(self, n_x: int, n_y: int) -> None:
        super().__init__()
        self.fc = nn.Linear(n_x, n_y)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.fc(x))


class DenseNoReLU(nn.Module):
    """A fully connected layer without activation."""

    def __init__(self, n_x: int, n_y: int) -> None:
        super().__init__()
        self.fc = nn.Linear(n_x, n_y)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(x)
        return logits


class ShallowNeuralNet(nn.Module):
    """One hidden layer with ReLU."""

    def __init__(self, n_x: int, n_h: int, n_y: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(n_x, n_h)
        self.fc2 = nn.Linear(n_h, n_y)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1).type_as(self.fc1.weight)
        logits: Tensor = self.fc2(torch.relu(self.fc1(x)))
        return logits


class DeepNeuralNet(nn.Module):
    """Any number of hidden DenseReLU layers, then a DenseNoReLU."""

    def __init__(self, n_x: int, n_h: Sequence[int], n_y: int) -> None:
        super().__init__()
        for number, (before, after) in enumerate(pairwise([n_x, *n_h, n_y]), start=1):
            block = DenseReLU if number <= len(n_h) else DenseNoReLU
            self.add_module(f"layer{number}", block(before, after))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1).type_as(next(self.parameters()))
        for layer in self.children():
            x = layer(x)
        return x


class BinaryShallowNeuralNet(nn.Module):
    """Two linear layers with sigmoids. Maps [b, n_x] to the probabilities of class 1, [b]."""

    def __init__(self, n_x: int, n_h: int) -> None:
        super().__init__()
        self.weights1 = nn.Parameter(torch.empty(n_x, n_h))
        self.biases1 = nn.Parameter(torch.empty(n_h))
        self.weights2 = nn.Parameter(torch.empty(n_h, 1))
        self.biases2 = nn.Parameter(torch.empty(1))
        self.initialise()

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draws weights from U(-a, a), a = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010); biases are 0."""
        for weights, biases in ((self.weights1, self.biases1), (self.weights2, self.biases2)):
            _draw(weights, math.sqrt(6 / sum(weights.shape)), generator)
            nn.init.zeros_(biases)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1).type_as(self.weights1)
        activations = torch.sigmoid(x @ self.weights1 + self.biases1)
        return torch.sigmoid(activations @ self.weights2 + self.biases2).squeeze(1)

    def extra_repr(self) -> str:
        shapes = enumerate((self.weights1.shape, self.weights2.shape), start=1)
        return "\n".join(
            f"(layer{number}): {inputs} inputs, {outputs} outputs, sigmoid" for number, (inputs, outputs) in shapes
        )


# every class that the pipeline trains, stores and loads; docs/reproducibility.md lists the layers that are supported
CLASSES: dict[str, type[nn.Module]] = {
    each.__name__: each for each in (ShallowNeuralNet, DeepNeuralNet, BinaryShallowNeuralNet)
}


def build(architecture: Architecture) -> nn.Module:
    return CLASSES[architecture.name](*architecture.arguments)


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draws all parameters: those of nn.Linear from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), then calls the modules' own.

    A module's method `initialise` is called after those of the modules within it, so it can replace what they drew.
    Raises InputError for a parameter that has no initialisation, or only NaN from `OnlyReproducible`.
    """
    modules = list(network.named_modules())
    for name, module in modules:
        if isinstance(module, nn.Linear):
            for parameter in module.parameters():
                _draw(parameter, 1 / math.sqrt(module.in_features), generator)
        elif hasattr(module, "initialise"):
            continue
        elif parameters := [each for each, _ in module.named_parameters(name, recurse=False)]:
            raise InputError(
                f"{type(network).__name__}: {parameters[0]} has no initialisation; "
                f"needed: a method initialise(generator) in {type(module).__name__}"
            )
    for _, module in reversed(modules):
        if hasattr(module, "initialise"):
            module.initialise(generator)
    for name, parameter in network.named_parameters():
        if not parameter.isfinite().all():
            raise InputError(
                f"{type(network).__name__}: {name} starts with numbers that are not reproducible; {INSTEAD}"
            )


INSTEAD = "needed: torch.rand(..., generator=generator) in a method initialise(generator)"


class OnlyReproducible(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Rejects random numbers of distributions that depend on the instruction set: most of torch's.

    Without the name of a network to initialise, they become NaN instead, as uninitialised memory always does. This is
    for constructors, which draw parameters that `initialise` replaces.
    """

    def __init__(self, network: str | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.network = network

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise the class imports torch's compiler, which takes a second

    def __torch_dispatch__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        result, name = function(*args, **(kwargs or {})), function.overloadpacket.__name__
        random = torch.Tag.nondeterministic_seeded in function.tags and name not in ("rand", "randint", "randperm")
        if random and self.network:
            raise InputError(f"{self.network}: its initialise uses {name}, which depends on the processor; {INSTEAD}")
        if (random or "empty" in name) and isinstance(result, Tensor) and result.is_floating_point():
            result.fill_(math.nan)
        return result


def _draw(parameter: Tensor, bound: float, generator: torch.Generator | None) -> None:
    """Draws from U(-bound, bound). Unlike torch's initialisation, `torch.rand` is the same for all instruction sets."""
    unit = torch.rand(parameter.shape, generator=generator, dtype=torch.float32).double()
    with torch.no_grad():
        parameter.copy_((unit * 2 - 1) * bound)
