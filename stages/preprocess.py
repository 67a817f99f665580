"""Splits the training images into training and validation parts and measures the training pixels."""

import json
from pathlib import Path

from mlp.datasets import LabelledImages, pixel_statistics, read_idx, save, stratified_split
from mlp.errors import InputError
from mlp.params import Params
from stages import run, whole


def main(params: Params) -> None:
    raw = Path("data/raw", params.dataset)
    images, labels = read_idx(raw / "train-images-idx3-ubyte"), read_idx(raw / "train-labels-idx1-ubyte").long()
    test_images, test_labels = read_idx(raw / "t10k-images-idx3-ubyte"), read_idx(raw / "t10k-labels-idx1-ubyte").long()
    size, most = params.preprocess.validation_size, len(labels) // 2
    if size > most:
        raise InputError(f"params.yaml: preprocess.validation_size is {size}; allowed: 0 to {most}, half of the images")
    training, validation = stratified_split(labels, size, params.preprocess.seed)
    mean, std = pixel_statistics(images[training])
    with whole(Path("data/processed")) as folder:
        folder.mkdir()
        save(LabelledImages(images[training], labels[training], mean, std), folder / "train.safetensors")
        save(LabelledImages(images[validation], labels[validation], mean, std), folder / "validation.safetensors")
        save(LabelledImages(test_images, test_labels, mean, std), folder / "test.safetensors")
        mean, std = pixel_statistics(images)
        constants = {"images": len(images), "mean": round(mean.item(), 6), "std": round(std.item(), 6)}
        (folder / "all.json").write_text(json.dumps(constants) + "\n", encoding="utf-8")  # what the lecture counts


if __name__ == "__main__":
    run(main)
