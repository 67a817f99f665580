"""Tables of results, as CSV and as Markdown, and how a number over several seeds is written."""

import csv
import io
import statistics
from collections.abc import Iterable, Sequence


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as text that is the same on every system: fractions have six decimals at most."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([round(cell, 6) if isinstance(cell, float) else cell for cell in row] for row in rows)
    return text.getvalue()


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def mean_and_std(values: Sequence[float], form: str = ".4f") -> str:
    """Mean ± sample standard deviation over seeds. One seed has no deviation."""
    if not len(values):
        return "not measured"
    mean = format(statistics.mean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):{form}}"


def summary(values: list[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation over seeds, with six decimals. One seed has no deviation."""
    return {
        "mean": round(statistics.mean(values), 6) if values else None,
        "std": round(statistics.stdev(values), 6) if len(values) > 1 else None,
    }
