"""The stages of the pipeline. Each reads params.yaml, calls mlp, and writes whole outputs."""

import csv
import io
import json
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlp.errors import InputError
from mlp.params import Params, load

# each library reads these once, when a process first imports it or starts
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # networks train side by side: more threads would get in the way
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "100000000")  # glibc keeps the memory of arrays for the next ones
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "1000000000")
# tqdm reads these once, when a stage imports it: a log gets a line every few seconds in place of a moving bar
if not sys.stderr.isatty():
    os.environ.setdefault("TQDM_MININTERVAL", "5")
    os.environ.setdefault("TQDM_BAR_FORMAT", "{desc} {percentage:.0f}% [{elapsed}<{remaining}]\n")


def run(stage: Callable[[Params], None]) -> None:
    """Runs a stage on the checked params.yaml."""
    explaining_errors(lambda: stage(load(Path("params.yaml"))))


def explaining_errors(command: Callable[[], None]) -> None:
    """Runs a command. What the user can mend ends in one line and exit status 1."""
    try:
        command()
    except (InputError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted")


@contextmanager
def whole(output: Path) -> Iterator[Path]:
    """Yields a path at which to make a file or folder, which becomes `output` when the block ends well.

    When it does not, nothing stays. A killed run leaves its unfinished path behind; the next run removes
    it before anything else, so that a process which outlived its DVC cannot finish beside the new one.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    for unfinished in output.parent.glob(f".{output.name}.*"):
        _remove(unfinished)
    path = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        yield path
        _remove(output)
        path.rename(output)
    finally:
        _remove(path)


def write_csv(output: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a table whole."""
    with whole(output) as path:
        path.write_text(csv_text(header, rows), newline="\n")


def write_json(output: Path, content: object) -> None:
    """Writes metrics whole. Raises ValueError for a NaN or an infinity, which JSON does not have."""
    with whole(output) as path:
        path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as text that is the same on every system: fractions have six decimals at most."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([round(cell, 6) if isinstance(cell, float) else cell for cell in row] for row in rows)
    return text.getvalue()


def summary(values: list[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation over seeds, with six decimals. One seed has no deviation."""
    return {
        "mean": round(statistics.mean(values), 6) if values else None,
        "std": round(statistics.stdev(values), 6) if len(values) > 1 else None,
    }


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
