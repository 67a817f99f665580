"""README.md shows what the pipeline wrote, and its commands work."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from conftest import ENVIRONMENT, ROOT, WorkingCopy, clone, with_environment
from tools.documents import AFTER, BEFORE, DOCUMENTS, HISTORY, blocks, fill, history_picture

README = (ROOT / "README.md").read_text()
COMMANDS = "".join(re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))

REMOTE = "\n".join(["set -e", *re.findall(r"^dvc remote .*$", COMMANDS, re.MULTILINE), ""])


def other_clone(copy: WorkingCopy, home: Path) -> WorkingCopy:
    """A clone that knows the same remote, which lies in `home`."""
    copy.run(f"git clone -q . {home / 'other'}")
    other = WorkingCopy(home / "other")
    other.run(REMOTE, HOME=str(home))
    return other


def test_the_documents_show_what_the_pipeline_and_the_history_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", ENVIRONMENT["PATH"])
    copy = clone(tmp_path / "copy")
    content = blocks(copy.path)
    for document in DOCUMENTS:
        assert fill((ROOT / document).read_text(), content) == (ROOT / document).read_text()
    assert history_picture(copy.path) == (ROOT / "docs/history.svg").read_text()


def test_every_command_works_in_the_order_of_the_text(subset: WorkingCopy, tmp_path: Path) -> None:
    with_environment(subset)
    (tmp_path / "pictures").mkdir()
    for picture in ("some.png", "pictures/other.png"):
        Image.linear_gradient("L").save(tmp_path / picture)
    assert "make test" in COMMANDS
    commands = re.sub(r"^make test.*\n", "", COMMANDS, flags=re.MULTILINE)  # that is what runs this
    author = "export GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@localhost"
    done = subset.run(f"set -e\n{author}\n{commands}", HOME=str(tmp_path))
    assert "deep.accuracy.mean" in done.stdout
    assert (tmp_path / "predicted.csv").read_text().startswith("file,class,0,1,")
    assert subset.status() == ""


@pytest.mark.parametrize("document", ["README.md", "docs/comparison.md", "docs/reproducibility.md", "docs/sharing.md"])
def test_every_make_command_of_a_document_is_there(document: str) -> None:
    """Those that take long are run in part by tests of their own: test_verify, test_benchmark, remotes."""
    targets = set(re.findall(r"(?:^|`)make ([\w./-]+)", (ROOT / document).read_text(), re.MULTILINE))
    assert targets
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_after_a_pull_another_clone_runs_nothing(subset: WorkingCopy, tmp_path: Path) -> None:
    subset.run(f"{REMOTE}dvc push --run-cache --remote shared", HOME=str(tmp_path))
    other = other_clone(subset, tmp_path)
    other.run("dvc pull --run-cache --remote shared", HOME=str(tmp_path))
    assert other.stages_run_by("dvc repro") == []
    assert other.status() == ""


def test_another_clone_refuses_a_file_that_was_changed_on_the_way(subset: WorkingCopy, tmp_path: Path) -> None:
    subset.run(f"{REMOTE}dvc push --remote shared", HOME=str(tmp_path))
    stored = max((tmp_path / "dvc-shared").rglob("*"), key=lambda file: file.stat().st_size)
    stored.chmod(0o644)
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)
    stored.chmod(0o444)  # what DVC itself leaves; any other mode makes it look twice
    other = other_clone(subset, tmp_path)
    assert other.run("dvc pull --remote shared", check=False, HOME=str(tmp_path)).returncode != 0


def workflow_steps(job: str) -> list[str]:
    """The commands of the workflow that run in a shell."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    return [step["run"] for step in workflow["jobs"][job]["steps"] if "run" in step]


def test_the_workflow_and_the_commands_of_the_history_show_what_a_commit_changed(
    subset: WorkingCopy, tmp_path: Path
) -> None:
    with_environment(subset)
    reproduce, prove, show = workflow_steps("reproduce")
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
    params, metrics, experiments = (
        subset.run(command.replace(BEFORE, "HEAD~1").replace(AFTER, "HEAD")).stdout for command in HISTORY
    )
    assert "[40, 20]" in params
    assert "deep.accuracy.mean" in metrics
    assert "[40, 20]" in experiments
    assert "[80, 40, 20]" in experiments


@pytest.mark.parametrize("file", ["metrics/evaluation.json", "dvc.lock"])
def test_the_workflow_fails_where_the_rebuild_is_not_what_was_committed(file: str, subset: WorkingCopy) -> None:
    _, prove, _ = workflow_steps("reproduce")
    with (subset.path / file).open("a") as opened:
        opened.write("\n")
    done = subset.run(prove, check=False)
    assert done.returncode == 1
    assert file in done.stdout


def test_the_workflow_runs_the_tests_as_this_repository_says() -> None:
    assert workflow_steps("test") == [".ci/run"]


def test_the_workflow_is_safe() -> None:
    """It reads and no more, every action is pinned by commit, and zizmor finds nothing."""
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow["jobs"].values())
    actions = re.findall(r"uses: (.*)", text)
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", action) for action in actions)
    done = subprocess.run(["zizmor", "--offline", ".github"], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


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
