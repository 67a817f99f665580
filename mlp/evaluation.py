"""Computes classification metrics from the logits of a trained network."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mlp.exact import cross_entropies, mean, softmax
from mlp.on_numpy import OnNumpy


def probabilities(logits: Tensor) -> Tensor:
    """Returns the softmax over the classes, [n, classes]: each row is nonnegative and sums to one."""
    return torch.from_numpy(softmax(OnNumpy(), logits.numpy())[0])


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Returns the mean cross-entropy in nats."""
    arrays = OnNumpy()
    _, shifted, totals = softmax(arrays, logits.numpy())
    return float(mean(arrays, cross_entropies(arrays, totals, arrays.pick(shifted, labels.numpy()))))


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns whether each image is classified correctly, bool [n]."""
    return probabilities(logits).argmax(dim=1) == labels


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Returns the share of images that are classified correctly."""
    return int(correct(logits, labels).sum()) / len(labels)


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the share of each actual class (row) that is predicted as each class, float64 [classes, classes]."""
    classes = logits.shape[1]
    pairs = labels * classes + probabilities(logits).argmax(dim=1)
    counts = pairs.bincount(minlength=classes**2).reshape(classes, classes).double()
    return counts / counts.sum(dim=1, keepdim=True)


class Bin(NamedTuple):
    """Images of similar confidence."""

    images: int
    confidence: float  # mean probability of the most probable class
    accuracy: float


def reliability(logits: Tensor, labels: Tensor, bins: int = 15) -> list[Bin]:
    """Groups images by confidence into bins of equal width from 0 to 1, and leaves out empty bins."""
    confidences, predicted = probabilities(logits).max(dim=1)
    numbers = (confidences * bins).ceil().long().clamp(min=1)
    groups = [numbers == number for number in range(1, bins + 1)]
    return [
        Bin(size, math.fsum(confidences[group].tolist()) / size, int((predicted == labels)[group].sum()) / size)
        for group in groups
        if (size := int(group.sum()))
    ]


def expected_calibration_error(bins: list[Bin]) -> float:
    """Returns the mean gap between confidence and accuracy, over images: Guo et al., On Calibration, ICML 2017."""
    images = sum(each.images for each in bins)
    return math.fsum(each.images * abs(each.accuracy - each.confidence) for each in bins) / images


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def training_multiply_adds(network: nn.Module, images: int) -> int:
    """Returns the multiply-adds of training a network of dense layers on a number of images, summed over epochs.

    Each weight is used three times per image: for the output, for its own gradient, and for the gradient of the layer's
    inputs, which the first layer does not need.
    """
    layers = [layer.weight.numel() for layer in network.modules() if isinstance(layer, nn.Linear)]
    return (3 * sum(layers) - layers[0]) * images
