"""What networks learn from."""

from typing import NamedTuple

from torch import Tensor


class Examples(NamedTuple):
    """What a network learns from, or is asked about."""

    inputs: Tensor  # [n, columns], float64, or bytes
    targets: Tensor  # [n]
    shift: float = 0.0  # of bytes: what is taken off, a multiple of 1/64
    divisor: float | None = None  # of bytes: what they are divided by then
