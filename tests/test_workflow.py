"""Runs the steps of the CI workflow."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from conftest import ENVIRONMENT, ROOT, WorkingCopy, with_environment
from tools.documents import history


def workflow_steps(job: str) -> list[str]:
    """Returns the shell commands of a job of the workflow."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    return [step["run"] for step in workflow["jobs"][job]["steps"] if "run" in step]


def test_the_workflow_and_the_commands_of_the_history_show_what_a_commit_changed(
    subset: WorkingCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_environment(subset)
    _, reproduce, prove, show = workflow_steps("reproduce")
    assert reproduce == "make repro"
    subset.edit_params(hidden=[40, 20])
    assert subset.stages_run_by("dvc repro") == ["train_deep", "evaluate", "lecture", "report"]
    subset.commit("Smaller")
    subset.run(prove)
    subset.run(show, GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))
    summary = (tmp_path / "summary.md").read_text()
    assert "deep.accuracy.mean" in summary
    assert "[40, 20]" in summary
    pipeline = yaml.safe_load((subset.path / "dvc.yaml").read_text())
    of_stages = [plot for stage in pipeline["stages"].values() for plot in stage.get("plots", [])]
    page = (subset.path / "dvc_plots/index.html").read_text()
    assert page.count("vegaEmbed(") == len(pipeline["plots"]) + len(of_stages)
    monkeypatch.chdir(subset.path)
    monkeypatch.setenv("PATH", ENVIRONMENT["PATH"])
    shown = history("HEAD~1", "HEAD")
    assert "[80, 40, 20]" in shown
    assert "[40, 20]" in shown
    assert "deep.accuracy.mean" in shown


@pytest.mark.parametrize("file", ["metrics/evaluation.json", "dvc.lock"])
def test_the_workflow_fails_where_the_rebuild_is_not_what_was_committed(file: str, subset: WorkingCopy) -> None:
    *_, prove, _ = workflow_steps("reproduce")
    with (subset.path / file).open("a") as opened:
        opened.write("\n")
    done = subset.run(prove, check=False)
    assert done.returncode == 1
    assert file in done.stdout


def test_the_workflow_runs_the_repositorys_own_ci_script() -> None:
    assert workflow_steps("test") == [".ci/run"]


def test_the_workflow_is_safe() -> None:
    """It has read access only, pins every action by commit, and passes zizmor."""
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow["jobs"].values())
    actions = re.findall(r"uses: (.*)", text)
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", action) for action in actions)
    done = subprocess.run(["zizmor", "--offline", ".github"], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
