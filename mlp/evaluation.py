"""What a trained network knows: its logits and probabilities, and the metrics made from them."""

import statistics

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


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of the images whose most probable class is the right one."""
    return (probabilities(logits).argmax(dim=1) == labels).double().mean().item()


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of the images of each actual class (row) that each class is predicted for, float64 [classes, classes]."""
    classes = logits.shape[1]
    pairs = labels * classes + probabilities(logits).argmax(dim=1)
    counts = pairs.bincount(minlength=classes**2).reshape(classes, classes).double()
    return counts / counts.sum(dim=1, keepdim=True)


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def summary(values: list[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation over seeds, with six decimals. One seed has no deviation."""
    return {
        "mean": round(statistics.mean(values), 6) if values else None,
        "std": round(statistics.stdev(values), 6) if len(values) > 1 else None,
    }
