"""`make compare` on commits made by the tests."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from conftest import ROOT, WorkingCopy, refusal, with_environment
from tools.compare_commits import MEASURES, changes, main


def prices(rmsle: float) -> pd.DataFrame:
    """Returns a table like metrics/prices.csv: errors of the median and both networks on two splits of all houses."""
    rows = [
        (split, "all", model, seed, rmsle * (1 + seed / 100) if (split, model) == ("test", "deep") else 0.15)
        for split in ("validation", "test")
        for model, seeds in (("median", [math.nan]), ("shallow", range(4)), ("deep", range(4)))
        for seed in seeds
    ]
    return pd.DataFrame(rows, columns=["split", "houses", "model", "seed", "rmsle"])


def binary(accuracies: dict[float, list[float]]) -> pd.DataFrame:
    """Returns a table like metrics/binary.csv: for each penalty, the accuracy of one network per seed."""
    rows = [(penalty, seed, each) for penalty, of in accuracies.items() for seed, each in enumerate(of)]
    return pd.DataFrame(rows, columns=["l1_penalty", "seed", "test_accuracy"])


@pytest.mark.parametrize("file", MEASURES)
def test_the_tables_of_the_pipeline_have_the_columns_that_are_compared(file: str) -> None:
    keys, measure = MEASURES[file]
    assert {*keys, "seed", measure} <= {*pd.read_csv(ROOT / file).columns}


def test_a_change_of_house_prices_names_split_houses_and_model() -> None:
    (change,) = changes("metrics/prices.csv", prices(0.12), prices(0.13))
    assert change.what == "prices: test, all, deep rmsle"
    assert change.before.tolist() == pytest.approx([0.12, 0.1212, 0.1224, 0.1236])
    expected = stats.ttest_rel(change.after, change.before).pvalue
    assert change.p_value == pytest.approx(expected)


def test_results_without_seeds_are_not_tested() -> None:
    """These are the median and ridge regression."""
    before, after = prices(0.12), prices(0.12)
    after.loc[after.model == "median", "rmsle"] = 0.4
    assert [*changes("metrics/prices.csv", before, after)] == []


def test_a_change_of_the_binary_network_names_the_penalty() -> None:
    before = binary({0.0: [0.90, 0.91, 0.92], 0.01: [0.90, 0.92, 0.91]})
    after = binary({0.0: [0.90, 0.91, 0.92], 0.01: [0.93, 0.94, 0.95]})
    (change,) = changes("metrics/binary.csv", before, after)
    assert change.what == "binary: 0.01 test_accuracy"
    assert change.p_value == pytest.approx(stats.ttest_1samp([0.03, 0.02, 0.04], 0).pvalue)


def test_only_penalties_that_both_have_are_compared() -> None:
    before, after = binary({0.0: [0.90, 0.91], 0.01: [0.8, 0.8]}), binary({0.0: [0.90, 0.91], 0.03: [0.7, 0.7]})
    assert [*changes("metrics/binary.csv", before, after)] == []


def test_seeds_that_only_one_has_show_in_the_mean_and_not_in_the_test() -> None:
    before, after = binary({0.0: [0.90, 0.91]}), binary({0.0: [0.92, 0.94, 0.95]})
    (change,) = changes("metrics/binary.csv", before, after)
    assert len(change.after) == 3
    assert change.p_value == pytest.approx(stats.ttest_1samp([0.02, 0.03], 0).pvalue)


def test_one_seed_alone_shows_no_difference() -> None:
    (change,) = changes("metrics/binary.csv", binary({0.0: [0.90]}), binary({0.0: [0.95]}))
    assert change.p_value == 1


def test_equal_differences_of_few_seeds_are_not_significant() -> None:
    """If two seeds both change by one image, a t-test has no variance at all."""
    before = pd.DataFrame({"network": "deep", "seed": [0, 1], "accuracy": [0.9718, 0.9699]})
    (change,) = changes("metrics/networks.csv", before, before.assign(accuracy=before.accuracy + 0.0001))
    assert change.p_value == 0.5


def test_a_commit_with_an_older_column_name_can_be_compared(subset: WorkingCopy) -> None:
    """In older commits of this repository, the column `split` was called `part`."""
    path = subset.path / "metrics/prices.csv"
    table = pd.read_csv(path).rename(columns={"split": "part"})
    table["rmsle"] += table.seed / 1000
    table.to_csv(path, index=False)
    subset.commit("part")
    assert "prices: test, all, deep rmsle" in subset.run("python -m tools.compare_commits HEAD^ HEAD").stdout


def test_a_change_is_tested_on_the_seeds_that_both_commits_have(subset: WorkingCopy) -> None:
    path = subset.path / "metrics/networks.csv"
    rows = [("shallow", seed, 0.97 + seed / 1e4, 0.1) for seed in range(8)]
    rows += [("deep", seed, 0.97 - seed / 1e4, 0.1) for seed in range(8)]
    before = pd.DataFrame(rows, columns=["network", "seed", "accuracy", "loss"])
    before.to_csv(path, index=False)
    subset.commit("before")
    after = before.copy()
    noise = pd.Series([1, -1, 2, -2, 1, -1, 0, 0]) / 1e4
    after.loc[after.network == "shallow", "accuracy"] += noise.to_numpy()
    after.loc[after.network == "deep", "accuracy"] += noise.to_numpy() + 0.002
    after.to_csv(path, index=False)
    subset.edit_params(hidden=[40, 20])
    subset.commit("after")
    with_environment(subset)
    lines = subset.run("make compare A=HEAD^ B=HEAD").stdout.splitlines()
    assert any("hidden" in line and "[40, 20]" in line for line in lines)
    shallow, deep = (
        next(line for line in lines if f"networks: {name} accuracy" in line) for name in ("shallow", "deep")
    )
    assert shallow.endswith("  not significant")
    assert deep.endswith("  significant")
    accuracies = [table[table.network == "deep"].accuracy.to_numpy() for table in (after, before)]
    p_value = stats.ttest_rel(accuracies[0], accuracies[1]).pvalue
    assert f"+0.0020  {2 * p_value:.2g}" in deep
    assert not any("prices" in line for line in lines)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "No columns to parse from file"),
        (b"<<<<<<< HEAD\nnetwork,seed,accuracy\n", ".* are in the .*"),
        (b"network,seed,accuracy\ndeep,0,high\n", "could not convert string to float: 'high'"),
        (b"network,seed,accuracy\ndeep,0.5,0.9\n", "cannot safely cast .*"),
        (b"network,seed,accuracy\ndeep\xff,0,0.9\n", ".*can't decode byte 0xff.*"),
    ],
)
def test_a_damaged_table_of_a_commit_is_named_in_one_line(
    content: bytes, reason: str, subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    (subset.path / "metrics/networks.csv").write_bytes(content)
    subset.run("git commit --quiet --all --message damaged")
    monkeypatch.chdir(subset.path)
    monkeypatch.setattr("sys.argv", ["compare_commits", "HEAD^", "HEAD"])
    error = refusal(main)
    assert error is not None
    needed = "needed: the columns seed, network, accuracy"
    assert re.fullmatch(rf"HEAD:metrics/networks.csv: not as a stage wrote it \({reason}\); {needed}", error)


def test_the_same_commit_has_no_differences(subset: WorkingCopy) -> None:
    done = subset.run("python -m tools.compare_commits HEAD HEAD")
    same = "The compared metrics (accuracy, RMSLE and binary test accuracy) are the same."
    assert done.stdout == f"The parameters are the same.\n\n{same}\n"


@pytest.mark.parametrize("revision", ["nowhere", "HEAD..HEAD", "", "HEAD^{tree}", "--all"])
def test_an_unknown_commit_is_reported_in_one_line(
    revision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WorkingCopy(tmp_path).run("git init -q")
    WorkingCopy(tmp_path).commit("All")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["compare_commits", "--", "HEAD", revision])
    assert f"{revision}^{{commit}}: " in (refusal(main) or "")
