"""The tables and numbers that stages wrote, as pages read them: checked, so that a damaged file is named."""

import io
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
from pydantic import Field

from mlp.errors import reading
from pipeline.params import Schema
from pipeline.tables import mean_and_std

MOST = 1e100  # of a number: the squares of larger ones could overflow
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Columns(NamedTuple):
    """Names of columns, with spaces between, by what is in them."""

    texts: str = ""
    integers: str = ""
    numbers: str = ""
    maybe_numbers: str = ""  # a cell may be empty


# of tables that several pages show
OF_NETWORKS = Columns("network", "parameters multiply_adds seed", "accuracy loss calibration_error")
OF_SIZES = Columns("hidden standing", "parameters multiply_adds seed", "test_accuracy", "validation_accuracy")
OF_PRICES = Columns("houses model split", numbers="rmse rmsle r2")
OF_PENALTIES = Columns(numbers="l1_penalty l1_norm training_loss test_loss test_accuracy")


class Comparison(Schema):
    """See `mlp.comparison.Comparison`."""

    difference: Finite
    low: Finite
    high: Finite
    probability_of_improvement: Finite
    p_value: Finite
    mcnemar_p_value: Finite
    verdict: str


class Evaluation(Schema):
    """Of metrics/evaluation.json."""

    comparison: Comparison


def read_csv(path: str, columns: Columns, may_be_empty: bool = False) -> pd.DataFrame:
    """The named columns of a table that a stage wrote. Raises InputError where one is missing, or has other cells."""
    texts, integers, numbers, maybe = (names.split() for names in columns)
    kinds = dict.fromkeys(texts, str) | dict.fromkeys(integers, int) | dict.fromkeys(numbers + maybe, float)
    with reading(Path(path)):
        content = Path(path).read_bytes()
        if not content.endswith(b"\n"):
            raise ValueError("its end is cut off")
        table = pd.read_csv(
            io.BytesIO(content),
            encoding="utf-8",
            index_col=False,
            usecols=list(kinds),
            dtype=kinds,
            keep_default_na=False,
            na_values={name: [""] for name in maybe},
        )
        for name in integers + numbers + maybe:
            cells = table[name].dropna() if name in maybe else table[name]
            if not (cells.abs() < MOST).all():
                raise ValueError(f"column {name}: not all numbers")
        if table.empty and not may_be_empty:
            raise ValueError("no rows")
        return table


def over_seeds(table: pd.DataFrame, key: str, **measures: str) -> Iterator[dict[Hashable, Any]]:
    """For each value of a column: its number of seeds, what they share, and each measure in its format."""
    for _, group in table.groupby(key, sort=False):
        summaries = {name: mean_and_std(group[name].dropna().tolist(), form) for name, form in measures.items()}
        yield group.iloc[0].to_dict() | summaries | {"seeds": len(group)}


def seeds_alike(table: pd.DataFrame, key: str, measure: str, groups: Iterable[object]) -> list[list[float]]:
    """A measure of each group, by seed. Raises ValueError where not all groups have rows of the same seeds."""
    found = [table[table[key] == group] for group in groups]
    if any(each.seed.empty or each.seed.tolist() != found[0].seed.tolist() for each in found):
        raise ValueError(f"not the same seeds for each {key}")
    return [each[measure].tolist() for each in found]
