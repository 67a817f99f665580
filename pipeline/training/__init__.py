"""Training as a pure function: a job determines every byte of its result.

Each kind of examples has a module here whose `train` runs jobs that differ only in their seeds.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlp.errors import InputError, reading
from mlp.spec import Architecture, Epoch, Settings

if TYPE_CHECKING:
    from torch import nn

    from mlp.checkpoints import Normalisation
    from mlp.examples import Examples
    from mlp.training import Loss


class File(NamedTuple):
    path: str
    sha256: str


class Job(NamedTuple):
    """Everything that determines the bytes of a trained network, except the code."""

    kind: str  # a module of pipeline.training
    training: list[File]  # with the examples, concatenated in this order
    validation: File | None  # for the learning curve
    dataset: str  # its name in the network's file
    images: dict[str, Any] | None  # recorded in the file for the user's own data set, see `checkpoints.Images`
    architecture: Architecture
    settings: Settings
    seed: int


class Trained(NamedTuple):
    network: bytes  # content of its file, see `mlp.checkpoints`
    curve: list[Epoch]  # empty except for images
    first_epoch: list[float]  # loss of each step of the first epoch; empty except for images


class KilledError(Exception):
    """The process of a job was killed."""


Locate = Callable[[File], Path]  # returns the path of a file in a training process


def file(path: str) -> File:
    """Returns a file with its SHA-256. Raises InputError if it cannot be read."""
    with reading(Path(path)), Path(path).open("rb") as content:
        return File(path, hashlib.file_digest(content, "sha256").hexdigest())


def train_on(alike: list[Job], examples: "Examples", loss: "Loss") -> list[bytes]:
    """Trains jobs that need no learning curve."""
    from mlp.models import build
    from mlp.training import fit

    job, seeds = alike[0], [each.seed for each in alike]
    networks = fit(partial(build, job.architecture), examples, loss, job.settings, seeds, arrays=engine())
    return [pack(*each) for each in zip(alike, networks, strict=True)]


def pack(
    job: Job,
    network: "nn.Module",
    curve: Sequence[Epoch] = (),
    first_epoch: Sequence[float] = (),
    normalisation: "Normalisation | None" = None,
) -> bytes:
    """Returns the result of a job as bytes: a line of JSON, then the network's file."""
    from mlp import checkpoints

    settings = {key: value for key, value in job.settings._asdict().items() if value is not None}
    images = checkpoints.Images(**job.images) if job.images else None
    content = checkpoints.to_bytes(network, job.architecture, job.dataset, job.seed, settings, normalisation, images)
    return json.dumps([curve, first_epoch]).encode() + b"\n" + content


def unpack(content: bytes) -> Trained:
    line, _, network = content.partition(b"\n")
    curve, first_epoch = json.loads(line)
    return Trained(network, [Epoch(*point) for point in curve], first_epoch)


def engine() -> Any:
    """Returns the array backend: NumPy unless MLP_DEVICE names a PyTorch device. The choice affects no result."""
    from mlp.on_numpy import OnNumpy  # a process that only submits jobs need not wait for torch
    from mlp.on_torch import OnTorch

    device = os.environ.get("MLP_DEVICE")
    try:
        if not device:
            return OnNumpy()
        arrays = OnTorch(device)
        arrays.unstack(arrays.exp)  # some devices can be named but hold no data
        return arrays
    except (RuntimeError, TypeError, AssertionError, ImportError) as error:  # torch's message can have several lines
        reason = str(error).splitlines()[0]
        raise InputError(f"MLP_DEVICE is {device!r}; allowed: a PyTorch device, such as cuda ({reason})") from error
