"""Reads and checks the tables and numbers that stages wrote, so that a page reports which file is damaged."""

import io
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
from pydantic import Field

from mlp.errors import reading
from pipeline.params import Schema
from pipeline.tables import mean_and_std

MAX_NUMBER = 1e100  # bound on numbers: the squares of larger ones could overflow
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Columns(NamedTuple):
    """Names of columns, separated by spaces, grouped by the type of their cells."""

    texts: str = ""
    integers: str = ""
    numbers: str = ""
    maybe_numbers: str = ""  # a cell may be empty


# columns of tables that several pages show
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
    """The part of metrics/evaluation.json that pages use."""

    comparison: Comparison


def read_csv(path: str, columns: Columns, may_be_empty: bool = False) -> pd.DataFrame:
    """Reads columns of a table that a stage wrote. Raises InputError if one is missing or has cells of another type."""
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
            if not (cells.abs() < MAX_NUMBER).all():
                raise ValueError(f"column {name}: not all numbers")
        if table.empty and not may_be_empty:
            raise ValueError("no rows")
        return table


def over_seeds(table: pd.DataFrame, key: str, **measures: str) -> Iterator[dict[Hashable, Any]]:
    """Yields, for each value of a column, its first row, number of seeds, and mean ± deviation of each measure."""
    for _, group in table.groupby(key, sort=False):
        summaries = {name: mean_and_std(group[name].dropna().tolist(), form) for name, form in measures.items()}
        yield group.iloc[0].to_dict() | summaries | {"seeds": len(group)}


def seeds_alike(table: pd.DataFrame, key: str, measure: str, groups: Iterable[object]) -> list[list[float]]:
    """Returns a measure of each group, by seed. Raises ValueError unless all groups have the same seeds in order."""
    found = [table[table[key] == group] for group in groups]
    if any(each.seed.empty or each.seed.tolist() != found[0].seed.tolist() for each in found):
        raise ValueError(f"not the same seeds for each {key}")
    return [each[measure].tolist() for each in found]
