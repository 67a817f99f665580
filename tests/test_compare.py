"""`make compare` on histories that a test makes."""

import pandas as pd
from scipy import stats

from conftest import WorkingCopy, with_environment


def test_what_changed_is_judged_by_the_seeds_that_both_have(subset: WorkingCopy) -> None:
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
    assert shallow.endswith("no difference shown")
    assert deep.endswith("more than the noise of seeds")
    accuracies = [table[table.network == "deep"].accuracy.to_numpy() for table in (after, before)]
    p_value = stats.ttest_rel(accuracies[0], accuracies[1]).pvalue
    assert f"+0.0020  {2 * p_value:.2g}" in deep
    assert not any("prices" in line for line in lines)


def test_the_same_commit_has_no_differences(subset: WorkingCopy) -> None:
    assert (
        subset.run("python -m tools.compare_commits HEAD HEAD").stdout == "The same parameters.\n\nThe same metrics.\n"
    )


def test_a_commit_that_is_not_there_is_said_in_one_line(subset: WorkingCopy) -> None:
    done = subset.run("python -m tools.compare_commits HEAD nowhere", check=False)
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert done.stderr.count("\n") == 1
