"""Files and folders: written completely or not at all, and read with a word on what is wrong with them."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from mlp.errors import reading

Model = TypeVar("Model", bound=BaseModel)


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


def write_texts(texts: Mapping[str, str]) -> None:
    """Writes files, all of them or none."""
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


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
