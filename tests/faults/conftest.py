"""What the user sees of a working copy, before and after a fault."""

from conftest import WorkingCopy, different

OWN = {".git", ".dvc", ".venv", "store", "__pycache__"}  # internal files of DVC and other tools


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
