"""Says what a picture shows, or each picture of a folder, with the networks that the pipeline trained."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mlp import checkpoints, pictures
from mlp.errors import InputError
from mlp.evaluation import probabilities
from mlp.images import LabelledImages
from mlp.prediction import predict
from pipeline.datasets import source
from pipeline.stage import exit_on_user_error
from pipeline.tables import csv_text


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.predict", description=__doc__)
    parser.add_argument(
        "pictures", type=Path, help="a picture of any size, light on dark or dark on light, or a folder"
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=Path("models/deep"),
        help="a network, or a folder of them, whose mean probabilities count (default: %(default)s)",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    several = arguments.pictures.is_dir()
    files = _files(arguments.pictures, "pictures")
    classes, found = _predict(files, _files(arguments.model, "networks, as models/deep"))
    answers = [classes[label] for label in found.argmax(dim=1).tolist()]
    if several:
        rows = [(file.name, answer, *row) for file, answer, row in zip(files, answers, found.tolist(), strict=True)]
        print(csv_text(["file", "class", *classes], rows), end="")
    else:
        print(answers[0])
        for name, probability in zip(classes, found[0].tolist(), strict=True):
            print(f"{name:12}{probability:.6f}")


def _files(path: Path, needed: str) -> list[Path]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: an empty folder; needed: one with {needed}")
    return files


def _predict(files: Sequence[Path], models: Sequence[Path]) -> tuple[list[str], Tensor]:
    """Names of the classes, and the probability of each, float64 [pictures, classes], mean over the models."""
    found = []
    for model in models:
        origin = checkpoints.read_origin(model)
        if origin.normalisation is None:
            raise InputError(f"{model}: a network trained on {origin.dataset}; needed: one trained on images")
        mean, std = (torch.tensor(value, dtype=torch.float64) for _, value in origin.normalisation)
        images = torch.stack([pictures.read(file, origin.dataset) for file in files])
        data = LabelledImages(images, torch.zeros(len(images), dtype=torch.int64), mean, std)
        found.append(probabilities(predict(checkpoints.load(model, origin.dataset), data.examples())))
    return source(origin.dataset).classes, torch.stack(found).sum(dim=0) / len(found)


if __name__ == "__main__":
    exit_on_user_error(main)
