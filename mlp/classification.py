"""Trains networks to classify images, and records their learning curves."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from mlp.errors import DivergedError
from mlp.evaluation import accuracy, mean_cross_entropy
from mlp.exact import Value
from mlp.images import LabelledImages
from mlp.prediction import predict
from mlp.spec import Epoch, Settings
from mlp.training import classification_loss, fit


def train(
    make_network: Callable[[], nn.Module],
    training: LabelledImages,
    validation: LabelledImages | None,
    settings: Settings,
    seeds: Sequence[int],
    arrays: Any = None,
) -> tuple[list[nn.Module], list[list[Epoch]], list[Value]]:
    """Trains a network for each seed with cross-entropy; see `fit`.

    Returns the networks, their learning curves, and the losses of the first epoch's steps.
    """
    curves: list[list[Epoch]] = [[] for _ in seeds]
    first_epoch: list[Value] = []

    def report(networks: Sequence[nn.Module], epoch: int, losses: list[float], steps: list[Value]) -> None:
        for seed, network, curve, mean in zip(seeds, networks, curves, losses, strict=True):
            validated = Epoch(epoch, mean, *_validate(network, validation))
            if not math.isfinite(validated.validation_loss or 0):
                raise DivergedError(type(network).__name__, seed, epoch, settings.learning_rate)
            curve.append(validated)
        first_epoch.extend(steps if epoch == 1 else [])

    networks = fit(make_network, training.examples(), classification_loss, settings, seeds, report, arrays)
    return networks, curves, first_epoch


def _validate(network: nn.Module, validation: LabelledImages | None) -> tuple[float | None, float | None]:
    if validation is None or not len(validation.labels):
        return None, None
    logits = predict(network, validation.examples())
    return mean_cross_entropy(logits, validation.labels), accuracy(logits, validation.labels)
