"""Training networks to classify images, with their learning curves."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from mlp.evaluation import accuracy, mean_cross_entropy
from mlp.images import LabelledImages
from mlp.prediction import predict
from mlp.spec import Epoch, Settings
from mlp.training import classification_loss, fit


def train(
    make_network: Callable[[], nn.Module],
    training: LabelledImages,
    validation: LabelledImages,
    settings: Settings,
    seeds: Sequence[int],
    arrays: Any = None,
    on_epoch: Callable[[], None] = lambda: None,
) -> tuple[list[nn.Module], list[list[Epoch]]]:
    """Trains a network for each seed with cross-entropy; returns the networks and their learning curves.

    See `fit`.
    """
    curves: list[list[Epoch]] = [[] for _ in seeds]

    def report(networks: Sequence[nn.Module], epoch: int, losses: list[float]) -> None:
        for network, curve, loss in zip(networks, curves, losses, strict=True):
            curve.append(Epoch(epoch, loss, *_validate(network, validation)))
        on_epoch()

    networks = fit(make_network, training.examples(), classification_loss, settings, seeds, report, arrays)
    return networks, curves


def _validate(network: nn.Module, validation: LabelledImages) -> tuple[float | None, float | None]:
    if not len(validation.labels):
        return None, None
    logits = predict(network, validation.examples())
    return mean_cross_entropy(logits, validation.labels), accuracy(logits, validation.labels)
