"""Files and folders: written completely or not at all, and read with a word on what is wrong with them."""

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


def write_texts(texts: Mapping[str, str]) -> None:
    """Writes files, and replaces none before all are written."""
    with ExitStack() as unfinished:
        for output, text in texts.items():
            path = unfinished.enter_context(atomic_output(Path(output)))
            path.write_text(text, encoding="utf-8", newline="\n")


def json_text(content: object) -> str:
    """Raises ValueError for a NaN or an infinity, which JSON does not have."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def read_json(schema: type[Model], path: Path) -> Model:
    """What a schema names from a file that a stage wrote. Raises InputError where it is not there."""
    with reading(path):
        return schema.model_validate_json(path.read_bytes())


def by_seed(folder: Path, seeds: Sequence[int]) -> list[Path]:
    """The networks in a folder. Raises InputError where it has not one for each seed, and nothing else."""
    with reading(folder):
        there, needed = {path.name for path in folder.iterdir()}, [f"seed-{seed}.safetensors" for seed in seeds]
        wrong = [f"{name} is missing" for name in needed if name not in there]
        wrong += [f"{name} is none of params.yaml's seeds" for name in sorted(there - set(needed))]
        if wrong:
            raise ValueError(wrong[0])
    return [folder / name for name in needed]


def _lives(number: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()
