"""Splits the training images into training and validation, and computes the image size and pixel statistics."""

import json
from pathlib import Path

from torch import Tensor

from mlp.errors import InputError
from mlp.images import LabelledImages, pixel_statistics, read_idx, save, stratified_split
from pipeline.datasets import Description, Named
from pipeline.files import atomic_output, read_json
from pipeline.params import DatasetName, Schema
from pipeline.params.preprocess import Preprocess
from pipeline.stage import run


class Params(Schema):
    dataset: DatasetName
    preprocess: Preprocess


def main(params: Params) -> None:
    raw = Path("data/raw", params.dataset)
    source = read_json(Named, raw / "description.json")
    classes = len(source.classes)
    (images, labels), (test_images, test_labels) = (_read(raw / split, classes) for split in ("train", "t10k"))
    size, most = params.preprocess.validation_size, len(labels) // 2
    if size > most:
        raise InputError(f"params.yaml: preprocess.validation_size is {size}; allowed: 0 to {most}, half of the images")
    if images.shape[1:] != test_images.shape[1:]:
        sizes = [f"{width} by {height}" for _, height, width in (test_images.shape, images.shape)]
        raise InputError(f"{raw}: test images of {sizes[0]} pixels; needed: {sizes[1]}, as for training")
    training, validation = stratified_split(labels, size, params.preprocess.seed)
    mean, std = pixel_statistics(images[training])
    if not std:
        raise InputError(f"{raw}: all training images are one and the same grey; needed: images that show something")
    splits = {
        "train": LabelledImages(images[training], labels[training], mean, std),
        "validation": LabelledImages(images[validation], labels[validation], mean, std),
        "test": LabelledImages(test_images, test_labels, mean, std),
    }
    of_all = [round(each.item(), 6) for each in pixel_statistics(images)]
    description = Description(
        **dict(source), height=images.shape[1], width=images.shape[2], images=len(images), mean=of_all[0], std=of_all[1]
    )
    with atomic_output(Path("data/processed")) as folder:
        folder.mkdir()
        for name, split in splits.items():
            save(split, folder / f"{name}.safetensors")
        (folder / "description.json").write_text(json.dumps(description.model_dump()) + "\n", encoding="utf-8")


def _read(split: Path, classes: int) -> tuple[Tensor, Tensor]:
    """Returns images, uint8 [n, height, width], and labels, int64 [n], in which all from 0 to `classes` - 1 occur."""
    images, labels = (read_idx(Path(f"{split}-{content}-ubyte")) for content in ("images-idx3", "labels-idx1"))
    if images.ndim != 3 or labels.shape != images.shape[:1] or 0 in images.shape[1:]:
        shapes = [list(each.shape) for each in (images, labels)]
        raise InputError(f"{split}: images {shapes[0]}, labels {shapes[1]}; needed: [n, height, width] and [n]")
    found = set(labels.tolist())
    if found != set(range(classes)):
        raise InputError(
            f"{split}-labels-idx1-ubyte: {len(found)} different labels, up to {max(found, default=None)}; "
            f"needed: all from 0 to {classes - 1}, as many as there are classes"
        )
    return images, labels.long()


if __name__ == "__main__":
    run(main, Params)
