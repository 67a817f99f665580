"""Classifies a picture, or every picture in a folder, with the networks that the pipeline trained."""

import argparse
import io
import sys
from pathlib import Path

import torch
from torch import Tensor

from mlp import checkpoints, pictures
from mlp.errors import InputError, shortened
from mlp.evaluation import probabilities
from mlp.images import LabelledImages
from pipeline.datasets import PUBLIC, source
from pipeline.stage import exit_on_user_error
from pipeline.tables import csv_text


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.predict", description=__doc__)
    parser.add_argument(
        "pictures",
        type=Path,
        help="a picture of any size, light on dark or dark on light, or a folder, in which other files are skipped",
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=Path("models/deep"),
        help="a network, or a folder of networks, whose probabilities are averaged (default: %(default)s)",
    )
    arguments = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name may be unprintable on the terminal
    torch.set_num_threads(1)
    networks = _networks(arguments.model)
    metadata = next(iter(networks.values()))
    named = metadata.images.classes if metadata.images else source(metadata.dataset).classes
    classes = [_harmless(name, "'") for name in named]
    if not arguments.pictures.is_dir():
        (found,) = _predict(networks, _read(arguments.pictures, metadata)[None], len(classes)).tolist()
        print(classes[found.index(max(found))])
        for name, probability in zip(classes, found, strict=True):
            print(f"{name:{max(map(len, classes))}}  {probability:.6f}")
        return
    images, skipped = {}, []
    for file in sorted(arguments.pictures.iterdir()):
        try:
            images[file.name] = _read(file, metadata)
        except (InputError, OSError) as error:
            skipped.append(f"skipped {error}")
    if not images:
        raise InputError(f"{arguments.pictures}: no pictures in it; needed: at least one PNG, JPEG or the like")
    of_all = _predict(networks, torch.stack(list(images.values())), len(classes)).tolist()
    files = (_harmless(name, "./") for name in images)
    rows = [(file, classes[row.index(max(row))], *row) for file, row in zip(files, of_all, strict=True)]
    print(csv_text(["file", "class", *classes], rows), end="")
    for line in skipped:
        print(line, file=sys.stderr)


def _networks(path: Path) -> dict[Path, checkpoints.Metadata]:
    """Reads each network's metadata, by file. Raises InputError unless all were trained on the same images."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no networks in it; needed: a network or a folder of them, such as models/deep")
    networks = {file: _metadata(file) for file in files}
    for file, metadata in networks.items():
        if metadata.normalisation is None or (metadata.images is None and metadata.dataset not in PUBLIC):
            known = f"of {' or '.join(PUBLIC)}, or that it describes"
            found = shortened(metadata.dataset)
            raise InputError(f"{file}: a network trained on {found}; needed: one trained on images {known}")
        checkpoints.load(file, metadata.dataset)  # rejects a damaged file before a picture is scaled to its size
        first = networks[files[0]]
        if (metadata.dataset, metadata.images) != (first.dataset, first.images):
            raise InputError(f"{path}: networks trained on different images; needed: all on the same")
    return networks


def _metadata(file: Path) -> checkpoints.Metadata:
    try:
        return checkpoints.read_metadata(file)
    except InputError as error:  # its advice to delete the file is not for a file of the user's own
        reason = shortened(str(error.__cause__), 300)
        needed = "a network or a folder of them, such as models/deep after `dvc repro`"
        raise InputError(f"{file}: not a network ({reason}); needed: {needed}") from error


def _read(picture: Path, metadata: checkpoints.Metadata) -> Tensor:
    """Reads a picture in the format of the training images, uint8 [height, width]."""
    if metadata.images:
        return pictures.read_scaled(picture, metadata.images.height, metadata.images.width)
    return pictures.read(picture, metadata.dataset)


def _predict(networks: dict[Path, checkpoints.Metadata], images: Tensor, classes: int) -> Tensor:
    """Returns the class probabilities, averaged over the networks, float64 [pictures, classes]."""
    found = []
    for file, metadata in networks.items():
        assert metadata.normalisation is not None
        mean, std = (torch.tensor(value, dtype=torch.float64) for _, value in metadata.normalisation)
        data = LabelledImages(images, torch.zeros(len(images), dtype=torch.int64), mean, std)
        found.append(probabilities(checkpoints.predict_from_file(file, metadata.dataset, data.examples(), classes)[1]))
    return torch.stack(found).sum(dim=0) / len(found)


def _harmless(name: str, mark: str) -> str:
    """Escapes control characters, and puts `mark` before a formula, which could run commands in a spreadsheet."""
    name = "".join(letter if letter >= " " else ascii(letter)[1:-1] for letter in name)
    return mark + name if name.startswith(("=", "+", "-", "@")) else name


if __name__ == "__main__":
    exit_on_user_error(main)
