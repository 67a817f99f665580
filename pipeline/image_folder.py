"""Reading a data set that is folders of images."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mlp.errors import InputError
from mlp.images import write_idx


def convert(folder: Path, classes: list[str], output: Path) -> None:
    """Writes the images of <folder>/train and <folder>/test as IDX files with MNIST's names."""
    for split, name in (("train", "train"), ("test", "t10k")):
        images, labels = read_split(folder / split, classes)
        write_idx(images, output / f"{name}-images-idx3-ubyte")
        write_idx(labels, output / f"{name}-labels-idx1-ubyte")


def read_split(folder: Path, classes: list[str]) -> tuple[Tensor, Tensor]:
    """The images of <folder>/<class>/*, uint8 [n, height, width], and their labels, uint8 [n].

    In the order of the classes and of their files' names; those that begin with a dot do not count. Raises InputError
    that names a file or folder where one is not a picture, is of another size than the first, or lacks images.
    """
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for other in sorted(folder.glob("*/")):
        if other.name not in classes:
            raise InputError(f"{other}: a class without training images; allowed: {', '.join(classes)}")
    for label, name in enumerate(classes):
        for path in _files(folder / name):
            try:
                with Image.open(path) as picture:
                    pixels = np.asarray(picture.convert("L"))
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                raise InputError(f"{path}: not a picture that can be read; needed: a PNG or the like") from error
            if images and pixels.shape != images[0].shape:
                sizes = [f"{width} by {height}" for height, width in (pixels.shape, images[0].shape)]
                raise InputError(f"{path}: {sizes[0]} pixels; needed: {sizes[1]}, as the images before")
            images.append(pixels)
            labels.append(label)
    return torch.from_numpy(np.stack(images)), torch.tensor(labels, dtype=torch.uint8)


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.glob("*") if not path.name.startswith("."))
    if not files:
        raise InputError(f"{folder}: no images; needed: at least one of each class")
    return files
