"""Trained networks to and from safetensors files. A file rebuilds its own network."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from mlp.errors import InputError
from mlp.models import DeepNeuralNet, Network, ShallowNeuralNet

NETWORKS: dict[str, type[Network]] = {"ShallowNeuralNet": ShallowNeuralNet, "DeepNeuralNet": DeepNeuralNet}


def save(network: Network, path: Path) -> None:
    """Writes the weights in float32, with class and arguments of the network as metadata."""
    weights = {name: weight.float() for name, weight in network.state_dict().items()}
    # one key only: safetensors writes several in random order
    save_file(weights, path, {"network": json.dumps([type(network).__name__, network.arguments])})


def load(path: Path) -> Network:
    """Rebuilds a network in float64 and eval mode.

    Raises InputError where the file is not a network's, OSError where it cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            name, arguments = json.loads(file.metadata()["network"])
        with torch.device("meta"):
            network = NETWORKS[name](*arguments)
        network.load_state_dict(load_file(path), assign=True)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a network that a training stage wrote ({reason}); train it again") from error
    return network.double().eval()
