"""Splits the training images into training and validation, and measures what the networks need to know of them."""

import json
from pathlib import Path

from mlp.errors import InputError
from mlp.images import LabelledImages, pixel_statistics, read_idx, save, stratified_split
from pipeline.datasets import Description
from pipeline.files import atomic_output
from pipeline.params import DatasetName, Schema
from pipeline.params.preprocess import Preprocess
from pipeline.stage import run


class Params(Schema):
    dataset: DatasetName
    preprocess: Preprocess


def main(params: Params) -> None:
    raw = Path("data/raw", params.dataset)
    images, labels = read_idx(raw / "train-images-idx3-ubyte"), read_idx(raw / "train-labels-idx1-ubyte").long()
    test_images, test_labels = read_idx(raw / "t10k-images-idx3-ubyte"), read_idx(raw / "t10k-labels-idx1-ubyte").long()
    size, most = params.preprocess.validation_size, len(labels) // 2
    if size > most:
        raise InputError(f"params.yaml: preprocess.validation_size is {size}; allowed: 0 to {most}, half of the images")
    if images.shape[1:] != test_images.shape[1:]:
        raise InputError(f"{raw}: images for training and test are not of one size")
    training, validation = stratified_split(labels, size, params.preprocess.seed)
    mean, std = pixel_statistics(images[training])
    splits = {
        "train": LabelledImages(images[training], labels[training], mean, std),
        "validation": LabelledImages(images[validation], labels[validation], mean, std),
        "test": LabelledImages(test_images, test_labels, mean, std),
    }
    source = json.loads((raw / "description.json").read_text(encoding="utf-8"))
    of_all = [round(each.item(), 6) for each in pixel_statistics(images)]
    description = Description(
        **source, height=images.shape[1], width=images.shape[2], images=len(images), mean=of_all[0], std=of_all[1]
    )
    with atomic_output(Path("data/processed")) as folder:
        folder.mkdir()
        for name, split in splits.items():
            save(split, folder / f"{name}.safetensors")
        (folder / "description.json").write_text(json.dumps(description._asdict()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main, Params)
