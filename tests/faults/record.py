"""The number of tries in these tests, and the table of their outcomes, docs/faults.csv."""

import csv
import os

import hypothesis
from filelock import FileLock

from conftest import ROOT
from pipeline.files import write_texts
from pipeline.tables import csv_text

LONG = os.environ.get("FAULTS") == "long"
TABLE = ROOT / "docs/faults.csv"
HEADER = ["what", "tries", "as_asked", "refused", "repaired", "wrong"]


def tries(short: int, long: int) -> hypothesis.settings:
    """Returns settings with the number of examples for a test with @given."""
    return hypothesis.settings(max_examples=long if LONG else short)


def record(what: str, tries: int, *, as_asked: int = 0, refused: int = 0, repaired: int = 0, wrong: int = 0) -> None:
    """Writes a row of the table, replacing an older one with the same name, with FAULTS=long only.

    `what` describes the fault in plain English. The outcomes count how often the result was the requested one, a
    one-line error, a repair by `make recover`, or none of these.
    """
    assert tries == as_asked + refused + repaired + wrong
    if not LONG:
        return
    with FileLock(ROOT / ".dvc/tmp/faults.lock"):  # tests run in parallel
        rows = {}
        if TABLE.exists():
            with TABLE.open(encoding="utf-8", newline="") as file:
                rows = {row[0]: row for row in list(csv.reader(file))[1:]}
        rows[what] = [what, *map(str, (tries, as_asked, refused, repaired, wrong))]
        write_texts({str(TABLE): csv_text(HEADER, [rows[name] for name in sorted(rows)])})
