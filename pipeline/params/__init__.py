"""Reading params.yaml: the types of its values, and the errors that name a wrong one.

Each group of keys has its schema in a module of its own, and a stage composes those that it reads: so a key that is
added for one stage reruns no other. `complete.Params` is the whole file.
"""

from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from mlp.errors import InputError

Item = TypeVar("Item")


def _number(value: object) -> object:
    """PyYAML follows YAML 1.1 and reads `1e-05`, which DVC writes, as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _distinct(items: list[Item]) -> list[Item]:
    if any(item in items[:index] for index, item in enumerate(items)):
        raise ValueError
    return items


Count = Annotated[int, Field(ge=1, description="a whole number of at least 1")]
Size = Annotated[int, Field(ge=0, description="a whole number of at least 0")]
Units = Annotated[int, Field(ge=1, le=10_000, description="a whole number from 1 to 10000")]
DatasetName = Annotated[
    str,
    Field(pattern=r"^\w[\w-]*$", description="mnist, fashion_mnist, or the name of a folder of images in data/manual"),
]
Seed = Annotated[int, Field(ge=0, lt=2**63, description="a whole number from 0 to 2^63 - 1")]
Text = Annotated[str, Field(min_length=1, description="a text")]
Number = Annotated[float, BeforeValidator(_number)]
Rate = Annotated[Number, Field(gt=0, le=1)]
LearningRate = Annotated[Rate, Field(description="a number above 0 and at most 1")]
Beta = Annotated[Number, Field(ge=0, lt=1)]
Penalty = Annotated[Number, Field(ge=0, le=1e6)]
# lists name their items' bounds too: an error in an item is explained by the list's description
HiddenLayers = Annotated[
    list[Units],
    Field(min_length=1, max_length=10, description="a list of 1 to 10 whole numbers, each from 1 to 10000"),
]
Seeds = Annotated[
    list[Seed],
    AfterValidator(_distinct),
    Field(min_length=1, description="a list of different whole numbers, at least one, each from 0 to 2^63 - 1"),
]
Architectures = Annotated[
    list[HiddenLayers],
    AfterValidator(_distinct),
    Field(
        min_length=1,
        description="a list of different lists, at least one, each of 1 to 10 whole numbers from 1 to 10000",
    ),
]
LearningRates = Annotated[
    list[Rate],
    AfterValidator(_distinct),
    Field(min_length=1, description="a list of different numbers, at least one, each above 0 and at most 1"),
]
Betas = Annotated[
    list[Beta],
    Field(min_length=2, max_length=2, description="a list of two numbers, each at least 0 and below 1"),
]
Penalties = Annotated[
    list[Penalty],
    AfterValidator(_distinct),
    Field(min_length=1, description="a list of different numbers, at least one, each from 0 to 1000000"),
]


class Group(BaseModel):
    """Keys that belong together. Other keys among them are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Schema(Group):
    """The top-level keys that a stage reads. Others are left to other stages."""

    model_config = ConfigDict(extra="ignore")


class Training(Group):
    epochs: Count
    batch_size: Count
    learning_rate: LearningRate


Params = TypeVar("Params", bound=Group)


def load(schema: type[Params], path: Path = Path("params.yaml")) -> Params:
    """Reads what a schema names from a params file, and checks it.

    Raises InputError with a line for each wrong key, or OSError where there is no such file.
    """
    try:
        return schema.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise InputError("\n".join(f"{path}: {_line(schema, detail)}" for detail in error.errors())) from error


def _line(schema: type[Group], error: ErrorDetails) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    value = "missing" if error["type"] == "missing" else repr(error["input"])
    return f"{key or 'the file'} is {value}; allowed: {_allowed(schema, error['loc'])}"


def _allowed(group: type[Group], key: tuple[int | str, ...]) -> str | None:
    field = group.model_fields.get(str(key[0])) if key else None
    if field is None:
        return f"the keys {', '.join(group.model_fields)}"
    if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
        return _allowed(field.annotation, key[1:])
    return field.description
