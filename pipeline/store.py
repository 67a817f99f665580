"""The store of trained networks: the result of each job, under the SHA-256 of everything that determines it.

It affects no result, so its place is set by an environment variable: MLP_STORE names a folder, or is `off`.
"""

import fcntl
import hashlib
import json
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from mlp.errors import InputError
from pipeline.files import atomic_output
from pipeline.imports import ROOT, modules
from pipeline.training import Job

LIBRARIES = ("numpy", "pydantic", "safetensors", "torch")  # that affect the bytes of a network's file


def key(job: Job) -> str:
    """Returns the name of a job's result: the SHA-256 of everything that determines it, and of nothing else."""
    files = [each and each.sha256 for each in (*job.training, job.validation)]
    content = job._replace(training=[], validation=None)._asdict() | {"files": files, "code": code(job.kind)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@cache
def code(kind: str) -> str:
    """Returns the SHA-256 of the code that trains a kind of job: this repository's modules, and library versions."""
    sources = {path: (ROOT / path).read_text(encoding="utf-8") for path in modules(f"pipeline.training.{kind}")}
    versions = {name: version(name) for name in LIBRARIES}
    return hashlib.sha256(json.dumps([sources, versions], sort_keys=True).encode()).hexdigest()


class Store:
    """A folder that any number of processes can share. If it is off, nothing is found and nothing is kept."""

    def __init__(self) -> None:
        name = os.environ.get("MLP_STORE", str(_clone() / "store"))
        if not name:
            raise InputError("MLP_STORE is ''; allowed: a folder, or off")
        self.folder = None if name.lower() == "off" else Path(name)
        if self.folder and self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"MLP_STORE is {name!r}, which is not a folder; allowed: a folder, or off")
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.claims = (self.folder / "claims").open("wb")

    def get(self, name: str) -> bytes | None:
        if not self.folder:
            return None
        path = self._path(name)
        try:
            digest, _, content = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        if digest.decode(errors="replace") != _digest(name, content):
            tqdm.write(f"{path}: damaged, or not what its name says; this network is trained again")
            return None
        return content

    def put(self, name: str, content: bytes) -> None:
        """Writes a result completely or not at all, even if the machine crashes, then releases the claim."""
        if self.folder:
            with atomic_output(self._path(name)) as path, path.open("wb") as file:
                file.write(_digest(name, content).encode() + b"\n" + content)
                file.flush()
                os.fsync(file.fileno())
            self.release(name)

    def claim(self, name: str) -> bool:
        """Claims a network for training by this process. Returns False if another live process has claimed it."""
        if not self.folder:
            return True
        try:
            fcntl.lockf(self.claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _lock_offset(name))
        except BlockingIOError:
            return False
        return True

    def release(self, name: str) -> None:
        if self.folder:
            fcntl.lockf(self.claims, fcntl.LOCK_UN, 1, _lock_offset(name))

    def _path(self, name: str) -> Path:
        assert self.folder
        return self.folder / name[:2] / name


def _lock_offset(name: str) -> int:
    """Returns a network's offset in the claims file: a lock there ends with its process and needs no extra file."""
    return int(name[:15], 16)


def _digest(name: str, content: bytes) -> str:
    return hashlib.sha256(name.encode() + content).hexdigest()


def _clone() -> Path:
    """Returns the folder of the clone; an experiment from DVC's queue runs in a copy below the clone's .dvc/tmp."""
    here = Path.cwd()
    return next((parent.parents[2] for parent in here.parents if parent.parts[-3:] == (".dvc", "tmp", "exps")), here)
