"""Predicts with trained networks."""

import numpy as np
import torch
from torch import Tensor, nn

from mlp.exact import Exact
from mlp.examples import Examples

CHUNK = 500  # examples at a time


def predict(network: nn.Module, examples: Examples) -> Tensor:
    """Returns the outputs of a network for all examples, in order, float64 [n, ...], in exact arithmetic.

    Leaves the network in eval mode.
    """
    network.eval()
    inputs, results = examples.inputs.numpy(), []
    with np.errstate(all="ignore"), Exact([network]) as run:
        for rows in np.split(inputs, range(CHUNK, len(inputs), CHUNK)):
            results.append(network(run.input(rows, examples)).data)
    return torch.from_numpy(np.concatenate(results))
