"""What is known of an image data set: its title and classes, and after `preprocess` the size of its images."""

import json
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from mlp.errors import InputError
from pipeline.params import Group, Text, load

MANUAL = Path("data/manual")  # a folder for each data set: what git has of it, and what somebody puts there
PUBLIC = ("mnist", "fashion_mnist")  # all others are somebody's own
PUBLIC = ("mnist", "fashion_mnist")


class Source(Group):
    """A data set as data/manual/<name>/dataset.json declares it, or as its folders of images do."""

    title: Text
    # their names, in the order of their labels
    classes: Annotated[list[Text], Field(description="a list of names, one for each class, in the order of the labels")]
    # None where it is folders of images
    sha256: Annotated[dict[str, str] | None, Field(description="the SHA-256 of each of the four IDX files, by name")]


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
    """Raises InputError where there is no such data set, or it is declared wrongly."""
    folder = MANUAL / dataset
    if (folder / "dataset.json").exists():
        found = load(Source, folder / "dataset.json")  # what is JSON is YAML too
    elif (folder / "train").is_dir():
        classes = [path.name for path in visible(folder / "train") if path.is_dir()]
        found = Source(title=dataset, classes=classes, sha256=None)
    else:
        known = ", ".join(sorted(path.parent.name for path in MANUAL.glob("*/dataset.json")))
        raise InputError(
            f"params.yaml: dataset is {dataset!r}; allowed: {known}, or a folder of images, "
            f"{folder}/train/<class>/*.png and {folder}/test/<class>/*.png"
        )
    if not 2 <= len(found.classes) <= 256 or len(set(found.classes)) < len(found.classes):
        raise InputError(f"{folder}: {len(found.classes)} classes; allowed: 2 to 256, each with a name of its own")
    return found


def visible(folder: Path) -> list[Path]:
    """What is in a folder, by name, less what begins with a dot. Nothing where there is no folder."""
    return sorted(path for path in folder.glob("*") if not path.name.startswith("."))


def description() -> Description:
    return Description(**json.loads(Path("data/processed/description.json").read_text(encoding="utf-8")))
