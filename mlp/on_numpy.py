"""What exact arithmetic needs from NumPy besides operators. mlp/on_torch.py has the same for stacked networks.

tests/test_audit.py lists every numerical operation, with the reason why it is reproducible.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlp import tables

Array = NDArray[Any]

LOWEST, HIGHEST = -100, 400  # exponents of a grid; beyond them, products could underflow or overflow
HIGHEST_32 = 100  # the same in float32, where the sums that round numbers could overflow
MAX_TERMS = 1000  # of a sum in `byte_product`: it fits in 32 bits
MIN_EXAMPLES = 128  # of a batch; with fewer, splitting integers into bytes takes longer than it saves


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
        if rows:
            digits, limit = float_format(array.itemsize)
            largest = self.row_max(np.absolute(array))
            power = np.ldexp(1.5, np.maximum(np.frexp(largest)[1], LOWEST) + (digits - bits))
            magic: Any = np.where(largest < limit, power, np.inf).astype(array.dtype)
        else:
            magic, _ = _magic(array, bits)
        rounded: Array = array + magic
        rounded -= magic
        return rounded.astype(np.float64, copy=False)

    def multiplies_bytes(self, examples: int, inputs: int) -> bool:
        """Returns whether the products of a batch of bytes are faster with integers."""
        # torch's product with a single column reads memory outside of it
        return MIN_EXAMPLES <= examples <= MAX_TERMS and 1 < inputs <= MAX_TERMS and _has_exact_byte_products()

    def signed(self, rows: Array) -> Array:
        """Returns bytes minus 128, int8."""
        return (rows ^ 128).view(np.int8)

    def multiples(self, array: Array, bits: int) -> tuple[Array, float]:
        """Rounds like `grid`, to at most 22 bits. Returns integers, int32, and the unit that they are multiples of.

        The unit is NaN if a number is not finite or too large.
        """
        magic, unit = _magic(array, bits)
        # near `magic`, the representations of consecutive multiples are consecutive integers
        integer = np.int64 if array.dtype == np.float64 else np.int32
        numbers = (array + magic).view(integer)
        numbers -= magic.view(integer)
        return numbers.astype(np.int32, copy=False), unit

    def byte_product(self, numbers: Array, signed: Array) -> Array:
        """Returns the product of integers of at most 22 bits, int32 [m, k], and of int8 [k, n], as float64 [m, n].

        Splits the integers into three bytes, each from -128 to 127, because a product of bytes takes an eighth of the
        time of one in float64. Sums are below 2^31 as long as k <= MAX_TERMS.
        """
        low, middle, high = digits = np.empty((3, *numbers.shape), np.int8)
        np.copyto(low, numbers, casting="unsafe")  # keeps the lowest byte
        rest = numbers + 0x8080  # a byte above 127 is negative, and carries into the next
        rest >>= 8
        np.copyto(middle, rest, casting="unsafe")
        middle ^= -128
        rest >>= 8
        np.copyto(high, rest, casting="unsafe")
        stacked = torch.from_numpy(digits.reshape(-1, numbers.shape[1]))
        product = self.load(torch._int_mm(stacked, torch.from_numpy(signed)))
        low, middle, high = product.reshape(3, len(numbers), -1)
        high *= 256
        high += middle
        total: Array = high.astype(np.float64)
        total *= 256
        total += low.astype(np.float64)
        return total


def float_format(size: int) -> tuple[int, float]:
    """Returns the bits of the fraction of a float of `size` bytes, and the limit of numbers on a grid."""
    digits, highest = (52, HIGHEST) if size == 8 else (23, HIGHEST_32)
    return digits, math.ldexp(1.0, highest)


def _magic(array: Array, bits: int) -> tuple[Any, float]:
    """Returns the number that rounds an array to its grid, and the unit: inf and NaN if a number is too large."""
    digits, limit = float_format(array.itemsize)
    largest = float(max(np.maximum.reduce(array, axis=None), -np.minimum.reduce(array, axis=None)))
    if not largest < limit:
        return array.dtype.type(math.inf), math.nan
    exponent = max(math.frexp(largest)[1], LOWEST)
    return array.dtype.type(math.ldexp(1.5, exponent + digits - bits)), math.ldexp(1.0, exponent - bits)


@cache
def _has_exact_byte_products() -> bool:
    """Returns whether torch multiplies bytes fast and exactly, which it does with AVX-512 VNNI.

    Other instructions, which it uses on other processors or if ONEDNN_MAX_CPU_ISA says so, saturate at 16 bits; the
    largest operands reveal that.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    extremes = torch.tensor([-128, 127], dtype=torch.int8).repeat(MIN_EXAMPLES)
    one, other = extremes[:, None].repeat(1, MAX_TERMS), extremes.repeat(MAX_TERMS, 1)
    return torch.equal(torch._int_mm(one, other), extremes[:, None].int() * extremes * MAX_TERMS)
