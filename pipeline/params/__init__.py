"""Reading params.yaml: the types of its values, and the errors that name a wrong one.

Each group of keys has its schema in a module of its own, and a stage composes those that it reads: so a key that is
added for one stage reruns no other. `complete.Params` is the whole file.
"""

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mlp.errors import InputError

Item = TypeVar("Item")


def _distinct(items: list[Item]) -> list[Item]:
    if any(item in items[:index] for index, item in enumerate(items)):
        raise ValueError
    return items


Count = Annotated[int, Field(ge=1, description="an integer of at least 1")]
Size = Annotated[int, Field(ge=0, description="an integer of at least 0")]
Units = Annotated[int, Field(ge=1, le=10_000, description="an integer from 1 to 10000")]
DatasetName = Annotated[
    str,
    Field(pattern=r"^\w[\w-]*$", description="mnist, fashion_mnist, or the name of a folder of images in data/manual"),
]
Seed = Annotated[int, Field(ge=0, lt=2**63, description="an integer from 0 to 2^63 - 1")]
Text = Annotated[str, Field(min_length=1, description="a string that is not empty")]
Rate = Annotated[float, Field(gt=0, le=1)]
LearningRate = Annotated[Rate, Field(description="a number above 0 and at most 1")]
Beta = Annotated[float, Field(ge=0, lt=1)]
Penalty = Annotated[float, Field(ge=0, le=1e6)]
# lists name their items' bounds too: an error in an item is explained by the list's description
HiddenLayers = Annotated[
    list[Units],
    Field(min_length=1, max_length=10, description="a list of 1 to 10 integers, each from 1 to 10000"),
]
Seeds = Annotated[
    list[Seed],
    AfterValidator(_distinct),
    Field(min_length=1, description="a list of distinct integers, at least one, each from 0 to 2^63 - 1"),
]
Architectures = Annotated[
    list[HiddenLayers],
    AfterValidator(_distinct),
    Field(
        min_length=1,
        description="a list of distinct lists, at least one, each of 1 to 10 integers from 1 to 10000",
    ),
]
LearningRates = Annotated[
    list[Rate],
    AfterValidator(_distinct),
    Field(min_length=1, description="a list of distinct numbers, at least one, each above 0 and at most 1"),
]
Betas = Annotated[
    list[Beta],
    Field(min_length=2, max_length=2, description="a list of two numbers, each at least 0 and below 1"),
]
Penalties = Annotated[
    list[Penalty],
    AfterValidator(_distinct),
    Field(min_length=1, description="a list of distinct numbers, at least one, each from 0 to 1000000"),
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
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))  # DVC's parser: YAML 1.2, no key twice
        return schema.model_validate(content)
    except ValidationError as error:
        raise InputError("\n".join(f"{path}: {_line(schema, detail)}" for detail in error.errors())) from error
    except (YAMLError, ValueError, LookupError) as error:  # the last two of dates and numbers that are none
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from error


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
