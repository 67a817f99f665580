"""The lecture's networks, built from its blocks. Each maps float64 [b, inputs] to logits [b, outputs]."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class DenseReLU(nn.Module):
    """A fully connected layer with ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.fc(x))


class DenseNoReLU(nn.Module):
    """A fully connected layer without activation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(x)
        return logits


class ShallowNeuralNet(nn.Module):
    """One hidden layer with ReLU."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.arguments = [inputs, hidden, outputs]
        self.fc1 = nn.Linear(inputs, hidden)
        self.fc2 = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc2(torch.relu(self.fc1(x)))
        return logits


class DeepNeuralNet(nn.Module):
    """Any number of hidden layers, each a DenseReLU, then a DenseNoReLU."""

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.arguments = [inputs, list(hidden), outputs]
        for number, (before, after) in enumerate(pairwise([inputs, *hidden, outputs]), start=1):
            block = DenseReLU if number <= len(hidden) else DenseNoReLU
            self.add_module(f"layer{number}", block(before, after))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x


Network = ShallowNeuralNet | DeepNeuralNet


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draws every weight and bias from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the distribution of nn.Linear.

    nn.Linear's own draw depends on the processor's instruction set; `torch.rand` in float32 does not.
    """
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                for parameter in (layer.weight, layer.bias):
                    unit = torch.rand(parameter.shape, generator=generator, dtype=torch.float32).double()
                    parameter.copy_((unit * 2 - 1) / math.sqrt(layer.in_features))
