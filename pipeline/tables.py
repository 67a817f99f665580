"""Tables of results, as CSV and as Markdown, and how a number over several seeds is written."""

import csv
import io
import statistics
from collections.abc import Collection, Iterable, Sequence


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]], settings: Collection[str] = ()) -> str:
    """A table as text that is the same on every system: fractions have six decimals at most, but in `settings`.

    These columns tell rows apart, so that their numbers are written as they are.
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
