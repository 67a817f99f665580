"""Loss, L1 penalty and metrics of the lecture's binary network, which the lecture calls ShallowNeuralNet_PT."""

from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from mlp.exact import binary_cross_entropies, mean
from mlp.on_numpy import OnNumpy


def l1_norm(network: nn.Module) -> Any:
    """Returns the sum of the absolute values of a BinaryShallowNeuralNet's weights, without biases, []."""
    return network.get_parameter("weights1").abs().sum() + network.get_parameter("weights2").abs().sum()


def penalised_loss(network: nn.Module, x: Any, labels: Any, l1_penalty: float) -> Any:
    """Returns the mean binary cross-entropy in nats plus `l1_penalty` times the L1 norm, with gradient through both.

    `labels` are 0 or 1, float64 [b].
    """
    return binary_cross_entropy(network(x), labels) + l1_penalty * l1_norm(network)


@np.errstate(invalid="ignore")  # from the logarithm of 0
def mean_binary_cross_entropy(probabilities: Tensor, labels: Tensor) -> float:
    """Returns the mean binary cross-entropy in nats."""
    arrays = OnNumpy()
    return float(mean(arrays, binary_cross_entropies(arrays, probabilities.numpy(), labels.numpy())))


def binary_accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Returns the accuracy of predicting class 1 if its probability is above one half, else class 0."""
    return int(((probabilities > 0.5) == (labels > 0.5)).sum()) / len(labels)
