"""What a trained network knows: its logits and probabilities, and the metrics made from them."""

import statistics
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mlp.datasets import LabelledImages, batches


def predict(network: nn.Module, data: LabelledImages) -> Tensor:
    """Logits of all images in the stored order, float64 [n, classes]. Leaves the network in eval mode."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(x) for x, _ in batches(data, batch_size=1000)])


def probabilities(logits: Tensor) -> Tensor:
    """Softmax over the classes, [n, classes]: each row is positive and sums to one."""
    return torch.softmax(logits, dim=1)


def right(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the most probable class of each image is the right one, bool [n]."""
    return probabilities(logits).argmax(dim=1) == labels


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of the images whose most probable class is the right one."""
    return right(logits, labels).double().mean().item()


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of the images of each actual class (row) that each class is predicted for, float64 [classes, classes]."""
    classes = logits.shape[1]
    pairs = labels * classes + probabilities(logits).argmax(dim=1)
    counts = pairs.bincount(minlength=classes**2).reshape(classes, classes).double()
    return counts / counts.sum(dim=1, keepdim=True)


class Bin(NamedTuple):
    """Images about whose most probable class a network is about equally sure."""

    images: int
    confidence: float  # mean probability of the most probable class
    accuracy: float


def reliability(logits: Tensor, labels: Tensor, bins: int = 15) -> list[Bin]:
    """Images by their highest probability, in bins of equal width from 0 to 1; empty bins are left out."""
    confidences, predicted = probabilities(logits).max(dim=1)
    right = (predicted == labels).double()
    places = (confidences * bins).ceil().long().clamp(min=1)
    groups = [places == place for place in range(1, bins + 1)]
    return [
        Bin(int(group.sum()), confidences[group].mean().item(), right[group].mean().item())
        for group in groups
        if group.any()
    ]


def expected_calibration_error(bins: list[Bin]) -> float:
    """Mean distance between confidence and accuracy over images: Guo et al., On Calibration, ICML 2017."""
    return sum(each.images * abs(each.accuracy - each.confidence) for each in bins) / sum(each.images for each in bins)


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def training_multiply_adds(network: nn.Module, images: int) -> int:
    """Multiply-adds of training a network of dense layers on so many images, all epochs together.

    An image meets each weight three times: for the output, for the weight's gradient, and for the gradient that goes
    on to the layer before, which the first layer does not need.
    """
    layers = [layer.weight.numel() for layer in network.modules() if isinstance(layer, nn.Linear)]
    return (3 * sum(layers) - layers[0]) * images


def summary(values: list[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation over seeds, with six decimals. One seed has no deviation."""
    return {
        "mean": round(statistics.mean(values), 6) if values else None,
        "std": round(statistics.stdev(values), 6) if len(values) > 1 else None,
    }
