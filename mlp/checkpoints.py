"""Trained networks as safetensors files, whose metadata suffice to rebuild the network."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import safe_open
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from mlp.errors import InputError, need_file, reading
from mlp.examples import Examples
from mlp.models import CLASSES, build
from mlp.prediction import predict
from mlp.spec import Architecture

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]  # as of dropout


class Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Normalisation(Part):
    """Of pixels scaled to [0, 1], see `images.LabelledImages`."""

    mean: Annotated[float, Field(ge=0, le=1)]
    std: Annotated[float, Field(gt=0, le=1)]


class Images(Part):
    """Describes a user's own data set, so that its networks can classify other pictures without it."""

    classes: list[str]  # their names, in the order of the network's outputs
    height: Count  # in pixels
    width: Count


class Training(Part):
    """The settings of the training, see `spec.Settings`."""

    model_config = ConfigDict(extra="allow")

    epochs: Count


class Origin(Part):
    """The metadata of a network's file."""

    architecture: str  # the network's class
    arguments: Annotated[list[Count | Rate | list[Count]], Field(min_length=2)]  # of the class
    summary: str  # as print shows the network
    dataset: str
    seed: int
    settings: Training
    normalisation: Normalisation | None  # of the pixels, where the inputs are images
    images: Images | None = None  # of a data set of one's own

    @model_validator(mode="after")
    def _check(self) -> "Origin":
        of = self.images
        if of and [of.height * of.width, len(of.classes)] != self.arguments[0:3:2]:
            raise ValueError("its images do not fit its arguments")
        return self


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

    Raises InputError where the file is not such a network's.
    """
    origin = read_origin(path)
    if origin.dataset != dataset:
        raise InputError(f"{path}: a network trained on {origin.dataset}; needed: one trained on {dataset}")
    if origin.architecture not in CLASSES:
        raise InputError(f"{path}: a network of class {origin.architecture}; those known here: {', '.join(CLASSES)}")
    with reading(path):
        content = path.read_bytes()
        weights = tensors_from_bytes(content)
        if not all(each.dtype == torch.float32 and each.isfinite().all() for each in weights.values()):
            raise ValueError("its weights are not all finite numbers in float32")
        # before a network is built that fills the memory, or takes hours
        given = [size for each in origin.arguments for size in (each if isinstance(each, list) else [each])]
        sizes = [size for size in given if isinstance(size, int)]
        products, numbers = sum(a * b for a, b in pairwise(sizes)), sum(map(torch.numel, weights.values()))
        if len(sizes) > 1 + len(weights) or products > numbers:
            raise ValueError("its arguments are those of a larger network")
        return from_bytes(Architecture(origin.architecture, origin.arguments), content)


def from_bytes(architecture: Architecture, content: bytes) -> nn.Module:
    """Rebuilds a network from its file, in float32 and eval mode."""
    with torch.random.fork_rng(devices=[]):  # the constructor draws weights
        network = build(architecture)
    network.load_state_dict(tensors_from_bytes(content))
    return network.eval()


def read_origin(path: Path) -> Origin:
    """Reads the metadata. Raises InputError where they are missing or wrong."""
    with reading(path):
        need_file(path)
        with safe_open(path, "pt") as file:
            return Origin.model_validate_json(file.metadata()["network"])


def predict_from_file(path: Path, dataset: str, examples: Examples, outputs: int) -> tuple[nn.Module, Tensor]:
    """The network of a file, and its outputs for all examples, float64 [n, outputs].

    Raises InputError where the file is not a network's that was trained on `dataset`, takes such examples and gives so
    many outputs, all of them finite.
    """
    network = load(path, dataset)
    columns, needed = read_origin(path).arguments[0], examples.inputs.shape[1]
    if columns != needed:
        raise InputError(f"{path}: a network of {columns} inputs; needed: one of {needed}")
    found = predict(network, examples)
    if found.shape[1:] != (outputs,):
        raise InputError(f"{path}: a network of {list(found.shape[1:])} outputs; needed: one of {outputs}")
    if not found.isfinite().all():
        raise InputError(f"{path}: its outputs are not finite; train it again, at a lower learning rate")
    return network, found
