"""The lecture's binary network, which it calls ShallowNeuralNet_PT, with its loss and its penalty."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy


class BinaryShallowNeuralNet(nn.Module):
    """Two linear layers with sigmoids. Maps float64 [b, inputs] to the probabilities of class 1, [b]."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.arguments = [inputs, hidden]
        self.weights1 = nn.Parameter(torch.empty(inputs, hidden, dtype=torch.float64))
        self.biases1 = nn.Parameter(torch.empty(hidden, dtype=torch.float64))
        self.weights2 = nn.Parameter(torch.empty(hidden, 1, dtype=torch.float64))
        self.biases2 = nn.Parameter(torch.empty(1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        activations = torch.sigmoid(x @ self.weights1 + self.biases1)
        return torch.sigmoid(activations @ self.weights2 + self.biases2).squeeze(1)


def xavier_uniform(network: BinaryShallowNeuralNet, generator: torch.Generator) -> None:
    """Draws weights from U(-a, a) with a = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010). Biases are 0."""
    with torch.no_grad():
        for weights in (network.weights1, network.weights2):
            unit = torch.rand(weights.shape, generator=generator, dtype=torch.float32).double()
            weights.copy_((unit * 2 - 1) * math.sqrt(6 / sum(weights.shape)))
        network.biases1.zero_()
        network.biases2.zero_()


def l1_norm(network: BinaryShallowNeuralNet) -> Tensor:
    """The sum of all weights' absolute values, []. Biases do not count."""
    return network.weights1.abs().sum() + network.weights2.abs().sum()


def penalised_loss(network: BinaryShallowNeuralNet, x: Tensor, labels: Tensor, l1_penalty: float) -> Tensor:
    """Mean binary cross-entropy in nats, plus `l1_penalty` times the L1 norm, with gradient through both.

    `labels` are 0 or 1, float64 [b].
    """
    return binary_cross_entropy(network(x), labels) + l1_penalty * l1_norm(network)


def binary_accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Share of the examples whose probability of class 1 is above one half exactly when they are of class 1."""
    return ((probabilities > 0.5) == (labels > 0.5)).double().mean().item()
