"""Predictions of trained networks."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mlp import checkpoints
from mlp.errors import InputError
from mlp.exact import Exact
from mlp.examples import Examples

CHUNK = 500  # examples at a time


def predict(network: nn.Module, examples: Examples) -> Tensor:
    """The outputs of a network for all examples, in their order, float64 [n, ...], in exact arithmetic.

    Leaves the network in eval mode.
    """
    network.eval()
    inputs, results = examples.inputs.numpy(), []
    with np.errstate(all="ignore"), Exact([network]) as run:
        for rows in np.split(inputs, range(CHUNK, len(inputs), CHUNK)):
            results.append(network(run.input(rows, examples)).data)
    return torch.from_numpy(np.concatenate(results))


def predict_from_file(path: Path, dataset: str, examples: Examples, outputs: int) -> tuple[nn.Module, Tensor]:
    """The network of a file, and its outputs for all examples, float64 [n, outputs].

    Raises InputError where the file is not a network's that was trained on `dataset`, takes such examples and gives so
    many outputs, all of them finite.
    """
    network = checkpoints.load(path, dataset)
    columns, needed = checkpoints.read_origin(path).arguments[0], examples.inputs.shape[1]
    if columns != needed:
        raise InputError(f"{path}: a network of {columns} inputs; needed: one of {needed}")
    found = predict(network, examples)
    if found.shape[1:] != (outputs,):
        raise InputError(f"{path}: a network of {list(found.shape[1:])} outputs; needed: one of {outputs}")
    if not found.isfinite().all():
        raise InputError(f"{path}: its outputs are not finite; train it again, at a lower learning rate")
    return network, found
