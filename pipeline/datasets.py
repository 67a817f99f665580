"""What is known of an image data set: its title and classes, and after `preprocess` the size of its images."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from mlp.errors import InputError, shortened
from pipeline.files import read_json
from pipeline.params import Count, Group, Text, load

MANUAL = Path("data/manual")  # a folder for each data set: what git has of it, and what somebody puts there
PUBLIC = ("mnist", "fashion_mnist")  # all others are somebody's own


class Source(Group):
    """A data set as data/manual/<name>/dataset.json declares it, or as its folders of images do."""

    title: Text
    # their names, in the order of their labels
    classes: Annotated[list[Text], Field(description="a list of names, one for each class, in the order of the labels")]
    # None where it is folders of images
    sha256: Annotated[dict[str, str] | None, Field(description="the SHA-256 of each of the four IDX files, by name")]


class Named(Group):
    """What a data set in data/raw is called, and its classes."""

    title: Text
    classes: Annotated[list[Text], Field(min_length=2, max_length=256)]


class Description(Named):
    """Of the data set that is prepared for training."""

    height: Count  # of an image, in pixels
    width: Count
    images: Count  # for training and validation
    mean: Annotated[float, Field(ge=0, le=1)]  # of all their pixels, scaled to [0, 1]
    std: Annotated[float, Field(ge=0, le=1)]

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
        try:
            found = Source(title=dataset, classes=classes, sha256=None)
        except ValidationError as error:
            wrong = shortened(repr(classes[int(error.errors()[0]["loc"][-1])]))
            raise InputError(f"{folder}/train: a class named {wrong}; allowed: names of one line in UTF-8") from error
    else:
        known = ", ".join(sorted(path.parent.name for path in MANUAL.glob("*/dataset.json")))
        raise InputError(
            f"params.yaml: dataset is {dataset!r}; allowed: {known}, or a folder {folder} "
            "with a dataset.json, or with images, train/<class>/*.png and test/<class>/*.png"
        )
    if not 2 <= len(found.classes) <= 256 or len(set(found.classes)) < len(found.classes):
        raise InputError(f"{folder}: {len(found.classes)} classes; allowed: 2 to 256, each with a name of its own")
    return found


def visible(folder: Path) -> list[Path]:
    """What is in a folder, by name, less what begins with a dot. Nothing where there is no folder."""
    return sorted(path for path in folder.glob("*") if not path.name.startswith("."))


def description() -> Description:
    """Raises InputError where `preprocess` has not written it, or it is damaged."""
    return read_json(Description, Path("data/processed/description.json"))
