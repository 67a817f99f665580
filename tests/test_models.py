"""The lecture's networks: their structure, their arithmetic, and their first weights."""

import math

import pytest
import torch
from torch import nn

from mlp.models import DeepNeuralNet, ShallowNeuralNet, initialise


def test_the_deep_network_prints_as_in_the_lecture() -> None:
    assert str(DeepNeuralNet(784, [80, 40, 20], 10)) == (
        "DeepNeuralNet(\n"
        "  (layer1): DenseReLU(\n    (fc): Linear(in_features=784, out_features=80, bias=True)\n  )\n"
        "  (layer2): DenseReLU(\n    (fc): Linear(in_features=80, out_features=40, bias=True)\n  )\n"
        "  (layer3): DenseReLU(\n    (fc): Linear(in_features=40, out_features=20, bias=True)\n  )\n"
        "  (layer4): DenseNoReLU(\n    (fc): Linear(in_features=20, out_features=10, bias=True)\n  )\n"
        ")"
    )


@pytest.mark.parametrize("depth", range(1, 11))
def test_the_deep_network_is_its_layers_with_relu_between(depth: int) -> None:
    network = DeepNeuralNet(7, range(5, 5 + depth), 3).double()
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    plain = nn.Sequential(*[module for layer in linear for module in (layer, nn.ReLU())][:-1])
    x = torch.randn(4, 7, dtype=torch.float64)
    assert len(linear) == depth + 1
    torch.testing.assert_close(network(x), plain(x))


def test_the_shallow_network_is_two_layers_with_relu_between() -> None:
    network = ShallowNeuralNet(7, 5, 3)
    x = torch.randn(4, 7)
    torch.testing.assert_close(network(x), nn.Sequential(network.fc1, nn.ReLU(), network.fc2)(x))


@pytest.mark.parametrize(
    ("network", "parameters"),
    [(ShallowNeuralNet(784, 64, 10), 50_890), (DeepNeuralNet(784, [80, 40, 20], 10), 67_070)],
)
def test_parameter_counts(network: nn.Module, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_first_weights_have_the_distribution_of_torchs_own() -> None:
    torch.manual_seed(0)
    ours, torchs = ShallowNeuralNet(784, 400, 10), ShallowNeuralNet(784, 400, 10)
    initialise(ours, torch.Generator().manual_seed(0))
    for mine, theirs in zip(ours.parameters(), torchs.parameters(), strict=True):
        assert mine.abs().max() <= theirs.abs().max() * 1.2
        assert mine.std().item() == pytest.approx(theirs.std().item(), rel=0.5 if mine.numel() < 100 else 0.1)
    bound = 1 / math.sqrt(784)
    assert 0.999 * bound < ours.fc1.weight.abs().max() <= bound
    quantiles = torch.quantile(ours.fc1.weight.flatten()[:100_000], torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(quantiles, torch.tensor([-0.5, 0, 0.5]) * bound, atol=0.01 * bound, rtol=0)
