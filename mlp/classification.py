"""Training networks to classify images, with their learning curves."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from mlp.evaluation import accuracy, mean_cross_entropy
from mlp.images import LabelledImages
from mlp.prediction import predict
from mlp.spec import Epoch, Settings
from mlp.training import Loss, classification_loss, fit


def train(
    make_network: Callable[[], nn.Module],
    training: LabelledImages,
    validation: LabelledImages | None,
    settings: Settings,
    seeds: Sequence[int],
    arrays: Any = None,
    loss: Loss = classification_loss,
) -> tuple[list[nn.Module], list[list[Epoch]]]:
    """Trains a network for each seed with cross-entropy; returns the networks and their learning curves.

    See `fit`.
    """
    curves: list[list[Epoch]] = [[] for _ in seeds]

    def report(networks: Sequence[nn.Module], epoch: int, losses: list[float]) -> None:
        for network, curve, mean in zip(networks, curves, losses, strict=True):
            curve.append(Epoch(epoch, mean, *_validate(network, validation)))

    networks = fit(make_network, training.examples(), loss, settings, seeds, report, arrays)
    return networks, curves


def _validate(network: nn.Module, validation: LabelledImages | None) -> tuple[float | None, float | None]:
    if validation is None or not len(validation.labels):
        return None, None
    logits = predict(network, validation.examples())
    return mean_cross_entropy(logits, validation.labels), accuracy(logits, validation.labels)
