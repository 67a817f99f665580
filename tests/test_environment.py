"""The installed packages are those in requirements.lock, and the pipeline depends on it."""

import re
from importlib.metadata import PackageNotFoundError, distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import ROOT

LOCKS = [ROOT / f"requirements{extra}.lock" for extra in ("", "-dev", "-cluster", "-remotes", "-bench")]


def pinned(text: str) -> list[Requirement]:
    """Returns the pinned requirements of a file that apply to this platform."""
    lines = re.findall(r"^[\w.-]+(?:\[[\w, -]+\])?==[^#\\\n]+", text, re.MULTILINE)
    return [each for each in map(Requirement, lines) if not each.marker or each.marker.evaluate()]


def locked(text: str) -> dict[str, str]:
    """Returns the version of each package that a requirements file pins on this platform, by name."""
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in pinned(text)}


def test_the_locked_versions_are_installed() -> None:
    """Users may install other packages as well."""
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
    for package in re.split(r"^(?=[\w.-]+(?:\[.*\])?==)", text, flags=re.MULTILINE)[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", package), package
    assert "://" not in text
    assert "index" not in text


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_the_lock_files_come_from_the_direct_pins(lock: Path) -> None:
    versions = locked(lock.read_text(encoding="utf-8"))
    pins = locked(lock.with_suffix(".txt").read_text())
    assert pins
    assert pins.items() <= versions.items()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_extras_are_locked_with_their_package(lock: Path) -> None:
    """Otherwise pip considers releases newer than the lock for `package[extra]`, and refuses to install them."""
    extras = {canonicalize_name(each.name): each.extras for each in pinned(lock.read_text(encoding="utf-8"))}
    for name in extras:
        try:
            needs = [Requirement(each) for each in requires(name) or []]
        except PackageNotFoundError:  # its lock file is not installed
            continue
        for need in needs:
            if not need.marker or any(need.marker.evaluate({"extra": each}) for each in extras[name] | {""}):
                assert need.extras <= extras.get(canonicalize_name(need.name), need.extras), f"{name}: {need}"


def test_a_new_version_of_anything_reruns_every_stage_that_computes() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert {name for name, stage in stages.items() if "requirements.lock" not in stage["deps"]} == {
        "check_params",
        "download",
    }
