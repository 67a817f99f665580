"""How often the tests in this folder try, and the table of what came out: docs/faults.csv."""

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
    """For a test with @given: the number of its examples."""
    return hypothesis.settings(max_examples=long if LONG else short)


def record(what: str, tries: int, *, as_asked: int = 0, refused: int = 0, repaired: int = 0, wrong: int = 0) -> None:
    """Writes a row of the table, in place of an older one of the same name. Does so with FAULTS=long only.

    `what` was tried, in plain English, and how often each outcome was seen: the result that was asked for, a refusal in
    one line, a repair by `make recover`, or none of these. A test asserts after it that none was wrong.
    """
    assert tries == as_asked + refused + repaired + wrong
    if not LONG:
        return
    with FileLock(ROOT / ".dvc/tmp/faults.lock"):  # tests run side by side
        rows = {}
        if TABLE.exists():
            with TABLE.open(encoding="utf-8", newline="") as file:
                rows = {row[0]: row for row in list(csv.reader(file))[1:]}
        rows[what] = [what, *map(str, (tries, as_asked, refused, repaired, wrong))]
        write_texts({str(TABLE): csv_text(HEADER, [rows[name] for name in sorted(rows)])})
