"""Trained networks as safetensors files, whose metadata suffice to rebuild the network."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import nn

from mlp.errors import InputError
from mlp.models import NETWORKS, build
from mlp.spec import Architecture


class Normalisation(BaseModel):
    """Of pixels scaled to [0, 1], see `images.LabelledImages`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    mean: float
    std: float


class Images(BaseModel):
    """What a data set of one's own is: to ask its networks about other pictures, nobody needs the data set."""

    model_config = ConfigDict(strict=True, extra="forbid")

    classes: list[str]  # their names, in the order of the network's outputs
    height: int  # in pixels
    width: int


class Origin(BaseModel):
    """The metadata of a network's file."""

    model_config = ConfigDict(strict=True, extra="forbid")

    architecture: str  # the network's class
    arguments: list[Any]  # of the class
    summary: str  # as print shows the network
    dataset: str
    seed: int
    settings: dict[str, Any]  # of the training
    normalisation: Normalisation | None  # of the pixels, where the inputs are images
    images: Images | None = None  # of a data set of one's own


def to_bytes(
    network: nn.Module,
    architecture: Architecture,
    dataset: str,
    seed: int,
    settings: Mapping[str, Any],
    normalisation: Normalisation | None = None,
    images: Images | None = None,
) -> bytes:
    """A network's file: the weights in float32, with what made them as metadata."""
    origin = Origin.model_validate(
        {
            "architecture": architecture.name,
            "arguments": architecture.arguments,
            "summary": str(network),
            "dataset": dataset,
            "seed": seed,
            "settings": settings,
            "normalisation": normalisation,
            "images": images,
        }
    )
    weights = {name: weight.float() for name, weight in network.state_dict().items()}
    # one key only: safetensors writes several in random order
    return tensors_to_bytes(weights, {"network": origin.model_dump_json(exclude_defaults=True)})


def load(path: Path, dataset: str) -> nn.Module:
    """Rebuilds a network that was trained on `dataset`, in float32 and eval mode.

    Raises InputError where the file is not such a network's, OSError where it cannot be read.
    """
    origin = read_origin(path)
    if origin.dataset != dataset:
        raise InputError(f"{path}: a network trained on {origin.dataset}; needed: one trained on {dataset}")
    if origin.architecture not in NETWORKS:
        raise InputError(f"{path}: a network of class {origin.architecture}; those known here: {', '.join(NETWORKS)}")
    with _refusing_what_does_not_fit(path):
        return from_bytes(Architecture(origin.architecture, origin.arguments), path.read_bytes())


def from_bytes(architecture: Architecture, content: bytes) -> nn.Module:
    """Rebuilds a network from its file, in float32 and eval mode."""
    with torch.random.fork_rng(devices=[]):  # the constructor draws weights
        network = build(architecture)
    network.load_state_dict(tensors_from_bytes(content))
    return network.eval()


def read_origin(path: Path) -> Origin:
    """Reads the metadata. Raises InputError where they are missing or wrong, OSError where the file cannot be read."""
    with _refusing_what_does_not_fit(path), safe_open(path, "pt") as file:
        return Origin.model_validate_json(file.metadata()["network"])


@contextmanager
def _refusing_what_does_not_fit(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a network that a training stage wrote ({reason}); train it again") from error
