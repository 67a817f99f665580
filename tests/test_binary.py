"""The binary network on the real houses, and the effect of each fault in the lecture's listing."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from conftest import ROOT
from mlp.ames import AmesHousingDataset, split, standardise
from mlp.binary import binary_accuracy, l1_norm, mean_binary_cross_entropy, penalised_loss
from mlp.errors import InputError
from mlp.examples import Examples
from mlp.models import BinaryShallowNeuralNet
from mlp.prediction import predict
from mlp.spec import Settings
from mlp.training import fit

SETTINGS = Settings(epochs=5, batch_size=64, learning_rate=0.01)


@pytest.fixture(scope="module")
def examples() -> tuple[Examples, Examples]:
    """Training and test examples: inputs, and whether a house costs more than the training split's median."""
    dataset = AmesHousingDataset(ROOT / "data/ames/AmesHousing.xlsx")
    parts = split(dataset, 400, 600, seed=0)
    training, _, test = standardise(dataset, parts[0], parts)
    median = training.median_price()
    return (
        Examples(training.inputs(), (training.prices > median).double()),
        Examples(test.inputs(), (test.prices > median).double()),
    )


def new(inputs: int = 16, hidden: int = 8, seed: int = 0) -> BinaryShallowNeuralNet:
    network = BinaryShallowNeuralNet(inputs, hidden)
    network.initialise(torch.Generator().manual_seed(seed))
    return network


def trained(training: Examples, settings: Settings = SETTINGS, l1_penalty: float = 0.0) -> nn.Module:
    (network,) = fit(
        partial(BinaryShallowNeuralNet, 16, 8),
        training,
        partial(penalised_loss, l1_penalty=l1_penalty),
        settings,
        seeds=[0],
    )
    return network


def weights(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_it_is_two_linear_layers_with_sigmoids() -> None:
    network = new(7, 5).double()
    plain = nn.Sequential(nn.Linear(7, 5), nn.Sigmoid(), nn.Linear(5, 1), nn.Sigmoid()).double()
    pairs = [(plain[0], network.weights1, network.biases1), (plain[2], network.weights2, network.biases2)]
    for layer, weight, bias in pairs:
        assert isinstance(layer, nn.Linear)
        layer.weight.data, layer.bias.data = weight.data.T, torch.rand_like(bias)
        bias.data = layer.bias.data
    x = torch.randn(4, 7, dtype=torch.float64)
    torch.testing.assert_close(network(x), plain(x).squeeze(1))


def test_its_parameters_are_its_own_in_float32() -> None:
    parameters = dict(new(16, 8).named_parameters())
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    assert shapes == {"weights1": (16, 8), "biases1": (8,), "weights2": (8, 1), "biases2": (1,)}
    assert {parameter.dtype for parameter in parameters.values()} == {torch.float32}


def test_it_prints_its_layers() -> None:
    assert str(BinaryShallowNeuralNet(n_x=16, n_h=8)) == (
        "BinaryShallowNeuralNet(\n"
        "  (layer1): 16 inputs, 8 outputs, sigmoid\n"
        "  (layer2): 8 inputs, 1 outputs, sigmoid\n"
        ")"
    )


def test_a_new_network_draws_its_weights_from_the_global_generator() -> None:
    networks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        networks.append(BinaryShallowNeuralNet(16, 8))
    assert weights(networks[0]).isfinite().all()
    assert torch.equal(weights(networks[0]), weights(networks[1]))
    assert not torch.equal(weights(networks[0]), weights(networks[2]))
    assert networks[0](torch.randn(4, 16)).shape == (4,)


@pytest.mark.parametrize("own_generator", [True, False])
def test_initial_weights_are_xavier_uniform(own_generator: bool) -> None:
    torch.manual_seed(0)
    network = new(200, 300) if own_generator else BinaryShallowNeuralNet(200, 300)
    torchs = torch.empty(200, 300)
    nn.init.xavier_uniform_(torchs, generator=torch.Generator().manual_seed(0))
    assert network.weights1.abs().max().item() == pytest.approx(torchs.abs().max().item(), rel=1e-3)
    assert network.weights1.std().item() == pytest.approx(torchs.std().item(), rel=0.02)
    quartiles = (torch.quantile(each.flatten(), torch.tensor([0.25, 0.5, 0.75])) for each in (network.weights1, torchs))
    torch.testing.assert_close(*quartiles, atol=0.002, rtol=0)
    assert network.biases1.abs().sum() == network.biases2.abs().sum() == 0


def test_the_loss_is_torchs_binary_cross_entropy_plus_the_penalty() -> None:
    network = new().double()
    x, labels = torch.randn(9, 16, dtype=torch.float64), torch.arange(9).double() % 2
    norm = nn.functional.l1_loss(network.weights1, torch.zeros(16, 8), reduction="sum") + network.weights2.norm(p=1)
    expected = nn.BCELoss()(network(x), labels) + 0.25 * norm
    torch.testing.assert_close(penalised_loss(network, x, labels, 0.25), expected)


def test_accuracy_is_the_share_of_correct_predictions() -> None:
    probabilities = torch.tensor([0.9, 0.6, 0.5, 0.2])
    assert binary_accuracy(probabilities, torch.tensor([1.0, 0.0, 0.0, 0.0])) == 0.75


def test_it_separates_expensive_houses_from_cheap_ones(examples: tuple[Examples, Examples]) -> None:
    training, test = examples
    assert 0.4 < test.targets.mean() < 0.6
    assert binary_accuracy(predict(trained(training), test), test.targets) > 0.87


def test_its_predictions_are_those_of_torch(examples: tuple[Examples, Examples]) -> None:
    training, test = examples
    network = trained(training)
    found = predict(network, test)
    with torch.no_grad():
        expected = network.double()(test.inputs)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert mean_binary_cross_entropy(found, test.targets) == pytest.approx(nn.BCELoss()(found, test.targets).item())


def test_the_penalty_shrinks_the_weights_because_it_is_in_the_gradient(examples: tuple[Examples, Examples]) -> None:
    training, _ = examples
    norms = [l1_norm(trained(training, l1_penalty=penalty)).item() for penalty in (0, 0.001, 0.01, 0.1)]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < norms[0] / 10


def test_the_lectures_penalty_is_not_in_the_gradient(examples: tuple[Examples, Examples]) -> None:
    """`.item()` takes it out of the graph: however large, it changes no weight. Exact arithmetic rejects the call."""
    training, _ = examples

    def lectures_loss(network: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
        return penalised_loss(network, x, labels, 0) + 100 * l1_norm(network).item()  # type: ignore[no-any-return]

    gradients = []
    for loss in (lectures_loss, partial(penalised_loss, l1_penalty=0), partial(penalised_loss, l1_penalty=100)):
        network = new().double()
        gradients.append(torch.autograd.grad(loss(network, *training[:2]), list(network.parameters()))[0])
    assert torch.equal(gradients[0], gradients[1])
    assert (gradients[2] - gradients[1]).abs().min() > 99
    with pytest.raises(InputError, match=r"^BinaryShallowNeuralNet: .* no attribute 'item'"):
        fit(partial(BinaryShallowNeuralNet, 16, 8), training, lectures_loss, SETTINGS, [0])


def test_train_and_eval_set_the_mode(examples: tuple[Examples, Examples]) -> None:
    """A method `train` that takes data would hide nn.Module.train, which `eval()` calls with a mode."""

    class Hiding(BinaryShallowNeuralNet):
        def train(self, x: Tensor, labels: Tensor) -> None:  # type: ignore[override]
            raise NotImplementedError

    assert BinaryShallowNeuralNet.train is nn.Module.train
    assert not new().eval().training
    assert not trained(examples[0]).training
    with pytest.raises(TypeError):
        Hiding(16, 8).eval()


def test_a_learning_rate_of_1_is_worse(examples: tuple[Examples, Examples]) -> None:
    training, test = examples
    networks = (trained(training, SETTINGS._replace(learning_rate=rate)) for rate in (0.01, 1.0))
    losses = [mean_binary_cross_entropy(predict(network, test), test.targets) for network in networks]
    assert losses[1] > 1.15 * losses[0]


def test_one_step_is_enough(examples: tuple[Examples, Examples]) -> None:
    """The lecture divides by a twentieth of the number of iterations, rounded down: by zero below 20."""
    training, _ = examples
    first = Examples(training.inputs[:64], training.targets[:64])
    for steps in (1, 19):
        assert weights(trained(first, SETTINGS._replace(epochs=steps))).isfinite().all()


def test_betas_can_be_set(examples: tuple[Examples, Examples]) -> None:
    """Adam's first step depends on the learning rate alone, the second also on betas."""
    same = []
    for steps in (1, 2):
        settings = SETTINGS._replace(epochs=steps, batch_size=10_000)
        networks = [trained(examples[0], settings._replace(betas=betas)) for betas in ((0.9, 0.999), (0.5, 0.9))]
        same.append(torch.equal(*map(weights, networks)))
    assert same == [True, False]
