"""Prints which parameters and metrics differ between two commits, and which differences are significant over seeds."""

import argparse
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mlp.comparison import LEVEL
from mlp.errors import InputError, shortened
from pipeline.stage import exit_on_user_error
from pipeline.tables import mean_and_std

MEASURES = {  # tables in git with a row for each seed: the columns that identify a measurement, and the metric's column
    "metrics/networks.csv": (["network"], "accuracy"),
    "metrics/prices.csv": (["split", "houses", "model"], "rmsle"),
    "metrics/binary.csv": (["l1_penalty"], "test_accuracy"),
}
TOLERANCE = 1e-9  # differences whose range is below this count as equal


class Change(NamedTuple):
    what: str
    before: "pd.Series[float]"  # by seed
    after: "pd.Series[float]"
    p_value: float  # over the seeds that both have


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.compare_commits", description=__doc__)
    parser.add_argument("before", help="a commit, branch or tag")
    parser.add_argument("after", help="the one to compare it with")
    arguments = parser.parse_args()
    revisions = arguments.before, arguments.after
    for revision in revisions:
        _run("git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    found = [change for file in MEASURES for change in changes(file, *(_read(file, each) for each in revisions))]
    print(_run("dvc", "params", "diff", *revisions) or "The parameters are the same.\n")
    if not found:
        print("The compared metrics (accuracy, RMSLE and binary test accuracy) are the same.")
        return
    adjusted = multipletests([change.p_value for change in found], LEVEL, method="holm")[1]
    rows = [
        [
            change.what,
            mean_and_std(change.before.tolist()),
            mean_and_std(change.after.tolist()),
            f"{change.after.mean() - change.before.mean():+.4f}",
            f"{p_value:.2g}",
            "significant" if p_value <= LEVEL else "not significant",
        ]
        for change, p_value in zip(found, adjusted, strict=True)
    ]
    header = ["metric, mean ± standard deviation over seeds", *revisions, "change", "p-value", "verdict"]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in [header, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print("p-values: paired t-tests over the seeds that both commits have, with Holm's correction for all rows.")


def changes(file: str, before: pd.DataFrame, after: pd.DataFrame) -> Iterator[Change]:
    """Yields a change for each measurement of a file in MEASURES that both commits have, with different results."""
    keys, measure = MEASURES[file]
    groups = [dict(iter(table.dropna(subset="seed").groupby(keys, sort=False))) for table in (before, after)]
    for key in [key for key in groups[0] if key in groups[1]]:
        first, second = (group[key].set_index("seed")[measure] for group in groups)
        if not first.equals(second):
            common = first.index.intersection(second.index)
            differences = (second - first)[common]
            if len(common) < 2 or not differences.any():
                p_value = 1.0
            elif np.ptp(differences) < TOLERANCE:  # a t-test without variance rejects for any number of seeds
                p_value = 2 / 2 ** len(common)
            else:
                p_value = float(stats.ttest_1samp(differences, 0).pvalue)
            yield Change(f"{Path(file).stem}: {', '.join(map(str, key))} {measure}", first, second, p_value)


def _read(file: str, revision: str) -> pd.DataFrame:
    keys, measure = MEASURES[file]
    try:
        text = _run("git", "show", f"{revision}:{file}")
        table = pd.read_csv(io.StringIO(text), dtype={"seed": "Int64", measure: "float64"})
        return table.rename(columns={"part": "split"})[["seed", *keys, measure]]  # the column's name in older commits
    except (KeyError, TypeError, ValueError) as error:
        fault = f"not as a stage wrote it ({shortened(str(error))})"
        needed = ", ".join(["seed", *keys, measure])
        raise InputError(f"{revision}:{file}: {fault}; needed: the columns {needed}") from error


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise InputError(
            f"{' '.join(command)}: {' '.join(done.stderr.split())}; needed: two commits of this repository"
        )
    return done.stdout


if __name__ == "__main__":
    exit_on_user_error(main)
