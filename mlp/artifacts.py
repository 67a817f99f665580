"""Trained networks to and from safetensors files. A file rebuilds its own network."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, overload

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from mlp.errors import InputError
from mlp.models import DeepNeuralNet, Network, ShallowNeuralNet

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


def save(network: nn.Module, path: Path) -> None:
    """Writes the weights in float32, with class and arguments of the network as metadata."""
    weights = {name: weight.float() for name, weight in network.state_dict().items()}
    # one key only: safetensors writes several in random order
    save_file(weights, path, {"network": json.dumps([type(network).__name__, network.arguments])})


@overload
def load(path: Path) -> Network: ...
@overload
def load(path: Path, kinds: Sequence[type[AnyNetwork]]) -> AnyNetwork: ...
def load(path: Path, kinds: Sequence[type[nn.Module]] = (ShallowNeuralNet, DeepNeuralNet)) -> nn.Module:
    """Rebuilds a network of one of the `kinds` in float64 and eval mode.

    Raises InputError where the file is not a network's, OSError where it cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            name, arguments = json.loads(file.metadata()["network"])
        with torch.device("meta"):
            network = {kind.__name__: kind for kind in kinds}[name](*arguments)
        network.load_state_dict(load_file(path), assign=True)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a network that a training stage wrote ({reason}); train it again") from error
    return network.double().eval()
