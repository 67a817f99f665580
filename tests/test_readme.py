"""README.md shows what the pipeline wrote, and its commands work."""

import os
import re
import sys
from pathlib import Path

import yaml

from conftest import ROOT, WorkingCopy, clone
from docs.readme import fill

README = (ROOT / "README.md").read_text()
COMMANDS = "".join(re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))

REMOTE = "\n".join(["set -e", *re.findall(r"^dvc remote .*$", COMMANDS, re.MULTILINE), ""])


def other_clone(copy: WorkingCopy, home: Path) -> WorkingCopy:
    """A clone that knows the same remote, which lies in `home`."""
    copy.run(f"git clone -q . {home / 'other'}")
    other = WorkingCopy(home / "other")
    other.run(REMOTE, HOME=str(home))
    return other


def with_environment(copy: WorkingCopy) -> None:
    """Gives a copy the environment that runs these tests, as if its Makefile had made it."""
    (copy.path / ".venv").mkdir()
    (copy.path / ".venv/bin").symlink_to(Path(sys.executable).parent)
    (copy.path / ".venv/installed").touch()


def test_the_graph_and_the_results_are_those_of_the_pipeline(tmp_path: Path) -> None:
    graph = clone(tmp_path / "copy").run("dvc dag --mermaid").stdout
    assert fill(README, graph, ROOT / "metrics") == README


def test_every_command_works_in_the_order_of_the_text(subset: WorkingCopy, tmp_path: Path) -> None:
    with_environment(subset)
    assert "make test" in COMMANDS
    commands = re.sub(r"^make test.*\n", "", COMMANDS, flags=re.MULTILINE)  # that is what runs this
    done = subset.run(f"set -e\n{commands}", HOME=str(tmp_path))
    assert "deep.accuracy.mean" in done.stdout
    assert subset.status() == ""


def test_after_a_pull_another_clone_runs_nothing(subset: WorkingCopy, tmp_path: Path) -> None:
    subset.run(f"{REMOTE}dvc push --run-cache", HOME=str(tmp_path))
    other = other_clone(subset, tmp_path)
    other.run("dvc pull --run-cache", HOME=str(tmp_path))
    assert other.stages_run_by("dvc repro") == []
    assert other.status() == ""


def test_another_clone_refuses_a_file_that_was_changed_on_the_way(subset: WorkingCopy, tmp_path: Path) -> None:
    subset.run(f"{REMOTE}dvc push", HOME=str(tmp_path))
    stored = max((tmp_path / "dvc-shared").rglob("*"), key=lambda file: file.stat().st_size)
    stored.chmod(0o644)
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)
    other = other_clone(subset, tmp_path)
    assert other.run("dvc pull", check=False, HOME=str(tmp_path)).returncode != 0


def test_the_workflow_shows_the_metrics_against_main(subset: WorkingCopy, tmp_path: Path) -> None:
    with_environment(subset)
    subset.run("git update-ref refs/remotes/origin/main HEAD~1")  # there the metrics are those of all images
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    test, summary = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    subset.run(summary, GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))
    assert test == "make test"
    assert "deep.accuracy.mean" in (tmp_path / "summary.md").read_text()


def test_make_refuses_an_old_python_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text(
        f"#!{sys.executable}\nimport sys\nfrom collections import namedtuple\n"
        "sys.version_info = namedtuple('V', 'major minor micro')(3, 9, 2)\nexec(sys.argv[2])\n"
    )
    old.chmod(0o755)
    copy = clone(tmp_path / "copy")
    done = copy.run(f"make repro PYTHON={old}", check=False, MAKEFLAGS="")
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == (
        f"{old} is Python 3.9; needed: 3.11 or newer, as in: make repro PYTHON=python3.12"
    )
    assert not (copy.path / ".venv").exists()


def test_the_makefile_finds_its_own_environment_first(subset: WorkingCopy) -> None:
    with_environment(subset)
    done = subset.run("make repro", PATH=f"/usr/bin{os.pathsep}/bin", MAKEFLAGS="")
    assert "Data and pipelines are up to date" in done.stdout
