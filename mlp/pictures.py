"""Converts pictures of any size to images like those of the data sets."""

import math
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from mlp.errors import InputError, require_file

SIDE = 28  # of an image of MNIST or FashionMNIST
BOX = {"mnist": 20, "fashion_mnist": 28}  # the longer side of the object, in pixels
FORMATS = ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"]  # some of Pillow's other formats run external programs
MAX_PIXELS = 64_000_000  # of a picture; some phones take pictures of this size
FAINT = 0.1  # of the brightest pixel; fainter ones do not belong to the object


def read(path: Path, dataset: str) -> Tensor:
    """Converts a picture to the format of MNIST or FashionMNIST, uint8 [28, 28], light on dark.

    Dark on light is inverted. A picture of another size is cropped to its object and scaled: MNIST's digits to fit
    20 by 20 pixels, with their centre of mass in the middle (LeCun et al., 1998), FashionMNIST's clothes to fit 28 by
    28. Raises InputError if it is not a picture, or one to be scaled that shows nothing, and OSError if it is missing.
    """
    pixels = read_grey(path)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if np.median(border) > 127:
        pixels, border = 255 - pixels, 255 - border
    if pixels.shape != (SIDE, SIDE):
        pixels = _fit(pixels - np.minimum(pixels, np.median(border).astype(np.uint8)), path, dataset)
    return torch.from_numpy(pixels.copy())


def read_scaled(path: Path, height: int, width: int) -> Tensor:
    """Converts a picture to the format of the user's own data set, uint8 [height, width], scaled if necessary.

    Raises InputError if the file is not a picture, and OSError if it is missing.
    """
    return torch.from_numpy(np.array(Image.fromarray(read_grey(path)).resize((width, height))))


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Reads a picture as viewers show it, in grey levels from 0 (black) to 255, uint8 [height, width].

    Raises InputError if it is damaged, too large or in none of FORMATS, and OSError if the file is missing.
    """
    require_file(path)
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if picture.mode == "F" or (picture.mode == "I" and picture.format != "PPM"):
                raise InputError(f"{path}: a picture of 32-bit numbers; needed: 8 or 16 bits for each colour")
            return _grey(ImageOps.exif_transpose(picture))
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: too large a picture; allowed: at most {MAX_PIXELS:,} pixels") from error
    except InputError:
        raise
    except Exception as error:  # Pillow passes on any exception of its parsers
        raise InputError(f"{path}: not a picture that can be read; needed: {', '.join(FORMATS)}") from error


def _grey(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode.startswith("I"):  # 16 bits; Pillow would clip values above 255
        return (np.asarray(picture) // 256).astype(np.uint8)
    if not picture.has_transparency_data:
        return np.asarray(picture.convert("L"))
    light, cover = picture.convert("LA").split()
    grey, alpha = np.asarray(light), np.asarray(cover)
    behind = 0 if alpha.any() and grey[alpha > 0].mean() > 127 and alpha.min() < 255 else 255
    return np.asarray(Image.composite(light, Image.new("L", picture.size, behind), cover))


def _fit(pixels: NDArray[np.uint8], path: Path, dataset: str) -> NDArray[np.uint8]:
    if not pixels.any():
        raise InputError(f"{path}: shows nothing, all of it is background; needed: a picture of one object")
    bright = pixels > FAINT * pixels.max()
    (rows,), (columns,) = bright.any(axis=1).nonzero(), bright.any(axis=0).nonzero()
    shown = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    brightest = (np.arange(shown.max() + 1.0) * 255 / shown.max()).round().astype(np.uint8)[shown]
    scale = BOX[dataset] / max(shown.shape)
    height, width = (max(1, round(side * scale)) for side in shown.shape)
    small = np.asarray(Image.fromarray(brightest).resize((width, height), Image.Resampling.BILINEAR))
    if not small.any():
        raise InputError(f"{path}: shows only specks; needed: a picture of one object")
    centre = [side / 2 for side in small.shape]
    if dataset == "mnist":
        masses = small.sum(axis=1), small.sum(axis=0)
        centre = [float((np.arange(len(mass)) + 0.5) @ mass / mass.sum()) for mass in masses]
    top, left = (  # rounded up, because all centres of MNIST are between 14 and 15
        min(max(math.ceil(SIDE / 2 - middle), 0), SIDE - side) for middle, side in zip(centre, small.shape, strict=True)
    )
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[top : top + height, left : left + width] = small
    return image
