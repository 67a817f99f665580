"""What exact arithmetic needs from NumPy besides operators. mlp/on_torch.py has the same for stacked networks.

tests/test_audit.py lists every numerical operation, with the reason why it is reproducible.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlp import tables

Array = NDArray[Any]

HIGHEST, LOWEST = 400, -100  # exponents of a grid; outside them, products could overflow or underflow


class OnNumpy:
    """The engine for one network: a batch is [examples, columns], and all parameters together are [parameters]."""

    absolute = staticmethod(np.absolute)
    frexp = staticmethod(np.frexp)
    matmul = staticmethod(np.matmul)
    maximum = staticmethod(np.maximum)
    minimum = staticmethod(np.minimum)
    rint = staticmethod(np.rint)
    sign = staticmethod(np.sign)
    sqrt = staticmethod(np.sqrt)
    where = staticmethod(np.where)
    exp, exp_part, log = tables.EXP, tables.EXP_PART, tables.LOG

    def load(self, tensor: Tensor) -> Array:
        """Returns an array that shares the tensor's memory."""
        array: Array = tensor.detach().numpy()
        return array

    def stack(self, tensors: Sequence[Tensor]) -> Array:
        (only,) = tensors
        return self.load(only)

    def unstack(self, array: Array) -> list[Tensor]:
        """Returns a tensor for each network."""
        return [torch.from_numpy(np.asarray(array))]

    def divisor(self, number: float) -> float:
        """Returns the number in a form by which arrays are divided with correct rounding."""
        return number

    def concatenate(self, arrays: Sequence[Array]) -> Array:
        """Concatenates along the last dimension."""
        return np.concatenate(arrays, axis=-1)

    def float64(self, array: Array) -> Array:
        return array.astype(np.float64, copy=False)

    def integers(self, array: Array) -> Array:
        return array.astype(np.int64)

    def take(self, source: Array, index: Array) -> Array:
        """Returns examples or table entries; an index out of range gets the first or last."""
        taken: Array = source.take(index, axis=0, mode="clip")
        return taken

    def pick(self, array: Array, columns: Array) -> Array:
        """Returns the element in the given column of each row, [examples]."""
        picked: Array = array[np.arange(len(array)), columns]
        return picked

    def one_hot(self, columns: Array, like: Array) -> Array:
        hot: Array = columns[..., None] == np.arange(like.shape[-1])
        return hot

    def row_max(self, array: Array) -> Array:
        largest: Array = np.maximum.reduce(array, axis=-1, keepdims=True)
        return largest

    def sum(self, array: Array, axis: int | tuple[int, int]) -> Array:
        """Sums numbers on a grid with few enough bits that no addition rounds."""
        total: Array = np.add.reduce(array, axis=axis)
        return total

    def grid(self, array: Array, bits: int, rows: bool = False) -> Array:
        """Rounds to multiples of 2^(e - bits), ties to even, float64; e is the least integer with all |numbers| < 2^e.

        With `rows`, each row has its own e. See docs/reproducibility.md.
        """
        if bits > 22:
            array = array.astype(np.float64, copy=False)
        digits = 52 if array.dtype == np.float64 else 23
        if rows:
            exponent = np.frexp(self.row_max(np.absolute(array)))[1]
            power = np.ldexp(1.5, np.maximum(exponent, LOWEST) + (digits - bits))
            magic: Any = np.where(exponent > HIGHEST, np.inf, power).astype(array.dtype)
        else:
            largest = max(
                math.frexp(max(np.maximum.reduce(array, axis=None), -np.minimum.reduce(array, axis=None)))[1], LOWEST
            )
            magic = math.ldexp(1.5, largest + digits - bits) if largest <= HIGHEST else math.inf
        rounded: Array = array + magic
        rounded -= magic
        return rounded.astype(np.float64, copy=False)
