"""Pictures of any size, as images like those of the data sets."""

import math
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from mlp.errors import InputError, need_file

SIDE = 28  # of an image of MNIST or FashionMNIST
BOX = {"mnist": 20, "fashion_mnist": 28}  # the longer side of what is shown, in pixels
FORMATS = ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"]  # some that Pillow knows start other programs
MOST_PIXELS = 64_000_000  # of a picture: some phones make such
FAINT = 0.1  # of the brightest pixel: what is fainter does not count as shown


def read(path: Path, dataset: str) -> Tensor:
    """A picture as MNIST or FashionMNIST would have it, uint8 [28, 28], light on dark.

    One of that size is taken as it is, but for its darkness: dark on light is turned into light on dark. Another is
    cut to what it shows and fitted: MNIST's digits into 20 by 20 pixels with their centre of mass in the middle (LeCun
    et al., 1998), FashionMNIST's clothes into 28 by 28. Raises InputError where it shows nothing or is no picture.
    """
    pixels = read_grey(path)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if np.median(border) > 127:
        pixels, border = 255 - pixels, 255 - border
    if pixels.shape != (SIDE, SIDE):
        pixels = _fit(pixels - np.minimum(pixels, np.median(border).astype(np.uint8)), path, dataset)
    return torch.from_numpy(pixels.copy())


def read_scaled(path: Path, height: int, width: int) -> Tensor:
    """A picture as any other data set has it, uint8 [height, width]: scaled where it is of another size.

    Raises InputError where it is no picture.
    """
    return torch.from_numpy(np.array(Image.fromarray(read_grey(path)).resize((width, height))))


def read_grey(path: Path) -> NDArray[np.uint8]:
    """A picture as it is seen, in levels of grey from 0 (black) to 255, uint8 [height, width].

    Raises InputError where it is no picture of one of FORMATS, broken or too large, OSError where there is no file.
    """
    need_file(path)
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            if picture.mode == "F" or (picture.mode == "I" and picture.format != "PPM"):
                raise InputError(f"{path}: a picture of 32-bit numbers; needed: 8 or 16 bits for each colour")
            return _grey(ImageOps.exif_transpose(picture))
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: too large a picture; allowed: at most {MOST_PIXELS:,} pixels") from error
    except InputError:
        raise
    except Exception as error:  # a broken file makes Pillow raise whatever its parsers do
        raise InputError(f"{path}: not a picture that can be read; needed: {', '.join(FORMATS)}") from error


def _grey(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode.startswith("I"):  # of 16 bits; Pillow would cut off what is above 255
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
    top, left = (  # rounded up, as all of MNIST's centres lie from 14 to 15
        min(max(math.ceil(SIDE / 2 - middle), 0), SIDE - side) for middle, side in zip(centre, small.shape, strict=True)
    )
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[top : top + height, left : left + width] = small
    return image
