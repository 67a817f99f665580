"""Trains networks, each a pure function of its class, data, settings and seed."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from mlp.errors import DivergedError, InputError
from mlp.exact import Exact, Program, Value, adam, check, mean_of_all
from mlp.examples import Examples
from mlp.models import OnlyReproducible, initialise
from mlp.on_numpy import OnNumpy, float_format
from mlp.spec import Settings

_, LIMIT = float_format(4)  # of parameters
Loss = Callable[[Any, Any, Any], Any]  # takes a network, inputs and targets; written with torch's functions


def classification_loss(network: nn.Module, x: Any, labels: Any) -> Any:
    return cross_entropy(network(x), labels)


def regression_loss(network: nn.Module, x: Any, targets: Any) -> Any:
    return mse_loss(network(x).squeeze(1), targets)


def fit(
    make_network: Callable[[], nn.Module],
    examples: Examples,
    loss: Loss,
    settings: Settings,
    seeds: Sequence[int],
    on_epoch: Callable[[Sequence[nn.Module], int, list[float], list[Value]], None] = lambda *_: None,
    arrays: Any = None,
) -> list[nn.Module]:
    """Trains a network for each seed with Adam on shuffled mini-batches and returns them in eval mode.

    `loss` returns the mean loss of a batch, in ordinary PyTorch; it runs in exact arithmetic, see mlp/exact.py. In each
    epoch it is called for the first batch of each size only; the other batches repeat the recorded operations.
    `on_epoch` takes the networks, the epoch, from 1, the mean loss of each network, and the losses of all steps.
    `arrays` is the engine: `OnNumpy` trains one network, `OnTorch` several at once; the bytes of a network do not
    depend on it. All networks run the code of the first, so they may differ in nothing but their parameters.

    Order, initial weights and dropout come from separate generators for each network; the global one is seeded for the
    network's constructor, and restored. The order depends only on the seed, so networks of the same seed see the same
    examples in the same order.

    Raises InputError if a network has a part that cannot be trained exactly, or does something else in a later epoch,
    and DivergedError if a loss, a parameter or a second moment is not finite or too large at the end of an epoch.
    """
    arrays = arrays or OnNumpy()
    orders, masks, networks = [], [], []
    for seed in seeds:
        *states, of_global = SeedSequence(seed).generate_state(4, np.uint64).tolist()
        order, weights, mask = (torch.Generator().manual_seed(each) for each in states)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(of_global)
            with OnlyReproducible():
                network = make_network()
            check(network)
            with OnlyReproducible(type(network).__name__):
                initialise(network, weights)
        orders.append(order)
        masks.append(mask)
        networks.append(network)
    parameters = [id(each) for network in networks for each in network.parameters()]
    if len(set(parameters)) < len(parameters):
        raise InputError(f"{type(networks[0]).__name__}: networks share parameters; needed: new ones for each seed")
    n = len(examples.targets)
    if len(examples.inputs) != n:
        raise InputError(f"{len(examples.inputs)} inputs and {n} targets; needed: a target for each input")
    run = Exact(networks, arrays, training=True, masks=masks, labels=examples.targets)
    step, second_moments = adam(run, settings.learning_rate, settings.betas)
    inputs, targets = arrays.load(examples.inputs), arrays.load(examples.targets.double())
    first_programs: dict[int, Program] = {}
    with np.errstate(all="ignore"):  # overflows are detected at the end of the epoch
        for epoch in range(1, settings.epochs + 1):
            networks[0].train()
            values, sizes = [], []
            programs: dict[int, Program] = {}  # by batch size
            order = arrays.stack([torch.randperm(n, generator=each) for each in orders])
            for start in range(0, n, settings.batch_size):
                chosen = order[..., start : start + settings.batch_size]
                size = chosen.shape[-1]
                x = run.input(arrays.take(inputs, chosen), examples)
                y = Value(arrays.take(targets, chosen), needs_grad=False)
                if size in programs:
                    value = run.replay(programs[size], x, y)
                else:
                    value, programs[size] = run.trace(loss, x, y)
                step(value)
                values.append(value)
                sizes.append(size)
            first_programs = first_programs or programs
            if programs != first_programs:
                raise InputError(
                    f"{type(networks[0]).__name__}: it or its loss computes something else in epoch {epoch} "
                    "than before; needed: the same for all batches of a size"
                )
            run.write_back()
            losses = arrays.unstack(mean_of_all(values, sizes, arrays))
            moments = arrays.unstack(second_moments)
            for seed, network, mean, moment in zip(seeds, networks, losses, moments, strict=True):
                on_grids = all((each.abs() < LIMIT).all() for each in network.parameters())
                if not (on_grids and moment.isfinite().all() and math.isfinite(mean)):
                    raise DivergedError(type(network).__name__, seed, epoch, settings.learning_rate)
            on_epoch(networks, epoch, [float(mean) for mean in losses], values)
    return [network.eval() for network in networks]
