"""Reads, splits and normalises labelled images."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from mlp.errors import reading
from mlp.examples import Examples

KINDS = [(torch.uint8, 3), (torch.int64, 1), (torch.float64, 0), (torch.float64, 0)]  # dtype and ndim of each tensor
MIN_STD = 1e-9  # less than that of any images whose pixels are not all equal


class LabelledImages(NamedTuple):
    """A split of a data set, with the pixel statistics of the training split."""

    images: Tensor  # uint8 [n, height, width], 0 (background) to 255
    labels: Tensor  # int64 [n], from 0
    mean: Tensor  # float64 [], of all training pixels scaled to [0, 1]
    std: Tensor  # float64 [], of the same

    def examples(self) -> Examples:
        """Returns examples with the mean pixel rounded to 1/64 of a grey level, so that byte - mean needs few bits."""
        shift = round(self.mean.item() * 255 * 64) / 64
        return Examples(self.images.flatten(1), self.labels, shift, self.std.item() * 255)


def save(data: LabelledImages, path: Path) -> None:
    path.write_bytes(to_bytes(data._asdict()))


def load(path: Path, pixels: int | None = None, classes: int | None = None) -> LabelledImages:
    """Reads a split. Raises InputError if the file is invalid or does not fit the given `pixels` or `classes`."""
    with reading(path):
        data = LabelledImages(**load_file(path))
        kinds = [(each.dtype, each.ndim) for each in data]
        size = data.images[0].numel() if len(data.images) else pixels
        if kinds != KINDS or len(data.images) != len(data.labels) or size != (pixels or size):
            raise ValueError(f"images {list(data.images.shape)}, labels {list(data.labels.shape)}")
        if not (0 <= data.mean <= 1 and MIN_STD < data.std <= 1):
            raise ValueError(f"mean {data.mean.item()}, standard deviation {data.std.item()}")
        if len(data.labels) and not 0 <= data.labels.min() <= data.labels.max() < (classes or 256):
            raise ValueError(f"labels from {data.labels.min()} to {data.labels.max()}")
        return data


def joined(splits: Sequence[LabelledImages]) -> LabelledImages:
    """Concatenates splits, with the pixel statistics of the first."""
    return splits[0]._replace(
        images=torch.cat([split.images for split in splits]), labels=torch.cat([split.labels for split in splits])
    )


def read_idx(path: Path) -> Tensor:
    """Reads an IDX file of bytes: uint8, of the shape in its header.

    The format: two zero bytes, the element type (8 for bytes), the number of dimensions, then each
    dimension as a big-endian 32-bit integer, then the elements. Raises InputError for any other file.
    """
    with reading(path):
        content = path.read_bytes()
        try:
            zeros, kind, dimensions = content[:2], content[2], content[3]
            shape = np.frombuffer(content, ">u4", dimensions, offset=4)
            elements = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
            if (zeros, kind) != (b"\0\0", 8):
                raise ValueError
        except (IndexError, ValueError) as error:
            raise ValueError("not an IDX file of bytes, or not all of one") from error
        return torch.from_numpy(elements.copy())


def write_idx(array: Tensor, path: Path) -> None:
    """Writes bytes, uint8 of up to 255 dimensions, as an IDX file."""
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.numpy().tobytes())


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and population standard deviation of uint8 images scaled to [0, 1], as float64 scalars.

    They come from exact sums over the histogram, so they are the same to the last bit on any machine.
    """
    counts = torch.bincount(images.flatten(), minlength=256)
    values = torch.arange(256)
    n, total, squares = images.numel(), int((counts * values).sum()), int((counts * values**2).sum())
    variance = (n * squares - total * total) / (n * n)
    return torch.tensor(total / n / 255, dtype=torch.float64), torch.tensor(
        math.sqrt(variance) / 255, dtype=torch.float64
    )


def stratified_split(labels: Tensor, validation_size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns the indices of a training and a validation split, both ascending, int64.

    Each class has its share of `validation_size` in the validation split, rounded by the largest remainder method
    (ties to the lower class). The examples are drawn at random with `seed`.
    """
    generator = torch.Generator().manual_seed(seed)
    counts = labels.bincount()
    shares = counts * validation_size
    quotas = shares // len(labels)
    remainders = shares % len(labels)
    missing = validation_size - int(quotas.sum())
    quotas[remainders.argsort(descending=True, stable=True)[:missing]] += 1
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, quota in enumerate(quotas.tolist()):
        members = (labels == label).nonzero().flatten()
        chosen[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    return (~chosen).nonzero().flatten(), chosen.nonzero().flatten()
