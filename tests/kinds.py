"""A network of every kind that can be trained exactly, each with a few random examples."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mlp.binary import penalised_loss
from mlp.examples import Examples
from mlp.images import LabelledImages
from mlp.models import BinaryShallowNeuralNet, DeepNeuralNet, ShallowNeuralNet
from mlp.training import classification_loss, regression_loss


class Residual(nn.Module):
    """A network with a residual block, dropout, and both activations: ReLU and sigmoid."""

    def __init__(self, n_x: int, width: int, n_y: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(n_x, width), nn.ReLU())
        self.block = nn.Sequential(nn.Linear(width, width), nn.Sigmoid(), nn.Dropout(0.5), nn.Linear(width, width))
        self.last = nn.Linear(width, n_y)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        logits: Tensor = self.last(x + self.block(x))
        return logits


class Kind(NamedTuple):
    make_network: Callable[[], nn.Module]
    examples: Examples
    loss: Callable[[Any, Any, Any], Any]


def random_images(n: int = 300) -> LabelledImages:
    """Returns images with the sparse, skewed pixels of digits, and labels that can be learnt from them."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (n,), generator=generator)
    prototypes = torch.randint(0, 256, (10, 28, 28), generator=generator) * torch.randint(
        0, 2, (10, 28, 28), generator=generator
    )
    noise = torch.randint(0, 100, (n, 28, 28), generator=generator)
    images = (prototypes[labels] + noise).clamp(max=255).to(torch.uint8)
    mean, std = (torch.tensor(value, dtype=torch.float64) for value in (0.1306604762738429, 0.30810780385646264))
    return LabelledImages(images, labels, mean, std)


def kinds() -> dict[str, Kind]:
    images = random_images().examples()
    generator = torch.Generator().manual_seed(1)
    inputs = (torch.randint(-400, 400, (300, 16), generator=generator) / 97).double()
    prices = Examples(inputs, inputs[:, 0] / 3 - inputs[:, 1] / 7)
    above = prices._replace(targets=(prices.targets > 0).double())
    return {
        "shallow": Kind(partial(ShallowNeuralNet, 784, 64, 10), images, classification_loss),
        "deep": Kind(partial(DeepNeuralNet, 784, [80, 40, 20], 10), images, classification_loss),
        "ten hidden layers": Kind(partial(DeepNeuralNet, 784, [20] * 10, 10), images, classification_loss),
        "residual with dropout": Kind(partial(Residual, 784, 30, 10), images, classification_loss),
        "prices": Kind(partial(DeepNeuralNet, 16, [40, 20], 1), prices, regression_loss),
        "binary": Kind(partial(BinaryShallowNeuralNet, 16, 8), above, partial(penalised_loss, l1_penalty=0.01)),
    }
