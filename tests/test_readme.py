"""Checks that the documents show what the pipeline wrote, and that their commands work."""

import os
import re
import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

from conftest import ENVIRONMENT, IMAGES, ROOT, WorkingCopy, clone, finish_queue, keep_stages, stored, with_environment
from tools.documents import AFTER, BEFORE, HISTORY, PICTURE, exists, history, history_picture

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
REMOTES = "tests/remotes"
ELSEWHERE = {  # sections that the test of every command omits, and what runs their commands
    "README.md: Shallow or deep?": "make repro: the last test; make test: runs this",
    "README.md: Check that it is reproducible": "tests/test_verify.py",
    "docs/recovery.md: A merge conflict in dvc.lock": "tests/test_sharing.py",
    "docs/reproducibility.md: How it is tested": "tests/test_verify.py",
    "docs/scaling.md: A cluster": "tests/cluster",
    "docs/scaling.md: The store": "tests/test_verify.py",
    "docs/sharing.md: A folder": REMOTES,
    "docs/sharing.md: A machine that you reach by SSH": REMOTES,
    "docs/sharing.md: SSH over a network that you do not trust": REMOTES,
    "docs/sharing.md: An S3 bucket": REMOTES,
    "docs/sharing.md: Push": REMOTES,
    "docs/sharing.md: Pull": REMOTES,
    "docs/sharing.md: Share experiments": "tests/test_sharing.py",
}
AUTHOR = "export GIT_{AUTHOR,COMMITTER}_NAME=test GIT_{AUTHOR,COMMITTER}_EMAIL=test@localhost"


def commands(page: str) -> dict[str, str]:
    """Returns the shell commands of each section that has any, keyed by page and heading."""
    sections = re.split(r"^##? (.*)\n", (ROOT / page).read_text(), flags=re.MULTILINE)
    found = {
        f"{page}: {heading}": "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
        for heading, text in zip(sections[1::2], sections[2::2], strict=True)
    }
    return {section: text for section, text in found.items() if text}


COMMANDS = {section: text for page in PAGES for section, text in commands(page).items()}
EXPERIMENT = COMMANDS["README.md: Run your own experiment"]
# the second command waits forever if its worker has died, see docs/recovery.md
((QUEUE, RUN_ALL),) = re.findall(r"^(dvc exp run --queue .*\n)(dvc exp run --run-all)\n", EXPERIMENT, re.MULTILINE)


@pytest.fixture
def shallow_clone(tmp_path: Path) -> WorkingCopy:
    """Clones without the commits that docs/history.md shows."""
    copy = clone(tmp_path / "copy")
    copy.run(f"git clone -q --depth 1 file://{copy.path} {tmp_path / 'shallow'}")
    return WorkingCopy(tmp_path / "shallow")


def test_the_documents_are_what_make_documents_renders(shallow_clone: WorkingCopy) -> None:
    done = shallow_clone.run("python -m tools.documents")
    assert f"docs/history.md: left as it is, since this clone lacks the commits {BEFORE}, {AFTER}" in done.stdout
    assert shallow_clone.status() == "", "run make documents"


@pytest.mark.slow
def test_the_page_of_a_commit_is_what_make_documents_renders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = clone(tmp_path / "copy")
    monkeypatch.chdir(copy.path)
    if not (exists(BEFORE) and exists(AFTER)):
        pytest.skip(f"this clone lacks the commits {BEFORE} and {AFTER}, which docs/history.md shows")
    monkeypatch.setenv("PATH", ENVIRONMENT["PATH"])
    assert history(BEFORE, AFTER) == HISTORY.read_text()
    assert history_picture(BEFORE, AFTER) == PICTURE.read_text()


def test_the_readme_states_only_statistical_power_that_was_measured(shallow_clone: WorkingCopy) -> None:
    path = shallow_clone.path / "metrics/networks.csv"
    networks = pd.read_csv(path)
    pd.concat([networks, networks[networks.seed == 0].assign(seed=99)]).to_csv(path, index=False)
    shallow_clone.run("python -m tools.documents")
    text = (shallow_clone.path / "README.md").read_text()
    assert f"over {networks.seed.nunique() + 1} seeds" in text
    assert "power to detect" not in text


def test_every_command_works_in_the_order_of_the_text(subset: WorkingCopy, tmp_path: Path) -> None:
    with_environment(subset)
    (tmp_path / "pictures").mkdir()
    for picture in ("some.png", "pictures/other.png"):
        Image.linear_gradient("L").save(tmp_path / picture)
    assert ELSEWHERE.keys() <= COMMANDS.keys()
    here = {section: text for section, text in COMMANDS.items() if section not in ELSEWHERE}
    if not exists(BEFORE):
        del here["docs/history.md: What a commit changed"]
    run, begin = partial(subset.run, HOME=str(tmp_path)), f"set -e\n{AUTHOR}\n"
    back = "rm -f data/my_houses.xlsx; git diff --quiet || { git restore . && dvc checkout -q; }"
    for text in here.values():
        subset.run("cp data/ames/AmesHousing.xlsx data/my_houses.xlsx")  # used by the documents
        run(f"{begin}{text.replace(QUEUE + RUN_ALL, '')}{back}")  # the queue has a test of its own
    assert (tmp_path / "predicted.csv").read_text().startswith("file,class,0,1,")
    assert subset.status() == ""


def test_the_queue_of_the_readme_trains_what_its_experiments_share_only_once(subset: WorkingCopy) -> None:
    """Three experiments with two seeds, two at a time, need two shallow and 3 x 2 deep networks."""
    keep_stages(subset, ["check_params", *IMAGES[: IMAGES.index("evaluate") + 1]])
    subset.edit_params(train_shallow=subset.params()["train_shallow"] | {"learning_rate": 0.002})
    subset.commit("Another learning rate of the shallow network")
    before = stored(subset.path)
    subset.run(f"{QUEUE}timeout --signal INT 500 {RUN_ALL} --jobs 2 || true")
    finish_queue(subset)
    status = subset.run("dvc queue status").stdout
    assert status.count("Success") == 3, status
    assert len(stored(subset.path).keys() - before) == 2 + 3 * 2


@pytest.mark.parametrize("page", PAGES)
def test_every_make_command_in_a_document_exists(page: str) -> None:
    for target in set(re.findall(r"(?:^|`)make ([\w-]+)", (ROOT / page).read_text(), re.MULTILINE)):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_in_a_document_leads_to_a_file_and_heading(page: str) -> None:
    for target, heading in re.findall(r"\]\((?!https:)([^)#]+)#?([^)]*)\)", (ROOT / page).read_text()):
        file = (ROOT / page).parent / target
        assert file.exists(), target
        headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE) if heading else [""]
        assert heading in [each.lower().replace(" ", "-") for each in headings], heading


def test_the_data_flow_diagram_is_that_of_dvc_yaml() -> None:
    """Arrows that others imply may be missing."""
    drawing = re.findall(r"^  (\w.*-->.*)$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    chains = [[step.split(" & ") for step in line.split(" --> ")] for line in drawing]
    drawn = {(a, b) for chain in chains for before, after in pairwise(chain) for a in before for b in after}
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    made_by = {path: name for name, stage in stages.items() for path in outputs(stage)}
    real = {(made_by[path], name) for name, stage in stages.items() for path in stage["deps"] if path in made_by}
    assert drawn <= real, "docs/architecture.md draws arrows that are not among the dependencies in dvc.yaml"
    assert implied_by(drawn) == implied_by(real), "draw new stages and their arrows in docs/architecture.md"


def outputs(stage: dict[str, list[str | dict[str, object]]]) -> list[str]:
    listed = [each for kind in ("outs", "metrics", "plots") for each in stage.get(kind, [])]
    return [path for each in listed for path in ([each] if isinstance(each, str) else each)]


def implied_by(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Returns all pairs of stages whose second needs the first, directly or indirectly."""
    more = arrows | {(a, d) for a, b in arrows for c, d in arrows if b == c}
    return arrows if more == arrows else implied_by(more)


def test_make_rejects_an_old_python_in_one_line(tmp_path: Path) -> None:
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
