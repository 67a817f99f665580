"""Labelled images: reading them, splitting them, and handing them out in batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

PIXELS = 28 * 28
CLASSES = 10
CLASS_NAMES = {
    "mnist": ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    "fashion_mnist": [
        "T-Shirt",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle Boot",
    ],
}


class LabelledImages(NamedTuple):
    """A part of a data set, with the statistics that normalise it: those of the training part."""

    images: Tensor  # uint8 [n, 28, 28], 0 (background) to 255
    labels: Tensor  # int64 [n], 0 to 9
    mean: Tensor  # float64 [], of all training pixels scaled to [0, 1]
    std: Tensor  # float64 [], likewise


def save(data: LabelledImages, path: Path) -> None:
    save_file(data._asdict(), path)


def load(path: Path) -> LabelledImages:
    return LabelledImages(**load_file(path))


def read_idx(path: Path) -> Tensor:
    """Reads an IDX file of bytes: uint8, of the shape that its header gives.

    The format: two zero bytes, the element type (8 for bytes), the number of dimensions, then each
    dimension as a big-endian 32-bit integer, then the elements.
    """
    content = path.read_bytes()
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", dimensions, offset=4)
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy())


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of uint8 images scaled to [0, 1], as float64 scalars.

    They come from exact sums over the histogram, so they are the same to the last bit on any machine.
    """
    counts = torch.bincount(images.flatten(), minlength=256)
    values = torch.arange(256)
    n, total, squares = images.numel(), int((counts * values).sum()), int((counts * values**2).sum())
    variance = (n * squares - total**2) / n**2
    return torch.tensor(total / n / 255, dtype=torch.float64), torch.tensor(variance**0.5 / 255, dtype=torch.float64)


def stratified_split(labels: Tensor, validation_size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of a training and a validation part, both ascending, int64.

    Each class gives the validation part its share of `validation_size`, rounded by largest remainder
    (ties to the lower class), drawn at random with `seed`.
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


def batches(
    data: LabelledImages, batch_size: int, shuffle: torch.Generator | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields normalised images, float64 [b, 784], with their labels, int64 [b], every image once.

    The order is the stored one, or random where `shuffle` is given. Pixels are scaled to [0, 1] and
    normalised batch by batch: that stays in the processor's cache, the whole set as float64 would not.
    """
    n = len(data.labels)
    order = torch.arange(n) if shuffle is None else torch.randperm(n, generator=shuffle)
    pixels = data.images.flatten(1)
    for chosen in torch.split(order, batch_size):
        scaled = pixels.index_select(0, chosen).double().div_(255)
        yield scaled.sub_(data.mean).div_(data.std), data.labels.index_select(0, chosen)
