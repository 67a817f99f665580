"""Checks the lecture's networks: their structure, initial weights, and training by the lecture's own code."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset

from mlp import checkpoints
from mlp.models import DeepNeuralNet, ShallowNeuralNet, initialise
from mlp.spec import Architecture

NAMES = ["shallow", "deep"]


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
def test_the_deep_network_is_its_layers_with_relu_in_between(depth: int) -> None:
    network = DeepNeuralNet(7, range(5, 5 + depth), 3).double()
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    plain = nn.Sequential(*[module for layer in linear for module in (layer, nn.ReLU())][:-1])
    x = torch.randn(4, 7, dtype=torch.float64)
    assert len(linear) == depth + 1
    torch.testing.assert_close(network(x), plain(x))


def test_the_shallow_network_is_two_layers_with_relu_in_between() -> None:
    network = ShallowNeuralNet(7, 5, 3)
    x = torch.randn(4, 7)
    torch.testing.assert_close(network(x), nn.Sequential(network.fc1, nn.ReLU(), network.fc2)(x))


@pytest.mark.parametrize(
    ("network", "parameters"),
    [(ShallowNeuralNet(784, 64, 10), 50_890), (DeepNeuralNet(784, [80, 40, 20], 10), 67_070)],
)
def test_networks_have_the_known_numbers_of_parameters(network: nn.Module, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_initial_weights_have_the_distribution_of_torchs_own() -> None:
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


def test_a_modules_own_initialisation_replaces_that_of_the_modules_within_it() -> None:
    class Halves(nn.Sequential):
        def initialise(self, _: torch.Generator) -> None:
            nn.init.constant_(next(self.parameters()), 0.5)

    network = nn.Sequential(Halves(nn.Linear(3, 2)), nn.Linear(2, 2))
    initialise(network, torch.Generator().manual_seed(0))
    first, *others = (parameter.detach() for parameter in network.parameters())
    assert (first == 0.5).all()
    assert all(len(set(each.flatten().tolist()) - {0.5}) == each.numel() for each in others)


# training by the lecture's own code


@pytest.fixture(scope="module")
def loader(mnist_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> DataLoader[tuple[Tensor, Tensor]]:
    """Returns MNIST's first 2000 training images as torchvision loads them: float32 [64, 1, 28, 28] and labels."""
    from torchvision import transforms  # slow to import
    from torchvision.datasets import MNIST

    root = tmp_path_factory.mktemp("torchvision")
    (root / "MNIST").mkdir()
    (root / "MNIST/raw").symlink_to(mnist_raw)
    normalised = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    torch.manual_seed(0)
    return DataLoader(Subset(MNIST(str(root), transform=normalised), range(2000)), batch_size=64, shuffle=True)


@pytest.mark.parametrize(
    "make_network",
    [
        lambda: ShallowNeuralNet(784, 64, 10),
        lambda: ShallowNeuralNet(n_x=784, n_h=64, n_y=10),
        lambda: DeepNeuralNet(784, [80, 40, 20], 10),
        lambda: DeepNeuralNet(n_x=784, n_h=[80, 40, 20], n_y=10),
    ],
)
def test_the_lectures_loop_trains_the_lectures_networks(
    make_network: Callable[[], nn.Module], loader: DataLoader[tuple[Tensor, Tensor]]
) -> None:
    torch.manual_seed(0)
    network = make_network()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.003)
    for _ in range(5):
        correct = 0
        for x, labels in loader:
            logits = network(x)
            loss = cross_entropy(logits, labels)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            correct += int((logits.argmax(dim=1) == labels).sum())
    assert logits.dtype == torch.float32
    assert correct / 2000 > 0.9


@pytest.mark.parametrize("network", [ShallowNeuralNet(784, 64, 10), DeepNeuralNet(784, [80, 40, 20], 10)], ids=NAMES)
def test_images_may_have_any_shape(network: nn.Module) -> None:
    images = torch.rand(5, 1, 28, 28)
    logits = network(images)
    assert logits.shape == (5, 10)
    for shape in [(5, 28, 28), (5, 784)]:
        assert torch.equal(network(images.reshape(shape)), logits)
    sample = network(images[0])  # as a torchvision data set returns it
    assert sample.shape == (1, 10)
    torch.testing.assert_close(sample, logits[:1])


@pytest.mark.parametrize("network", [ShallowNeuralNet(784, 64, 10), DeepNeuralNet(784, [80, 40, 20], 10)], ids=NAMES)
def test_a_network_from_a_file_takes_float32_and_float64(network: nn.Module, tmp_path: Path) -> None:
    arguments: list[Any] = [784, 64, 10] if isinstance(network, ShallowNeuralNet) else [784, [80, 40, 20], 10]
    architecture = Architecture(type(network).__name__, arguments)
    (tmp_path / "file").write_bytes(checkpoints.to_bytes(network, architecture, "mnist", 0, {"epochs": 1}))
    loaded = checkpoints.load(tmp_path / "file", "mnist")
    images = torch.rand(5, 1, 28, 28, dtype=torch.float64)
    assert torch.equal(loaded(images), loaded(images.float()))
    assert torch.equal(loaded(images), network(images.float()))
    torch.testing.assert_close(loaded.double()(images), network.double()(images))


def test_a_new_network_is_initialised_by_torch() -> None:
    """Its constructor draws no further random numbers, so that the lecture's seeds give the lecture's weights."""
    torch.manual_seed(0)
    ours = ShallowNeuralNet(784, 64, 10)
    torch.manual_seed(0)
    torchs = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    assert all(map(torch.equal, ours.parameters(), torchs.parameters()))
