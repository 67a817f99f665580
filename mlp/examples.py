"""Data for training and prediction."""

from typing import NamedTuple

from torch import Tensor


class Examples(NamedTuple):
    """Examples for training or prediction."""

    inputs: Tensor  # [n, columns], float64, or bytes
    targets: Tensor  # [n]
    shift: float = 0.0  # subtracted from bytes, a multiple of 1/64
    divisor: float | None = None  # of bytes, after the subtraction; None for float64
