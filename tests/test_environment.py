"""What is installed is what requirements.lock says, and the pipeline depends on it."""

import re
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import ROOT

LOCKS = [ROOT / f"requirements{extra}.lock" for extra in ("", "-dev", "-cluster", "-remotes", "-bench")]


def locked(text: str) -> dict[str, str]:
    """Name and version of each package that a requirements file asks for on this platform."""
    requirements = [Requirement(line) for line in re.findall(r"^[\w.-]+==[^#\\\n]+", text, re.MULTILINE)]
    return {
        canonicalize_name(each.name): str(each.specifier).removeprefix("==")
        for each in requirements
        if not each.marker or each.marker.evaluate()
    }


def test_what_is_locked_is_installed() -> None:
    """Beside it users may install what they like."""
    installed = {canonicalize_name(each.name): each.version.partition("+")[0] for each in distributions()}
    for lock in LOCKS[:2]:
        assert locked(lock.read_text()).items() <= installed.items()


def test_no_two_lock_files_have_different_versions_of_a_package() -> None:
    versions = [item for lock in LOCKS for item in locked(lock.read_text()).items()]
    assert len(set(versions)) == len(dict(versions))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_is_locked_with_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert len(locked(text)) >= len(locked(lock.with_suffix(".txt").read_text()))
    for package in re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", package), package
    assert "://" not in text
    assert "index" not in text


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_the_lock_is_made_from_the_direct_pins(lock: Path) -> None:
    versions = locked(lock.read_text(encoding="utf-8"))
    pins = locked(lock.with_suffix(".txt").read_text())
    assert pins
    assert pins.items() <= versions.items()


def test_a_new_version_of_anything_reruns_every_stage_that_computes() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert {name for name, stage in stages.items() if "requirements.lock" not in stage["deps"]} == {
        "check_params",
        "download",
    }
