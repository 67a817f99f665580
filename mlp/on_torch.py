"""What exact arithmetic needs from torch besides operators, for stacked networks on any device."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mlp import tables
from mlp.on_numpy import HIGHEST, LOWEST, float_format


class OnTorch:
    """The engine for several networks: a batch is [networks, examples, columns], parameters [networks, parameters]."""

    absolute = staticmethod(torch.absolute)
    frexp = staticmethod(torch.frexp)
    matmul = staticmethod(torch.matmul)
    maximum, minimum = staticmethod(torch.clamp_min), staticmethod(torch.clamp_max)
    float64, integers = staticmethod(torch.Tensor.double), staticmethod(torch.Tensor.long)
    rint = staticmethod(torch.round)
    sign = staticmethod(torch.sign)
    where = staticmethod(torch.where)

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.exp, self.exp_part, self.log = (
            self.load(torch.from_numpy(table)) for table in (tables.EXP, tables.EXP_PART, tables.LOG)
        )

    def name(self) -> str:
        """Returns the name of the device, for a GPU its product name."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else str(self.device)

    def load(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(self.device)

    def stack(self, tensors: Sequence[Tensor]) -> Tensor:
        return self.load(torch.stack(list(tensors)))

    def unstack(self, array: Tensor) -> list[Tensor]:
        return list(array.cpu())

    def sqrt(self, array: Tensor) -> Tensor:
        """Uses NumPy on the CPU, because torch's square root is not correctly rounded on x86-64."""
        return torch.from_numpy(np.sqrt(array.numpy())) if self.device.type == "cpu" else array.sqrt()

    def divisor(self, number: float) -> Tensor:
        """Returns a tensor on the device: a GPU divides by plain numbers via their reciprocals, which rounds twice."""
        return torch.full((), number, dtype=torch.float64, device=self.device)

    def concatenate(self, arrays: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(arrays), dim=-1)

    def take(self, source: Tensor, index: Tensor) -> Tensor:
        return source[index.clamp(0, len(source) - 1)]

    def pick(self, array: Tensor, columns: Tensor) -> Tensor:
        return array.take_along_dim(columns[..., None], dim=-1)[..., 0]

    def one_hot(self, columns: Tensor, like: Tensor) -> Tensor:
        return (columns[..., None] == torch.arange(like.shape[-1], device=self.device)).double()

    def row_max(self, array: Tensor) -> Tensor:
        return array.amax(dim=-1, keepdim=True)

    def sum(self, array: Tensor, axis: int | tuple[int, int]) -> Tensor:
        return array.sum(dim=axis)

    def grid(self, array: Tensor, bits: int, rows: bool = False) -> Tensor:
        if bits > 22:
            array = array.double()
        digits, limit = float_format(array.itemsize)
        dims = [-1] if rows else list(range(1, array.ndim))
        largest = array.abs().amax(dim=dims, keepdim=True)
        exponent = largest.frexp().exponent.long().clamp(LOWEST, HIGHEST)
        power = (exponent + (digits - bits + 1023) << 52).view(torch.float64) * 1.5
        magic = torch.where(largest < limit, power, float("inf")).to(array.dtype)
        return ((array + magic) - magic).double()

    def multiplies_bytes(self, *_: int) -> bool:
        return False
