"""Training one network with one seed."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim.adam import adam

from mlp.datasets import LabelledImages, batches
from mlp.evaluation import accuracy, predict
from mlp.models import Network, initialise


class Settings(NamedTuple):
    epochs: int
    batch_size: int
    learning_rate: float


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
    """Trains a network in float64 with Adam on shuffled mini-batches and returns it in eval mode.

    A pure function: order and first weights come from generators of its own, and the global one is not
    touched. The order depends on the seed alone, not on the network: two networks of the same seed see
    the same images in the same order, so their difference is that of the networks. The weights are
    rounded at the end, see `round_weights`.
    """
    seeds = SeedSequence(seed).generate_state(2, np.uint64).tolist()
    order, weights = (torch.Generator().manual_seed(each) for each in seeds)
    with torch.device("meta"):  # nn.Linear would draw its weights from the global generator
        network = make_network()
    network = network.to_empty(device="cpu").double()
    initialise(network, weights)
    step = adam_step(list(network.parameters()), settings.learning_rate)
    for epoch in range(1, settings.epochs + 1):
        network.train()
        total = torch.zeros((), dtype=torch.float64)
        for x, labels in batches(training, settings.batch_size, order):
            loss = cross_entropy(network(x), labels)
            step(loss)
            total += loss.detach() * len(labels)
        on_epoch(Epoch(epoch, total.item() / len(training.labels), *_validate(network, validation)))
    round_weights(network)
    return network.eval()


def _validate(network: Network, validation: LabelledImages) -> tuple[float | None, float | None]:
    if not len(validation.labels):
        return None, None
    logits = predict(network, validation)
    return cross_entropy(logits, validation.labels).item(), accuracy(logits, validation.labels)


def adam_step(parameters: list[Tensor], learning_rate: float) -> Callable[[Tensor], None]:
    """A function that takes a loss and moves the parameters one step of Adam (Kingma and Ba, 2015).

    The same arithmetic as torch.optim.Adam with its defaults. That class imports torch._dynamo when it
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
                beta1=0.9,
                beta2=0.999,
                lr=learning_rate,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )

    return step


def round_weights(network: Network) -> None:
    """Rounds every weight to a multiple of 2^-20, exact in float32 below 16.

    In float64, thread counts and instruction sets move a weight by some 1e-14 at most. The rounding
    takes that away, so that stored networks are the same bytes on any x86-64 processor.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_((parameter * 2**20).round() / 2**20)
