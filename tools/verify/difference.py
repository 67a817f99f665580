"""Finds where two builds of the same commit differ, and by how much."""

import subprocess
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from ruamel.yaml import YAML
from safetensors.numpy import load_file


def of_builds(repository: Path, rebuilt: Path) -> str | None:
    """Describes the first pipeline output in which a rebuilt clone differs from its repository, or returns None.

    dvc.lock and all files in git must have the same bytes. As the lock holds the hash of every output, an output is
    read only if its hash differs. If none does, the description lists the changed files in git.
    """
    changed = subprocess.check_output(["git", "status", "--porcelain"], cwd=rebuilt, encoding="utf-8")
    if not changed:
        return None
    stages, again = (YAML(typ="safe").load(root / "dvc.lock")["stages"] for root in (repository, rebuilt))
    for stage, lock in stages.items():
        for before, after in zip(lock["outs"], again[stage]["outs"], strict=True):
            if before != after:
                path = Path(before["path"])
                return f"{path}: {of_paths(repository / path, rebuilt / path) or 'differs from its hash in dvc.lock'}"
    return ", ".join(line.strip() for line in changed.splitlines())


def of_paths(one: Path, other: Path) -> str | None:
    """Describes the first difference between two files or folders, or returns None."""
    if one.is_dir() and other.is_dir():
        names = [{str(path.relative_to(root)) for path in root.rglob("*")} for root in (one, other)]
        for name in sorted(names[0] | names[1]):
            found = None if (one / name).is_dir() else of_paths(one / name, other / name)
            if found:
                return f"{name}: {found}"
        return None
    if not (one.exists() and other.exists()):
        return f"only in {other.parent if other.exists() else one.parent}"
    before, after = one.read_bytes(), other.read_bytes()
    if before == after:
        return None
    if one.suffix == ".safetensors":
        return of_tensors(load_file(one), load_file(other)) or "other metadata"
    lines = zip(before.decode(errors="replace").splitlines(), after.decode(errors="replace").splitlines(), strict=False)
    for number, (old, new) in enumerate(lines, start=1):
        if old != new:
            return f"line {number} is {new!r}; it was {old!r}"
    return "of another length"


def of_tensors(before: dict[str, NDArray[Any]], after: dict[str, NDArray[Any]]) -> str | None:
    """Describes the first tensor, by name, that is missing or not bit-identical, or returns None."""
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after:
            return f"tensor {name} is missing in one"
        one, other = before[name], after[name]
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            return f"tensor {name} is of another shape or type"
        if one.tobytes() != other.tobytes():
            differences = abs(one.astype(float) - other.astype(float))
            count = int((differences > 0).sum())
            if not count:
                return f"tensor {name} differs in the sign of a zero or in what is not a number"
            return f"tensor {name} differs in {count} of {one.size} numbers, by {differences.max():.1e} at most"
    return None
