"""A fast pipeline for tests that run it often: house prices only."""

import os
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from conftest import WorkingCopy, clone, different, with_environment

STAGES = ["check_params", "preprocess_prices", "train_prices", "evaluate_prices"]
OWN = {".git", ".dvc", ".venv", "store", "__pycache__"}  # internal files of DVC and other tools


@pytest.fixture(scope="session")
def houses_template(tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # shared by all processes that run tests
    with FileLock(folder / "houses.lock"):
        if not (folder / "houses").exists():
            copy = clone(folder / "unfinished_houses")
            with_environment(copy)
            pipeline = yaml.safe_load((copy.path / "dvc.yaml").read_text(encoding="utf-8"))
            stages = {name: pipeline["stages"][name] for name in STAGES}
            (copy.path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
            copy.edit_params(seeds=[0], train_prices=copy.params()["train_prices"] | {"epochs": 2})
            (copy.path / "dvc.lock").unlink()
            copy.run("dvc repro")
            copy.commit("House prices")
            copy.run("git gc -q")  # each test copies it
            copy.path.rename(folder / "houses")
    return WorkingCopy(folder / "houses")


@pytest.fixture
def houses(houses_template: WorkingCopy, tmp_path: Path) -> WorkingCopy:
    """A copy of the house prices' pipeline, run with one seed and two epochs, that the test may change."""
    return houses_template.copied(tmp_path / "copy")


def files(copy: WorkingCopy) -> dict[str, bytes]:
    """Returns the content of each file that a user sees, by path; folders are empty."""
    return {
        str(path.relative_to(copy.path)): path.read_bytes() if path.is_file() else b""
        for top in copy.path.iterdir()
        if top.name not in OWN
        for path in (top.rglob("*") if top.is_dir() else [top])
        if not OWN & set(path.parts)
    }


def changed(before: dict[str, bytes], copy: WorkingCopy) -> list[str]:
    """Returns the paths whose content differs from `before`."""
    return different(before, files(copy))
