"""Training one network with one seed."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.adam import adam

from mlp.datasets import LabelledImages, batches
from mlp.evaluation import accuracy, predict
from mlp.models import Network, initialise

SPACING = 2.0**-14  # of stored weights
AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


class Settings(NamedTuple):
    epochs: int
    batch_size: int
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)


class Epoch(NamedTuple):
    """One point of a learning curve. Losses are mean cross-entropies in nats."""

    epoch: int  # from 1
    training_loss: float  # mean over the epoch's steps, weighted by batch size
    validation_loss: float | None  # at the epoch's end; None without validation images
    validation_accuracy: float | None


def train(
    make_network: Callable[[], Network],
    training: LabelledImages,
    validation: LabelledImages,
    settings: Settings,
    seed: int,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Network:
    """Trains a network to classify images, with cross-entropy. See `fit`."""

    def report(network: Network, epoch: int, training_loss: float) -> None:
        on_epoch(Epoch(epoch, training_loss, *_validate(network, validation)))

    def loss(network: Network, x: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(network(x), labels)

    return fit(make_network, initialise, partial(batches, training), loss, settings, seed, report)


def fit(
    make_network: Callable[[], AnyNetwork],
    initialise: Callable[[AnyNetwork, torch.Generator], None],
    batches: Callable[[int, torch.Generator], Iterable[tuple[Tensor, Tensor]]],
    loss: Callable[[AnyNetwork, Tensor, Tensor], Tensor],
    settings: Settings,
    seed: int,
    on_epoch: Callable[[AnyNetwork, int, float], None],
) -> AnyNetwork:
    """Trains a network in float64 with Adam on shuffled mini-batches and returns it in eval mode.

    `batches` gives an epoch's inputs and targets for a batch size and the generator of their order, `loss`
    the mean loss of a batch, and `on_epoch` gets the epoch's number, from 1, and its mean loss.

    A pure function: order and first weights come from generators of its own, and the global one is not
    touched. The order depends on the seed alone, not on the network: two networks of the same seed see
    the same examples in the same order, so their difference is that of the networks. The weights are
    rounded at the end, see `round_weights`.
    """
    seeds = SeedSequence(seed).generate_state(2, np.uint64).tolist()
    order, weights = (torch.Generator().manual_seed(each) for each in seeds)
    with torch.device("meta"):  # nn.Linear would draw its weights from the global generator
        network = make_network()
    network = network.to_empty(device="cpu").double()
    initialise(network, weights)
    step = adam_step(list(network.parameters()), settings.learning_rate, settings.betas)
    for epoch in range(1, settings.epochs + 1):
        network.train()
        total, count = torch.zeros((), dtype=torch.float64), 0
        for x, targets in batches(settings.batch_size, order):
            value = loss(network, x, targets)
            step(value)
            total += value.detach() * len(targets)
            count += len(targets)
        on_epoch(network, epoch, total.item() / count)
    round_weights(network)
    return network.eval()


def _validate(network: Network, validation: LabelledImages) -> tuple[float | None, float | None]:
    if not len(validation.labels):
        return None, None
    logits = predict(network, validation)
    return cross_entropy(logits, validation.labels).item(), accuracy(logits, validation.labels)


def adam_step(parameters: list[Tensor], learning_rate: float, betas: tuple[float, float]) -> Callable[[Tensor], None]:
    """A function that takes a loss and moves the parameters one step of Adam (Kingma and Ba, 2015).

    The same arithmetic as torch.optim.Adam. That class imports torch._dynamo when it
    is constructed, more than a second in every process; the functional form does not.
    """
    means = [torch.zeros_like(parameter) for parameter in parameters]
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    steps = [torch.zeros(()) for _ in parameters]

    def step(loss: Tensor) -> None:
        gradients = list(torch.autograd.grad(loss, parameters))
        with torch.no_grad():
            adam(
                parameters,
                gradients,
                means,
                squares,
                [],
                steps,
                fused=True,
                amsgrad=False,
                beta1=betas[0],
                beta2=betas[1],
                lr=learning_rate,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )

    return step


def round_weights(network: nn.Module) -> None:
    """Rounds every weight to a multiple of 2^-14, exact in float32 below 1024.

    In float64, thread counts and instruction sets move a weight by very little. The rounding takes that
    away, so that stored networks are the same bytes on any x86-64 processor. docs/reproducibility.md has
    how often it does not.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_((parameter / SPACING).round() * SPACING)
