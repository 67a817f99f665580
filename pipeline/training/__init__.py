"""Training as a pure function: what determines a network, and what comes out of it.

Each kind of examples has a module here whose `train` computes jobs that are alike but for their seeds.
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
    """All that determines the bytes of a trained network, beside the code."""

    kind: str  # a module of pipeline.training
    training: list[File]  # with the examples, one after the other
    validation: File | None  # for the learning curve
    dataset: str  # as the network's file names it
    images: dict[str, Any] | None  # what the file says of a data set of one's own, see `checkpoints.Images`
    architecture: Architecture
    settings: Settings
    seed: int


class Trained(NamedTuple):
    network: bytes  # its file, see `mlp.checkpoints`
    curve: list[Epoch]  # of images
    first_epoch: list[float]  # loss of each step of the first epoch, of images


class KilledError(Exception):
    """The process of a job was killed."""


Locate = Callable[[File], Path]  # where a process that trains has a file


def file(path: str) -> File:
    """Raises InputError where it cannot be read."""
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
    """What comes out of a job, as bytes: a line of JSON, then the network's file."""
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
    """What computes. It changes no result, so it comes from the environment: MLP_DEVICE as torch names devices."""
    from mlp.on_numpy import OnNumpy  # a process that only hands out work need not wait for torch
    from mlp.on_torch import OnTorch

    device = os.environ.get("MLP_DEVICE")
    try:
        if not device:
            return OnNumpy()
        arrays = OnTorch(device)
        arrays.unstack(arrays.exp)  # some devices can be named but keep nothing
        return arrays
    except (RuntimeError, TypeError, AssertionError, ImportError) as error:  # as torch puts it, in several lines
        reason = str(error).splitlines()[0]
        raise InputError(f"MLP_DEVICE is {device!r}; allowed: a PyTorch device, such as cuda ({reason})") from error
