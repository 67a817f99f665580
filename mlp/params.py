"""The typed schema of params.yaml: every key, and what it may hold."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

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
    if any(item in items[:place] for place, item in enumerate(items)):
        raise ValueError
    return items


Count = Annotated[int, Field(ge=1, description="a whole number of at least 1")]
Size = Annotated[int, Field(ge=0, description="a whole number of at least 0")]
Units = Annotated[int, Field(ge=1, le=10_000, description="a whole number from 1 to 10000")]
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
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Preprocess(Group):
    validation_size: Size
    seed: Seed


class Training(Group):
    epochs: Count
    batch_size: Count
    learning_rate: LearningRate


class ShallowTraining(Training):
    hidden: Units


class SizeComparison(Training):
    architectures: Architectures


class LearningRateComparison(Group):
    hidden: HiddenLayers
    learning_rates: LearningRates
    seeds: Seeds
    epochs: Count
    batch_size: Count


class PricePreprocess(Group):
    file: Text
    sheet: Text
    validation_size: Count
    test_size: Count
    seed: Seed


class PriceTraining(Training):
    shallow_hidden: Units
    deep_hidden: HiddenLayers


class PriceEvaluation(Group):
    ridge_penalties: Penalties


class BinaryTraining(Training):
    hidden: Units
    betas: Betas
    l1_penalties: Penalties


class Params(Group):
    dataset: Annotated[Literal["mnist", "fashion_mnist"], Field(description="mnist or fashion_mnist")]
    hidden: HiddenLayers
    seeds: Seeds
    preprocess: Preprocess
    train_shallow: ShallowTraining
    train_deep: Training
    compare_sizes: SizeComparison
    compare_learning_rates: LearningRateComparison
    preprocess_prices: PricePreprocess
    train_prices: PriceTraining
    evaluate_prices: PriceEvaluation
    train_binary: BinaryTraining


def load(path: Path) -> Params:
    """Reads a params file and checks all of it.

    Raises InputError with a line for each wrong key, or OSError where there is no such file.
    """
    try:
        return Params.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise InputError("\n".join(f"{path}: {_line(detail)}" for detail in error.errors())) from error


def _line(error: ErrorDetails) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    value = "missing" if error["type"] == "missing" else repr(error["input"])
    return f"{key or 'the file'} is {value}; allowed: {_allowed(Params, error['loc'])}"


def _allowed(group: type[Group], key: tuple[int | str, ...]) -> str | None:
    field = group.model_fields.get(str(key[0])) if key else None
    if field is None:
        return f"the keys {', '.join(group.model_fields)}"
    if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
        return _allowed(field.annotation, key[1:])
    return field.description
