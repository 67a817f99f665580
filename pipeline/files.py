"""Files and folders that are written completely or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_output(output: Path) -> Iterator[Path]:
    """Yields a path at which to make a file or folder, which is renamed to `output` if the block succeeds.

    If it fails, nothing is left. A killed run leaves its unfinished path behind; the next run removes it first, so that
    a process that outlived its DVC cannot finish beside the new one.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    for unfinished in output.parent.glob(f".{output.name}.*"):
        _remove(unfinished)
    path = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        yield path
        _remove(output)
        path.rename(output)
    finally:
        _remove(path)


def write_text(output: Path, text: str) -> None:
    with atomic_output(output) as path:
        path.write_text(text, encoding="utf-8", newline="\n")


def write_json(output: Path, content: object) -> None:
    """Raises ValueError for a NaN or an infinity, which JSON does not have."""
    write_text(output, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
