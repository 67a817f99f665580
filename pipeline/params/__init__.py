"""Reads params.yaml: defines the types of its values, and reports invalid ones.

Each group of keys has its schema in a separate module, and a stage composes those that it reads, so that a key added
for one stage reruns no other. `complete.Params` is the schema of the whole file.
"""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import Node

from mlp.errors import InputError, require_file, shortened

MAX_BYTES = 50_000  # per file
MAX_CHARACTERS = 1000  # per key or value
MAX_LEVELS = 10  # of nested groups and lists
MAX_ERRORS = 10  # reported at once

Item = TypeVar("Item")


def _distinct(items: list[Item]) -> list[Item]:
    if any(item in items[:index] for index, item in enumerate(items)):
        raise ValueError
    return items


Count = Annotated[int, Field(ge=1, le=10**9, description="an integer from 1 to 1000000000")]
Size = Annotated[int, Field(ge=0, le=10**9, description="an integer from 0 to 1000000000")]
Units = Annotated[int, Field(ge=1, le=10_000, description="an integer from 1 to 10000")]
DatasetName = Annotated[
    str,
    Field(pattern=r"^\w[\w-]*$", description="mnist, fashion_mnist, or the name of a folder in data/manual"),
]
Seed = Annotated[int, Field(ge=0, lt=2**63, description="an integer from 0 to 2^63 - 1")]
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", description="a string of one line that is not empty")]
Rate = Annotated[float, Field(gt=0, le=1)]
LearningRate = Annotated[Rate, Field(description="a number above 0 and at most 1")]
Beta = Annotated[float, Field(ge=0, lt=1)]
Penalty = Annotated[float, Field(ge=0, le=1e6)]
# a list's description also gives the bounds of its items, because it is reported for an invalid item
HiddenLayers = Annotated[
    list[Units],
    Field(min_length=1, max_length=10, description="a list of 1 to 10 integers, each from 1 to 10000"),
]
Seeds = Annotated[
    list[Seed],
    Field(min_length=1, max_length=1000, description="a list of 1 to 1000 distinct integers, each from 0 to 2^63 - 1"),
    AfterValidator(_distinct),
]
Architectures = Annotated[
    list[HiddenLayers],
    Field(
        min_length=1,
        max_length=1000,
        description="a list of 1 to 1000 distinct lists, each of 1 to 10 integers from 1 to 10000",
    ),
    AfterValidator(_distinct),
]
LearningRates = Annotated[
    list[Rate],
    Field(
        min_length=1,
        max_length=1000,
        description="a list of 1 to 1000 distinct numbers, each above 0 and at most 1",
    ),
    AfterValidator(_distinct),
]
Betas = Annotated[
    list[Beta],
    Field(min_length=2, max_length=2, description="a list of two numbers, each at least 0 and below 1"),
]
Penalties = Annotated[
    list[Penalty],
    Field(min_length=1, max_length=1000, description="a list of 1 to 1000 distinct numbers, each from 0 to 1000000"),
    AfterValidator(_distinct),
]


class Group(BaseModel):
    """Keys that belong together. Rejects any other key."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Schema(Group):
    """The top-level keys that a stage reads. Ignores those of other stages."""

    model_config = ConfigDict(extra="ignore")


class Training(Group):
    epochs: Count
    batch_size: Count
    learning_rate: LearningRate


Params = TypeVar("Params", bound=Group)


def load(schema: type[Params], path: Path = Path("params.yaml")) -> Params:
    """Reads and validates the keys of a schema in a params file.

    Raises InputError with a line for each of the first MAX_ERRORS invalid keys, or OSError if the file is missing.
    """
    require_file(path)
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: more than {MAX_BYTES:,} bytes; allowed: at most that many")
    try:
        text = content.decode("utf-8")
        _check_extent(path, text)
        return schema.model_validate(_parser().load(text))
    except ValidationError as error:
        wrong = error.errors()
        lines = [f"{path}: {_line(schema, detail)}" for detail in wrong[:MAX_ERRORS]]
        more = [f"{path}: {len(wrong) - MAX_ERRORS} more keys are wrong"] if len(wrong) > MAX_ERRORS else []
        raise InputError("\n".join(lines + more)) from error
    except MarkedYAMLError as error:
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{path}{place}: not YAML: {shortened(str(error.problem), 200)}") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {shortened(str(error), 200)}") from error


class _Constructor(SafeConstructor):
    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, ArithmeticError) as error:  # from invalid dates and numbers
            value = shortened(repr(node.value))
            raise ConstructorError(problem=f"{value}: {error}", problem_mark=node.start_mark) from error


def _parser() -> YAML:
    """Returns a parser that reads YAML 1.2 and rejects duplicate keys, like DVC's."""
    parser = YAML(typ="safe")
    parser.Constructor = _Constructor
    return parser


def _check_extent(path: Path, text: str) -> None:
    """Raises InputError, before anything is built from a text, if it could expand into something enormous."""
    levels = 0
    long = f"a value of more than {MAX_CHARACTERS:,} characters; allowed: at most {MAX_CHARACTERS:,}"
    for event in _parser().parse(text):
        levels += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        faults = {
            f"more than {MAX_LEVELS} nested groups or lists; allowed: at most {MAX_LEVELS}": levels > MAX_LEVELS,
            long: len(getattr(event, "value", "")) > MAX_CHARACTERS,
            "an alias (*); allowed: none": isinstance(event, AliasEvent),
            "a tag (!); allowed: none": getattr(event, "tag", None),
        }
        for fault, found in faults.items():
            if found:
                raise InputError(f"{path}, line {event.start_mark.line + 1}: {fault}")


def _line(schema: type[Group], error: ErrorDetails) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    value = "missing" if error["type"] == "missing" else shortened(repr(error["input"]))
    return f"{shortened(key) or 'the file'} is {value}; allowed: {_allowed(schema, error['loc'])}"


def _allowed(group: type[Group], key: tuple[int | str, ...]) -> str | None:
    field = group.model_fields.get(str(key[0])) if key else None
    if field is None:
        return f"the keys {', '.join(group.model_fields)}"
    if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
        return _allowed(field.annotation, key[1:])
    return field.description
