"""Stores trained networks as safetensors files, whose metadata suffice to rebuild the network."""

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

from mlp.errors import InputError, reading, require_file, shortened
from mlp.examples import Examples
from mlp.models import CLASSES, build
from mlp.prediction import predict
from mlp.spec import Architecture

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]  # such as that of dropout
MAX_OUTPUT = 2.0**100  # of a network in absolute value; the squares of larger numbers might be beyond all grids


class Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Normalisation(Part):
    """Statistics of pixels scaled to [0, 1], see `images.LabelledImages`."""

    mean: Annotated[float, Field(ge=0, le=1)]
    std: Annotated[float, Field(gt=0, le=1)]


class Images(Part):
    """Describes the user's own data set, so that its networks can classify other pictures without it."""

    classes: list[str]  # their names, in the order of the network's outputs
    height: Count  # in pixels
    width: Count


class Training(Part):
    """The settings of the training, see `spec.Settings`."""

    model_config = ConfigDict(extra="allow")

    epochs: Count


class Metadata(Part):
    """The metadata of a network's file."""

    architecture: str  # the network's class
    arguments: Annotated[list[Count | Rate | list[Count]], Field(min_length=2)]  # of the class's constructor
    summary: str  # the network as printed by PyTorch
    dataset: str
    seed: int
    settings: Training
    normalisation: Normalisation | None  # of the pixels, if the inputs are images
    images: Images | None = None  # of the user's own data set

    @model_validator(mode="after")
    def _check(self) -> "Metadata":
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
    """Returns the content of a network's file: the weights in float32, with a description as metadata."""
    metadata = Metadata.model_validate(
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
    # copies, because safetensors does not write a weight that two layers share
    weights = {name: weight.float().clone() for name, weight in network.state_dict().items()}
    # a single key, because safetensors writes several in random order
    return tensors_to_bytes(weights, {"network": metadata.model_dump_json(exclude_defaults=True)})


def load(path: Path, dataset: str) -> nn.Module:
    """Rebuilds a network that was trained on `dataset`, in float32 and eval mode.

    Raises InputError if the file is missing, damaged or not that of such a network.
    """
    metadata = read_metadata(path)
    if metadata.dataset != dataset:
        found = shortened(metadata.dataset)
        raise InputError(f"{path}: a network trained on {found}; needed: one trained on {shortened(dataset)}")
    if metadata.architecture not in CLASSES:
        found = shortened(metadata.architecture)
        raise InputError(f"{path}: a network of class {found}; those known here: {', '.join(CLASSES)}")
    with reading(path):
        content = path.read_bytes()
        weights = tensors_from_bytes(content)
        if not all(each.dtype == torch.float32 and each.isfinite().all() for each in weights.values()):
            raise ValueError("its weights are not all finite numbers in float32")
        # checked before building, because a network too large would fill the memory or take hours
        given = [size for each in metadata.arguments for size in (each if isinstance(each, list) else [each])]
        sizes = [size for size in given if isinstance(size, int)]
        products, numbers = sum(a * b for a, b in pairwise(sizes)), sum(map(torch.numel, weights.values()))
        if len(sizes) > 1 + len(weights) or products > numbers:
            raise ValueError("its arguments are those of a larger network")
        return from_bytes(Architecture(metadata.architecture, metadata.arguments), content)


def from_bytes(architecture: Architecture, content: bytes) -> nn.Module:
    """Rebuilds a network from its file, in float32 and eval mode."""
    with torch.random.fork_rng(devices=[]):  # the constructor draws from the global generator
        network = build(architecture)
    network.load_state_dict(tensors_from_bytes(content))
    return network.eval()


def read_metadata(path: Path) -> Metadata:
    """Reads the metadata of a network's file. Raises InputError if they are missing or invalid."""
    with reading(path):
        require_file(path)
        with safe_open(path, "pt") as file:
            return Metadata.model_validate_json(file.metadata()["network"])


def predict_from_file(path: Path, dataset: str, examples: Examples, outputs: int) -> tuple[nn.Module, Tensor]:
    """Returns the network of a file, and its outputs for all examples, float64 [n, outputs].

    Raises InputError if the file holds no network trained on `dataset`, if the network's number of inputs or outputs
    does not match, or if an output is not below MAX_OUTPUT in absolute value.
    """
    network = load(path, dataset)
    columns, needed = read_metadata(path).arguments[0], examples.inputs.shape[1]
    if columns != needed:
        raise InputError(f"{path}: a network of {columns} inputs; needed: one of {needed}")
    found = predict(network, examples)
    if found.shape[1:] != (outputs,):
        raise InputError(f"{path}: a network of {list(found.shape[1:])} outputs; needed: one of {outputs}")
    if not (found.abs() < MAX_OUTPUT).all():
        raise InputError(f"{path}: its outputs are not finite or too large; train it again, at a lower learning rate")
    return network, found
