"""Describes an image data set: its title and classes, and after `preprocess` the size of its images."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from mlp.errors import InputError, shortened
from pipeline.files import read_json
from pipeline.params import Count, Group, Text, load

MANUAL = Path("data/manual")  # a folder for each data set: files that git tracks, and files that the user adds
PUBLIC = ("mnist", "fashion_mnist")  # all others are the user's own


class Source(Group):
    """A data set as declared by data/manual/<name>/dataset.json or by its folders of images."""

    title: Text
    classes: Annotated[list[Text], Field(description="a list of names, one for each class, in the order of the labels")]
    # None for folders of images
    sha256: Annotated[dict[str, str] | None, Field(description="the SHA-256 of each of the four IDX files, by name")]
    mirrors: list[Text] = Field(default=[], description="a list of base URLs, below which the files are gzipped")


class Named(Group):
    """The title and classes of a data set in data/raw."""

    title: Text
    classes: Annotated[list[Text], Field(min_length=2, max_length=256)]


class Description(Named):
    """Describes the data set that is prepared for training."""

    height: Count  # of each image, in pixels
    width: Count
    images: Count  # number of training and validation images
    mean: Annotated[float, Field(ge=0, le=1)]  # of the pixels of these images, scaled to [0, 1]
    std: Annotated[float, Field(ge=0, le=1)]

    @property
    def pixels(self) -> int:
        return self.height * self.width


def source(dataset: str) -> Source:
    """Returns the declaration of a data set. Raises InputError if it is missing or invalid."""
    folder = MANUAL / dataset
    if (folder / "dataset.json").exists():
        found = load(Source, folder / "dataset.json")  # JSON is valid YAML
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
    """Returns the entries of a folder, sorted by name, without hidden ones; an empty list if there is no folder."""
    return sorted(path for path in folder.glob("*") if not path.name.startswith("."))


def description() -> Description:
    """Reads the description of the prepared data set. Raises InputError if it is missing or damaged."""
    return read_json(Description, Path("data/processed/description.json"))
