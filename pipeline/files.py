"""Writes files and folders completely or not at all, and reports what is wrong with a file that it reads."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psutil
from pydantic import BaseModel

from mlp.errors import reading

Model = TypeVar("Model", bound=BaseModel)


@contextmanager
def atomic_output(output: Path) -> Iterator[Path]:
    """Yields a path at which to create a file or folder, and renames it to `output` if the block succeeds.

    If the block fails, nothing is left behind. Raises an OSError that names `output` if it cannot be written, for
    example on a full disk. `remove_unfinished` removes what a killed process leaves.
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
    """Removes the unfinished outputs of killed processes. Called before this process writes any."""
    for pattern in (".*.unfinished", "*/.*.unfinished", "*/*/.*.unfinished"):
        for path in Path().glob(pattern):
            number = path.name.split(".")[-2]
            # after a restart of a container, this process can have the number of the one that was killed
            if number.isdecimal() and (int(number) == os.getpid() or not _is_alive(int(number))):
                _remove(path)


def write_texts(texts: Mapping[str, str]) -> None:
    """Writes text files; existing ones are replaced only after all have been written."""
    with ExitStack() as unfinished:
        for output, text in texts.items():
            path = unfinished.enter_context(atomic_output(Path(output)))
            path.write_text(text, encoding="utf-8", newline="\n")


def json_text(content: object) -> str:
    """Returns indented JSON. Raises ValueError for NaN or infinity, which JSON cannot represent."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def read_json(schema: type[Model], path: Path) -> Model:
    """Reads a schema from a file that a stage wrote. Raises InputError if the file is missing or damaged."""
    with reading(path):
        return schema.model_validate_json(path.read_bytes())


def by_seed(folder: Path, seeds: Sequence[int]) -> list[Path]:
    """Returns the path of each seed's network. Raises InputError unless the folder holds exactly these files."""
    with reading(folder):
        there, needed = {path.name for path in folder.iterdir()}, [f"seed-{seed}.safetensors" for seed in seeds]
        wrong = [f"{name} is missing" for name in needed if name not in there]
        wrong += [f"{name} is none of params.yaml's seeds" for name in sorted(there - set(needed))]
        if wrong:
            raise ValueError(wrong[0])
    return [folder / name for name in needed]


def _is_alive(number: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()
