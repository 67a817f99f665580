"""Files and folders that are written completely or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


@contextmanager
def atomic_output(output: Path) -> Iterator[Path]:
    """Yields a path at which to make a file or folder, which is renamed to `output` if the block succeeds.

    If it fails, nothing is left. Raises OSError that names `output` where it cannot be written, as on a full disk. What
    a killed process leaves is for `remove_unfinished`.
    """
    path = output.with_name(f".{output.name}.{os.getpid()}.unfinished")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        yield path
        _remove(output)
        path.rename(output)
    except OSError as error:
        if error.errno is None or (error.filename and not str(error.filename).startswith(str(path))):
            raise
        raise OSError(error.errno, error.strerror, str(output)) from error
    finally:
        _remove(path)


def remove_unfinished() -> None:
    """Removes from the folders of outputs what killed processes were making there."""
    for pattern in (".*.unfinished", "*/.*.unfinished", "*/*/.*.unfinished"):
        for path in Path().glob(pattern):
            number = path.name.split(".")[-2]
            if number.isdecimal() and not _lives(int(number)):
                _remove(path)


def write_text(output: Path, text: str) -> None:
    with atomic_output(output) as path:
        path.write_text(text, encoding="utf-8", newline="\n")


def write_json(output: Path, content: object) -> None:
    """Raises ValueError for a NaN or an infinity, which JSON does not have."""
    write_text(output, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _lives(number: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
