"""Formats tables of results as CSV and Markdown, and numbers over several seeds."""

import csv
import io
import statistics
from collections.abc import Collection, Iterable, Sequence


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]], settings: Collection[str] = ()) -> str:
    """Returns a table as text that is the same on every system, with floats rounded to six decimals.

    Columns in `settings` are not rounded, because their numbers distinguish rows.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        cells = zip(header, row, strict=True)
        writer.writerow(
            [round(cell, 6) if isinstance(cell, float) and name not in settings else cell for name, cell in cells]
        )
    return text.getvalue()


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def mean_and_std(values: Sequence[float], form: str = ".4f") -> str:
    """Formats the mean ± sample standard deviation over seeds, or only the mean of one seed."""
    if not len(values):
        return "not measured"
    mean = format(statistics.mean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):{form}}"


def summary(values: list[float]) -> dict[str, float | None]:
    """Returns the mean and sample standard deviation over seeds, to six decimals. One seed has no deviation."""
    return {
        "mean": round(statistics.mean(values), 6) if values else None,
        "std": round(statistics.stdev(values), 6) if len(values) > 1 else None,
    }
