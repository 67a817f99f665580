"""What is known of an image data set: its title and classes, and after `preprocess` the size of its images."""

import json
from pathlib import Path
from typing import NamedTuple

from mlp.errors import InputError

MANUAL = Path("data/manual")  # a folder for each data set: what git has of it, and what somebody puts there


class Source(NamedTuple):
    """A data set as data/manual/<name>/dataset.json declares it, or as its folders of images do."""

    title: str
    classes: list[str]  # their names, in the order of their labels
    sha256: dict[str, str] | None = None  # of each of its IDX files; None where it is folders of images


class Description(NamedTuple):
    """Of the data set that is prepared for training."""

    title: str
    classes: list[str]
    height: int  # of an image, in pixels
    width: int
    images: int  # for training and validation
    mean: float  # of all their pixels, scaled to [0, 1]
    std: float

    @property
    def pixels(self) -> int:
        return self.height * self.width


def source(dataset: str) -> Source:
    """Raises InputError where there is no such data set."""
    folder = MANUAL / dataset
    if (folder / "dataset.json").exists():
        return Source(**json.loads((folder / "dataset.json").read_text(encoding="utf-8")))
    if (folder / "train").is_dir():
        return Source(dataset, sorted(each.name for each in (folder / "train").iterdir() if each.is_dir()))
    known = ", ".join(sorted(path.parent.name for path in MANUAL.glob("*/dataset.json")))
    raise InputError(
        f"params.yaml: dataset is {dataset!r}; allowed: {known}, or a folder of images, "
        f"{folder}/train/<class>/*.png and {folder}/test/<class>/*.png"
    )


def description() -> Description:
    return Description(**json.loads(Path("data/processed/description.json").read_text(encoding="utf-8")))
