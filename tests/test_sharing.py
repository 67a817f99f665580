"""Follows what docs/sharing.md and docs/recovery.md say about branches and several clones."""

from pathlib import Path

from conftest import WorkingCopy, with_environment
from test_readme import AUTHOR, COMMANDS

REMOTE = f"set -e\n{COMMANDS['docs/sharing.md: A folder']}"


def test_a_merge_of_two_branches_that_changed_parameters_works_as_documented(subset: WorkingCopy) -> None:
    with_environment(subset)
    subset.run("git switch -q -c other")
    subset.edit_params(evaluate_prices={"ridge_penalties": [1, 10]})
    subset.run("dvc repro")
    subset.commit("Other penalties")
    subset.run("git switch -q - && dvc checkout")
    subset.edit_params(train_binary=subset.params()["train_binary"] | {"l1_penalties": [0]})
    subset.run("dvc repro")
    subset.commit("Fewer penalties")
    assert subset.run(f"{AUTHOR}; git merge other", check=False).returncode != 0
    assert "UU dvc.lock" in subset.status()
    subset.run(f"set -e\n{AUTHOR}\n{COMMANDS['docs/recovery.md: A merge conflict in dvc.lock']}")
    assert subset.status() == ""
    assert subset.stages_run_by("dvc repro") == []
    merged = subset.params()
    assert merged["evaluate_prices"]["ridge_penalties"] == [1, 10]
    assert merged["train_binary"]["l1_penalties"] == [0]


def test_an_experiment_reaches_another_clone(houses: WorkingCopy, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    houses.run(f"git clone -q --bare . {origin} && git remote set-url origin {origin}")
    text = COMMANDS["docs/sharing.md: Share experiments"]
    there = text.index("dvc exp pull")
    houses.run(f"{AUTHOR}\n{REMOTE}{text[:there]}", HOME=str(tmp_path))
    other = other_clone(WorkingCopy(origin), tmp_path)
    other.run(f"set -e\n{AUTHOR}\n{text[there:]}", HOME=str(tmp_path))
    assert other.params()["evaluate_prices"]["ridge_penalties"] == [1, 10]
    assert other.stages_run_by("dvc repro") == []


def other_clone(copy: WorkingCopy, home: Path) -> WorkingCopy:
    """Returns a clone that has the same remote configured, which is in `home`."""
    copy.run(f"git clone -q . {home / 'other'}")
    other = WorkingCopy(home / "other")
    other.run(REMOTE, HOME=str(home))
    return other


def test_after_a_pull_another_clone_runs_nothing(subset: WorkingCopy, tmp_path: Path) -> None:
    subset.run(f"{REMOTE}dvc push --run-cache --remote shared", HOME=str(tmp_path))
    other = other_clone(subset, tmp_path)
    other.run("dvc pull --run-cache --remote shared", HOME=str(tmp_path))
    assert other.stages_run_by("dvc repro") == []
    assert other.status() == ""


def test_another_clone_rejects_a_file_that_was_changed_in_transit(houses: WorkingCopy, tmp_path: Path) -> None:
    houses.run(f"{REMOTE}dvc push --remote shared", HOME=str(tmp_path))
    stored = max((tmp_path / "dvc-shared").rglob("*"), key=lambda file: file.stat().st_size)
    stored.chmod(0o644)
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)
    stored.chmod(0o444)  # as DVC sets it; with any other mode it would verify the hash
    other = other_clone(houses, tmp_path)
    assert other.run("dvc pull --remote shared", check=False, HOME=str(tmp_path)).returncode != 0
