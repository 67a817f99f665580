"""Implements softmax and cross-entropy from their formulas in NumPy, as in the lecture, to compare with torch's."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def softmax(logits: Floats) -> Floats:
    """Returns exp(z_i) / sum_j exp(z_j) over the last axis.

    The largest logit is subtracted first, which changes no quotient and avoids overflow.
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return result


def one_hot(labels: NDArray[np.int64], classes: int) -> Floats:
    """Returns 1 at the index of each label and 0 elsewhere, [n, classes]."""
    return np.eye(classes)[labels]


def cross_entropy(logits: Floats, targets: Floats) -> float:
    """Returns the mean over rows of -sum_i t_i ln(softmax(z)_i), in nats; logits and one-hot targets are [n, classes].

    ln(softmax(z)_i) is computed as z_i - ln(sum_j exp(z_j)) with the largest logit subtracted first, so that it stays
    finite for a probability that rounds to 0.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return float(-(targets * logarithms).sum(axis=-1).mean())
