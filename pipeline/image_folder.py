"""Reads a data set that consists of folders of images."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlp.errors import InputError
from mlp.images import write_idx
from mlp.pictures import read_grey
from pipeline.datasets import visible


def convert(folder: Path, classes: list[str], output: Path) -> None:
    """Writes the images of <folder>/train and <folder>/test as IDX files, named like MNIST's. See `read_split`."""
    for split, name in (("train", "train"), ("test", "t10k")):
        images, labels = read_split(folder / split, classes)
        write_idx(images, output / f"{name}-images-idx3-ubyte")
        write_idx(labels, output / f"{name}-labels-idx1-ubyte")


def read_split(folder: Path, classes: list[str]) -> tuple[Tensor, Tensor]:
    """Returns the images of <folder>/<class>/*, uint8 [n, height, width], and their labels, uint8 [n].

    They are ordered by class, then by file name; hidden ones are ignored. Raises an InputError that names the file
    or folder if a file is not a picture or differs in size from the first, or if a folder is a symbolic link, belongs
    to no class or has no images.
    """
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for path in (folder, *visible(folder)):
        if path.is_symlink():
            raise InputError(
                f"{path}: a symbolic link; needed: a folder, since DVC does not see what changes behind it"
            )
    for path in visible(folder):
        if path.name not in classes:
            raise InputError(f"{path}: not a class of the training images; allowed: {', '.join(classes)}")
    for label, name in enumerate(classes):
        files = visible(folder / name)
        if not files:
            raise InputError(f"{folder / name}: no images; needed: at least one of each class")
        for path in files:
            pixels = read_grey(path)
            if images and pixels.shape != images[0].shape:
                sizes = [f"{width} by {height}" for height, width in (pixels.shape, images[0].shape)]
                raise InputError(f"{path}: {sizes[0]} pixels; needed: {sizes[1]}, like the images before it")
            images.append(pixels)
            labels.append(label)
    return torch.from_numpy(np.stack(images)), torch.tensor(labels, dtype=torch.uint8)
