"""Compares training with a plain torch.optim.Adam loop, and checks errors for networks that cannot be trained."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, cross_entropy, dropout, mse_loss, relu

from kinds import random_images
from mlp.classification import train
from mlp.errors import DivergedError, InputError
from mlp.evaluation import accuracy
from mlp.exact import Exact, Value, adam
from mlp.examples import Examples
from mlp.images import LabelledImages, pixel_statistics, read_idx
from mlp.models import DeepNeuralNet, ShallowNeuralNet, initialise
from mlp.on_numpy import OnNumpy
from mlp.on_torch import OnTorch
from mlp.prediction import predict
from mlp.spec import Settings
from mlp.training import Loss, classification_loss, fit, regression_loss

MakeNetwork = Callable[[], nn.Module]

SHALLOW = partial(ShallowNeuralNet, 784, 16, 10)
DEEP = partial(DeepNeuralNet, 784, [12, 8], 10)
SETTINGS = Settings(epochs=3, batch_size=50, learning_rate=0.003)
ENGINES = pytest.mark.parametrize("arrays", [OnNumpy(), OnTorch("cpu")], ids=["NumPy", "torch"])


@pytest.fixture(scope="module")
def training(mnist_raw: Path) -> LabelledImages:
    images = read_idx(mnist_raw / "train-images-idx3-ubyte")[:1000]
    labels = read_idx(mnist_raw / "train-labels-idx1-ubyte")[:1000].long()
    return LabelledImages(images, labels, *pixel_statistics(images))


@pytest.fixture(scope="module")
def no_images(training: LabelledImages) -> LabelledImages:
    return training._replace(images=training.images[:0], labels=training.labels[:0])


@pytest.fixture(scope="module")
def points() -> Examples:
    """Returns 200 examples of six numbers each, in three classes that the first two numbers determine."""
    inputs = torch.randn(200, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Examples(inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0.5).long())


def weights(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def generators(seed: int) -> tuple[torch.Generator, torch.Generator]:
    """Returns the generators of the order of the examples and of the initial weights."""
    order, first, _ = np.random.SeedSequence(seed).generate_state(3, np.uint64).tolist()
    return torch.Generator().manual_seed(order), torch.Generator().manual_seed(first)


def plain_loop(
    make_network: MakeNetwork, x: Tensor, labels: Tensor, settings: Settings, seed: int, of: Loss = classification_loss
) -> Any:
    """Returns the network trained by a standard PyTorch loop in float64, and the mean loss of each epoch."""
    order, first = generators(seed)
    network = make_network().train()
    initialise(network, first)
    network.double()
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=settings.betas)
    losses = []
    for _ in range(settings.epochs):
        total = 0.0
        for chosen in torch.split(torch.randperm(len(labels), generator=order), settings.batch_size):
            loss = of(network, x[chosen], labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(chosen)
        losses.append(total / len(labels))
    return network, losses


def test_a_step_is_that_of_torchs_adam() -> None:
    """Covers zero gradients, tiny gradients, and many steps."""
    ours, torchs = (nn.Linear(8, 4) for _ in range(2))
    torchs.load_state_dict(ours.state_dict())
    torchs.double()
    run = Exact([ours], training=True)
    (step, _), optimiser = adam(run, 0.01, (0.8, 0.99)), torch.optim.Adam(torchs.parameters(), 0.01, (0.8, 0.99))
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([1.0, 0.0, 1e-9, 100.0])
    for _ in range(50):
        gradients = [torch.randn(shape, generator=generator) for shape in [(4, 8), (4,)]]
        gradients = [gradients[0] * scale[:, None], gradients[1] * scale]

        def give_gradients(_: Any, of: list[Tensor] = gradients) -> None:
            for value, gradient in zip(run.values.values(), of, strict=True):
                value.add_grad(gradient.numpy())

        step(run.value(np.float64(0), give_gradients))
        for parameter, gradient in zip(torchs.parameters(), gradients, strict=True):
            parameter.grad = gradient.double()
        optimiser.step()
    run.write_back()
    torch.testing.assert_close(weights(ours).double(), weights(torchs), atol=2e-6, rtol=0)


@pytest.mark.parametrize("make_network", [SHALLOW, DEEP])
def test_training_is_the_plain_loop(
    make_network: MakeNetwork, training: LabelledImages, no_images: LabelledImages
) -> None:
    """The loop draws the same initial weights and order from the seed, and so must give the same network."""
    (network,), (curve,), _ = train(make_network, training, no_images, SETTINGS, [7])
    images = training.examples()
    assert images.divisor is not None
    x = (images.inputs.double() - images.shift) / images.divisor
    plain, losses = plain_loop(make_network, x, training.labels, SETTINGS, 7)
    assert [point.training_loss for point in curve] == pytest.approx(losses, abs=1e-6)
    torch.testing.assert_close(weights(network).double(), weights(plain), atol=1e-5, rtol=0)


def test_a_trained_network_beats_chance(training: LabelledImages) -> None:
    (network,), (curve,), _ = train(DEEP, training, training, Settings(10, 50, 0.003), [0])
    assert [point.epoch for point in curve] == list(range(1, 11))
    assert curve[-1].training_loss < curve[0].training_loss / 4
    assert accuracy(predict(network, training.examples()), training.labels) > 0.9


def test_the_validation_curve_ends_at_what_the_network_reaches(training: LabelledImages) -> None:
    (network,), (curve,), _ = train(SHALLOW, training, training, SETTINGS, [0])
    logits = predict(network, training.examples())
    assert curve[-1].validation_accuracy == accuracy(logits, training.labels)
    assert curve[-1].validation_loss == pytest.approx(cross_entropy(logits, training.labels).item(), abs=1e-12)


def test_without_validation_images_there_is_no_validation_curve(
    training: LabelledImages, no_images: LabelledImages
) -> None:
    _, (curve,), _ = train(SHALLOW, training, no_images, SETTINGS, [0])
    assert {(point.validation_loss, point.validation_accuracy) for point in curve} == {(None, None)}


def test_validation_images_change_nothing(training: LabelledImages, no_images: LabelledImages) -> None:
    networks = [train(DEEP, training, validation, SETTINGS, [0])[0][0] for validation in (training, no_images)]
    assert torch.equal(*map(weights, networks))


@pytest.mark.parametrize("make_network", [SHALLOW, DEEP])
def test_training_is_a_pure_function_of_data_settings_and_seed(
    make_network: MakeNetwork, training: LabelledImages, no_images: LabelledImages
) -> None:
    """The global generator is neither used nor changed."""
    results = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        results.append(weights(train(make_network, training, no_images, SETTINGS, [5])[0][0]))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*results)
    assert not torch.equal(results[0], weights(train(make_network, training, no_images, SETTINGS, [6])[0][0]))


def test_networks_of_the_same_seed_see_the_images_in_the_same_order(
    training: LabelledImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    draw = torch.randperm

    def recording(*arguments: Any, **options: Any) -> Tensor:
        order = draw(*arguments, **options)
        seen.append(order.tolist())
        return order

    monkeypatch.setattr(torch, "randperm", recording)
    for make_network in (SHALLOW, DEEP):
        fit(make_network, training.examples(), classification_loss, SETTINGS, [0])
    assert seen[:3] == seen[3:]
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(1000))
    assert seen[0] != seen[1]


def test_the_trained_network_is_in_eval_mode_and_in_float32(
    training: LabelledImages, no_images: LabelledImages
) -> None:
    (network,), _, _ = train(SHALLOW, training, no_images, SETTINGS, [0])
    assert not network.training
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert {parameter.requires_grad for parameter in network.parameters()} == {True}
    assert all(parameter.untyped_storage().nbytes() == parameter.nbytes for parameter in network.parameters())


def test_training_and_validation_set_their_modes(training: LabelledImages, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[bool] = []
    forward = ShallowNeuralNet.forward

    def recording(self: ShallowNeuralNet, x: Tensor) -> Tensor:
        modes.append(self.training)
        return forward(self, x)

    monkeypatch.setattr(ShallowNeuralNet, "forward", recording)
    train(SHALLOW, training, training, Settings(2, 500, 0.003), [0])
    assert modes == [True, False, False] * 2  # the second batch of an epoch replays the operations of the first


# the user's own networks


class Residual(nn.Module):
    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        self.p = p
        self.block, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + torch.relu(self.block(x))
        x = x + 0.5 * dropout(relu(self.block(x)), self.p, self.training)
        logits: Tensor = self.last(x)
        return logits


class Tied(nn.Module):
    """Has two layers that share their weights, without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6, bias=False) for _ in range(2)])
        self.layers[1].weight = self.layers[0].weight
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).relu()
        logits: Tensor = self.last(x)
        return logits


class OwnWeights(nn.Module):
    """Has parameters of its own, initialised by a function that takes their tensor and the generator."""

    def __init__(self, draw: Callable[[Tensor, torch.Generator], object], of: Callable[..., Tensor]) -> None:
        super().__init__()
        self.draw, self.weights = draw, nn.Parameter(of(6, 3))

    def initialise(self, generator: torch.Generator) -> None:
        self.draw(self.weights.data, generator)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weights


def draw(weights: Tensor, generator: torch.Generator) -> None:
    weights.copy_(torch.rand(6, 3, generator=generator))


class Transposed(OwnWeights):
    """Has a parameter whose memory is in another order, and a bias to the left of the sum."""

    def __init__(self) -> None:
        super().__init__(draw, torch.ones)
        self.weights, self.bias = nn.Parameter(torch.eye(3, 6).T), nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.bias + super().forward(x)


def with_layer(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), layer, nn.Linear(8, 3))


OWN: dict[str, MakeNetwork] = {
    "residual": Residual,
    "tied": Tied,
    "transposed": Transposed,
    "ReLU": partial(with_layer, nn.ReLU()),
    "sigmoid": partial(with_layer, nn.Sigmoid()),
    "identity": partial(with_layer, nn.Identity()),
    "dropout of none": partial(with_layer, nn.Dropout(0)),
    "nested": lambda: with_layer(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))),
}


@pytest.mark.parametrize("make_network", OWN.values(), ids=OWN)
def test_a_users_own_network_trains_as_in_the_plain_loop(make_network: MakeNetwork, points: Examples) -> None:
    settings = Settings(4, 30, 0.01)
    (network,) = fit(make_network, points, classification_loss, settings, [3])
    plain, _ = plain_loop(make_network, points.inputs, points.targets, settings, 3)
    torch.testing.assert_close(weights(network).double(), weights(plain), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "make_network",
    [
        partial(with_layer, nn.Dropout(0.5)),
        partial(Residual, 0.5),
        partial(OwnWeights, draw, torch.randn),
        partial(OwnWeights, lambda weights, _: weights.mul_(torch.rand(6, 3) < 0.5), torch.rand),
    ],
    ids=["a layer of dropout", "dropout as a function", "weights of its own", "weights without the generator"],
)
def test_randomness_comes_from_the_seed_alone(make_network: MakeNetwork, points: Examples) -> None:
    results = []
    for global_seed, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        (network,) = fit(make_network, points, classification_loss, Settings(2, 30, 0.01), [seed])
        assert torch.equal(torch.get_rng_state(), before)
        results.append(weights(network))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_dropout_does_not_depend_on_the_default_dtype(points: Examples) -> None:
    before = torch.get_default_dtype()
    results = []
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        try:
            (network,) = fit(partial(Residual, 0.5), points, classification_loss, Settings(2, 30, 0.01), [0])
        finally:
            torch.set_default_dtype(before)
        results.append(weights(network))
    assert torch.equal(*results)


@pytest.mark.parametrize("p", [0.1, 0.5, 1.0])
def test_dropout_drops_a_share_p_and_keeps_the_mean(p: float) -> None:
    network = nn.Sequential(nn.Linear(1, 1), nn.Dropout(p))
    with Exact([network], training=True, masks=[torch.Generator().manual_seed(0)]):
        out = network[1](Value(np.ones((300, 200)))).data
    assert np.mean(out == 0) == pytest.approx(p, abs=0.01)
    assert out.mean() == pytest.approx(1 if p < 1 else 0, abs=0.02)
    assert set(out[out != 0]) <= {1 / (1 - p) if p < 1 else 0}


def test_dropout_is_for_training_only(points: Examples) -> None:
    (network,) = fit(partial(with_layer, nn.Dropout(0.5)), points, classification_loss, SETTINGS, [0])
    with torch.no_grad():
        expected = network.double()(points.inputs)
    torch.testing.assert_close(predict(network.float(), points), expected, atol=1e-4, rtol=0)


class Applying(nn.Module):
    """Applies a function to its inputs before its only layer."""

    def __init__(self, what: Callable[[Any], Any], inputs: int = 6) -> None:
        super().__init__()
        self.what, self.fc = what, nn.Linear(inputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.what(x))
        return logits


class OwnScale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.scale = nn.Linear(6, 3), nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.scale * self.fc(x)
        return scaled


class WithBuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)
        self.register_buffer("offset", torch.ones(3))

    def forward(self, x: Tensor) -> Any:
        return self.fc(x) + self.offset


class ByKeyword(nn.Linear):
    def __init__(self) -> None:
        super().__init__(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, bias=self.bias)


class ShortBias(nn.Module):
    """Adds a single number to all logits."""

    def __init__(self, shape: tuple[int, ...] = (6, 3)) -> None:
        super().__init__()
        self.weights, self.bias = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.ones(1))

    def initialise(self, generator: torch.Generator) -> None: ...

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weights + self.bias


class Temperature(nn.Linear):
    def __init__(self) -> None:
        super().__init__(6, 3)
        self.temperature = nn.Parameter(torch.ones(()))

    def initialise(self, _: torch.Generator) -> None: ...

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.temperature


class OneBias(nn.Linear):
    def __init__(self) -> None:
        super().__init__(6, 3)
        self.bias = nn.Parameter(torch.ones(1))


class Reversed(torch.autograd.Function):
    """Reverses the gradient."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x * 1.0

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return -gradient


def without_gradient(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.relu(x)


def with_hook(add: Callable[[nn.Linear], object]) -> nn.Module:
    network = nn.Linear(6, 3)
    add(network)
    return network


def frozen() -> nn.Module:
    network = with_layer(nn.ReLU())
    network[1].weight.requires_grad_(False)  # type: ignore[index]
    return network


DEPENDS_ON_PROCESSOR: dict[str, Callable[[Tensor, torch.Generator], object]] = {
    "normal_": lambda weights, generator: weights.normal_(generator=generator),
    "randn": lambda weights, _: weights.copy_(torch.randn(6, 3).sign()),
    "uniform_": lambda weights, generator: nn.init.xavier_uniform_(weights, generator=generator),
}
CANNOT = "cannot be trained exactly; supported: nn.Linear, ReLU"
REFUSED: dict[str, tuple[MakeNetwork, str]] = {
    **{
        str(layer): (partial(with_layer, layer), f"Sequential: its layer 2, {re.escape(str(layer))}, {CANNOT}")
        for layer in (
            nn.BatchNorm1d(8),
            nn.LayerNorm(8),
            nn.Conv2d(1, 1, 3),
            nn.Tanh(),
            nn.GELU(),
            nn.ReLU(inplace=True),
            nn.Softmax(1),
        )
    },
    "torch.tanh": (
        partial(Applying, torch.tanh),
        r"Applying: torch\.tanh cannot be computed exactly; supported: nn.Linear",
    ),
    "tanh": (
        partial(Applying, lambda x: x.tanh()),
        "Applying: an operation on a tensor .* no attribute 'tanh'",
    ),
    "view": (
        partial(Applying, lambda x: x.view(-1, 3)),
        r"Applying: an operation on a tensor .* viewed as \(-1, 3\)",
    ),
    "minus": (partial(Applying, lambda x: x - x), "Applying: an operation on a tensor .*operand"),
    "cat": (partial(Applying, lambda x: torch.cat([x, x])), r"Applying: torch\.cat cannot be computed exactly"),
    "alpha": (partial(Applying, lambda x: torch.add(x, x, alpha=2)), r"Applying: torch\.add with alpha cannot"),
    "in place": (
        partial(Applying, lambda x: relu(x, inplace=True)),
        r"Applying: torch\.nn\.functional\.relu with inplace cannot",
    ),
    "a comparison": (partial(Applying, lambda x: x * (x == 0)), "Applying: an operation on a tensor .*== or != of a"),
    "a condition": (
        partial(Applying, lambda x: x if x.sum() else relu(x)),
        "Applying: an operation on a tensor .*a condition",
    ),
    "a flag": (partial(Applying, lambda x: x * True), r"Applying: torch\.mul with these arguments cannot"),
    "squeeze": (partial(Applying, lambda x: x.squeeze()), "Applying: an operation on a tensor .*squeeze"),
    "the whole batch flattened": (partial(Applying, torch.flatten), r"Applying: torch\.flatten with these arguments"),
    "a tensor by keyword": (ByKeyword, r"ByKeyword: torch\.\S*linear with a tensor as a keyword argument cannot"),
    "another width": (partial(nn.Linear, 7, 3), r"Linear: torch\.\S*linear with these arguments cannot"),
    "a vector": (partial(ShortBias, (6,)), r"ShortBias: torch\.matmul with these arguments cannot"),
    "a short bias": (ShortBias, r"ShortBias: torch\.add with these arguments cannot"),
    "a buffer": (WithBuffer, r"WithBuffer: torch\.add of a tensor that is not a parameter cannot be computed exactly"),
    "a parameter": (OwnScale, r"OwnScale: scale has no initialisation; needed: a method initialise\(generator\) in"),
    "a number as a parameter": (Temperature, r"Temperature: torch\.add with these arguments cannot"),
    "one bias for all": (OneBias, r"OneBias: torch\.\S*linear with these arguments cannot"),
    "an endless factor": (
        partial(Applying, lambda x: x * 10**400),
        r"Applying: torch\.mul with these arguments cannot",
    ),
    "dropout of more than all": (partial(Applying, lambda x: dropout(x, 0.5 + 1)), r"Applying: torch\.\S*dropout with"),
    "its own gradient": (
        partial(Applying, Reversed.apply),
        r"Applying: torch\.mul .*in a torch\.autograd\.Function cannot",
    ),
    "no gradient": (partial(Applying, without_gradient), r"Applying: torch\.relu without a gradient .*cannot"),
    **{
        hook: (partial(with_hook, add), "Linear: a hook on its gradients would be ignored; needed: none")
        for hook, add in {
            "a hook": lambda network: network.weight.register_hook(lambda gradient: gradient),
            "a hook after it": lambda network: network.weight.register_post_accumulate_grad_hook(lambda _: None),
            "a hook of a layer": lambda network: network.register_full_backward_hook(lambda *_: None),
            "a hook before a layer": lambda network: network.register_full_backward_pre_hook(lambda *_: None),
        }.items()
    },
    **{
        name: (
            partial(OwnWeights, uses, torch.ones),
            rf"OwnWeights: its initialise uses {name}, which depends on the processor; needed: torch\.rand\(",
        )
        for name, uses in DEPENDS_ON_PROCESSOR.items()
    },
    **{
        of.__name__: (
            partial(OwnWeights, lambda *_: None, of),
            r"OwnWeights: weights starts with numbers that are not reproducible; needed: torch\.rand\(.*generator\)",
        )
        for of in (torch.randn, torch.empty)
    },
    "frozen": (frozen, r"Sequential: its parameter 1\.weight is frozen; needed: requires_grad=True"),
}


@ENGINES
@pytest.mark.parametrize(("make_network", "line"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_trained_exactly_is_rejected_in_one_line(
    make_network: MakeNetwork, line: str, arrays: Any, points: Examples
) -> None:
    with pytest.raises(InputError, match=f"^{line}") as error:
        fit(make_network, points, classification_loss, SETTINGS, [0], arrays=arrays)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", [{"reduction": "sum"}, {"label_smoothing": 0.1}, {"ignore_index": 0}], ids=str)
def test_a_loss_option_that_would_change_the_result_is_rejected(option: dict[str, Any], points: Examples) -> None:
    def loss(network: nn.Module, x: Any, labels: Any) -> Any:
        return cross_entropy(network(x), labels, **option)

    with pytest.raises(
        InputError, match=rf"^Sequential: torch\.nn\.functional\.cross_entropy with {next(iter(option))} cannot"
    ):
        fit(partial(with_layer, nn.ReLU()), points, loss, SETTINGS, [0])


@ENGINES
@pytest.mark.parametrize(
    ("loss", "targets", "line"),
    [
        (mse_loss, [200], r"outputs \[50, 3\] and targets \[50\]; needed: \[n\] and \[n\]"),
        (mse_loss, [200, 3], r"outputs \[50, 3\] and targets \[50, 3\]; needed: \[n\] and \[n\]"),
        (binary_cross_entropy, [200, 1], r"outputs \[50, 3\] and targets \[50, 1\]; needed: \[n\] and \[n\]"),
        (
            cross_entropy,  # class probabilities, which torch allows
            [200, 3],
            r"outputs \[50, 3\] and targets \[50, 3\]; needed: \[n, classes\] and \[n\], which are numbers of classes",
        ),
        (cross_entropy, [200, 1], r"outputs \[50, 3\] and targets \[50, 1\]; needed: \[n, classes\] and \[n\], which"),
    ],
)
def test_a_loss_of_mismatched_outputs_and_targets_is_rejected_in_one_line(
    loss: Callable[[Any, Any], Any], targets: list[int], line: str, arrays: Any, points: Examples
) -> None:
    """torch would broadcast them, with at most a warning, and minimise a different loss."""
    examples = points._replace(targets=torch.ones(targets).double())
    with pytest.raises(InputError, match=f"^Linear: a loss of {line}") as error:
        fit(partial(nn.Linear, 6, 3), examples, lambda network, x, y: loss(network(x), y), SETTINGS, [0], arrays=arrays)
    assert "\n" not in str(error.value)


@ENGINES
@pytest.mark.parametrize(
    ("label", "found"), [(3, "0 to 3"), (-1, "-1 to 2"), (-100, "-100 to 2"), (0.5, r"0\.0 to 2\.0")]
)
def test_a_label_that_is_not_a_class_is_rejected_in_one_line(
    label: float, found: str, arrays: Any, points: Examples
) -> None:
    targets = points.targets.double() if isinstance(label, float) else points.targets.clone()
    targets[150] = label
    with pytest.raises(InputError, match=rf"^Linear: labels from {found}; needed: integers from 0 to 2$"):
        fit(
            partial(nn.Linear, 6, 3),
            points._replace(targets=targets),
            classification_loss,
            SETTINGS,
            [0],
            arrays=arrays,
        )


@ENGINES
@pytest.mark.parametrize(
    ("loss", "line"),
    {
        "mean squared error with swapped arguments": (
            lambda network, x, y: mse_loss(y, network(x).squeeze(1)),
            r"torch\.\S*mse_loss with these arguments cannot",
        ),
        "cross-entropy with swapped arguments": (
            lambda network, x, y: binary_cross_entropy(y, torch.sigmoid(network(x).squeeze(1))),
            r"torch\.\S*binary_cross_entropy with these arguments cannot",
        ),
        "no parameters": (
            lambda _, __, y: mse_loss(y * 1.0, y),
            "a loss that does not depend on the parameters cannot",
        ),
        "dropout of numbers": (
            lambda network, x, y: mse_loss(dropout(network(x).squeeze(1)), y),
            r"torch\.\S*dropout with p, training cannot",
        ),
        "a loss for each example": (
            lambda network, x, y: network(x).squeeze(1) + -1.0 * y,
            r"a loss of shape \[50\] instead of a single number cannot",
        ),
        "a single number": (
            lambda network, x, y: torch.relu(mse_loss(network(x).squeeze(1), y)),
            r"torch\.relu with these arguments cannot",
        ),
        "classes that are computed": (
            lambda network, x, y: cross_entropy(network(x), y * 0.0),
            r"torch\.\S*cross_entropy with these arguments cannot",
        ),
        "penalty on a vector": (
            lambda network, x, y: regression_loss(network, x, y) + 0.1 * network.bias.abs().sum(),
            r"torch\.\S*sum with these arguments cannot",
        ),
    }.values(),
)
def test_a_loss_that_cannot_be_minimised_exactly_is_rejected_in_one_line(
    loss: Loss, line: str, arrays: Any, points: Examples
) -> None:
    examples = points._replace(targets=points.targets.double().clamp(max=1))
    with pytest.raises(InputError, match=f"^Linear: {line}") as error:
        fit(partial(nn.Linear, 6, 1), examples, loss, SETTINGS, [0], arrays=arrays)
    assert "\n" not in str(error.value)


@ENGINES
@pytest.mark.parametrize(
    "count",
    [
        lambda _, y: y.size(0),
        lambda _, y: y.shape[0],
        lambda _, y: y.view(-1).size()[0],
        lambda outputs, _: outputs.squeeze(1).size(0),
    ],
)
def test_a_loss_may_use_the_number_of_examples(count: Callable[[Any, Any], int], arrays: Any, points: Examples) -> None:
    examples = points._replace(targets=points.targets.double())
    seeds = [0] if isinstance(arrays, OnNumpy) else [0, 1, 2]
    networks = [
        fit(partial(nn.Linear, 6, 1), examples, loss, SETTINGS, seeds, arrays=arrays)[0]
        for loss in (
            lambda network, x, y: regression_loss(network, x, y) * (1 / count(network(x), y)),
            lambda network, x, y: regression_loss(network, x, y) * (1 / 50),
        )
    ]
    assert torch.equal(*(weights(network) for network in networks))


INTEGERS = (torch.bool, torch.uint8, torch.int32, torch.int64)


@ENGINES
@pytest.mark.parametrize(
    ("outputs", "loss", "dtype"),
    [
        *((2, classification_loss, dtype) for dtype in INTEGERS),
        *(
            (1, lambda network, x, y: mse_loss(network(x).squeeze(1), 0.1 * y + y), dtype)
            for dtype in (*INTEGERS, torch.bfloat16, torch.float32, torch.float64)
        ),
    ],
)
def test_targets_may_have_any_type(outputs: int, loss: Loss, dtype: torch.dtype, arrays: Any, points: Examples) -> None:
    targets = points.targets.clamp(max=1)
    networks = [
        fit(partial(nn.Linear, 6, outputs), points._replace(targets=each), loss, SETTINGS, [0], arrays=engine)[0]
        for each, engine in ((targets.to(dtype), arrays), (targets, OnNumpy()))
    ]
    assert torch.equal(*(weights(network) for network in networks))


@ENGINES
def test_a_loss_may_be_a_sum(arrays: Any, points: Examples) -> None:
    def loss(network: nn.Module, x: Any, _: Any) -> Any:
        total: Any = network(x)
        return total.sum()

    make_network = partial(nn.Sequential, nn.Linear(6, 2), nn.Sigmoid())
    (network,) = fit(make_network, points, loss, SETTINGS, [0], arrays=arrays)
    plain, _ = plain_loop(make_network, points.inputs, points.targets, SETTINGS, 0, loss)
    torch.testing.assert_close(weights(network).double(), weights(plain), atol=1e-5, rtol=0)


@ENGINES
def test_settings_may_be_numbers_of_numpy(arrays: Any, points: Examples) -> None:
    """They have another type than Python's, which must not change the precision of the arithmetic."""
    results = []
    for number in (float, np.float64):
        settings = Settings(2, 50, number(0.01), (number(0.9), number(0.99)))

        def loss(network: Any, x: Any, labels: Any, scale: float = number(0.3)) -> Any:
            return classification_loss(network, x, labels) + scale * network.weight.abs().sum()

        (network,) = fit(partial(nn.Linear, 6, 3), points, loss, settings, [0], arrays=arrays)
        results.append(weights(network))
    assert torch.equal(*results)


@ENGINES
def test_a_network_without_parameters_is_rejected_in_one_line(arrays: Any, points: Examples) -> None:
    with pytest.raises(InputError, match=r"^Sequential: it has no parameters; needed: at least one") as error:
        fit(partial(nn.Sequential, nn.ReLU()), points, classification_loss, SETTINGS, [0], arrays=arrays)
    assert "\n" not in str(error.value)


def test_networks_that_share_parameters_are_rejected_in_one_line(points: Examples) -> None:
    make_network = partial(nn.Sequential, nn.Linear(6, 3))
    with pytest.raises(InputError, match=r"^Sequential: networks share parameters; needed: new ones for each seed$"):
        fit(make_network, points, classification_loss, SETTINGS, [0, 1], arrays=OnTorch("cpu"))


def test_as_many_targets_as_inputs_are_needed(points: Examples) -> None:
    with pytest.raises(InputError, match=r"^100 inputs and 200 targets; needed: a target for each input$"):
        fit(partial(nn.Linear, 6, 3), points._replace(inputs=points.inputs[:100]), classification_loss, SETTINGS, [0])


@pytest.mark.parametrize(("hidden", "learning_rate"), [([], 1e31), ([30] * 10, 1e28)])
def test_weights_too_large_for_a_prediction_end_in_one_line(
    hidden: list[int], learning_rate: float, training: LabelledImages
) -> None:
    make_network, settings = partial(DeepNeuralNet, 784, hidden, 10), Settings(1, 1000, learning_rate)
    with pytest.raises(DivergedError, match="DeepNeuralNet, seed 7: loss or weights are not finite after epoch 1"):
        train(make_network, training, training, settings, [7])


@pytest.mark.parametrize("make_network", [SHALLOW, DEEP])
def test_divergence_ends_in_one_line(make_network: MakeNetwork, training: LabelledImages) -> None:
    epochs: list[int] = []
    with pytest.raises(DivergedError) as error:
        fit(
            make_network,
            training.examples(),
            classification_loss,
            Settings(5, 50, 1e36),
            [4],
            lambda *done: epochs.append(done[1]),
        )
    name = type(make_network()).__name__
    epoch = len(epochs) + 1
    assert (error.value.network, error.value.seed, error.value.epoch) == (name, 4, epoch)
    assert str(error.value) == (
        f"{name}, seed 4: loss or weights are not finite after epoch {epoch}, at learning rate 1e+36"
    )


def test_one_example_and_a_batch_larger_than_all_examples_are_enough(points: Examples) -> None:
    few = points._replace(inputs=points.inputs[:1], targets=points.targets[:1])
    (network,) = fit(partial(with_layer, nn.ReLU()), few, classification_loss, Settings(2, 1000, 0.01), [0])
    assert weights(network).isfinite().all()


def test_the_last_batch_of_an_epoch_has_the_remaining_examples(points: Examples) -> None:
    """The network and the loss are called once per epoch for each batch size."""
    sizes, steps = list[int](), list[int]()

    def recording(network: nn.Module, x: Any, labels: Any) -> Any:
        sizes.append(x.size(0))
        return classification_loss(network, x, labels)

    settings = Settings(2, 64, 0.01)
    fit(partial(with_layer, nn.ReLU()), points, recording, settings, [0], lambda *done: steps.append(len(done[3])))
    assert sizes == [64, 8] * 2
    assert steps == [4, 4]


class Counting(nn.Module):
    """Computes something different from its second call on."""

    def __init__(self, what: Callable[[Any, Any, int], Any]) -> None:
        super().__init__()
        self.fc, self.what, self.calls, self.last = nn.Linear(6, 3), what, 0, None

    def forward(self, x: Any) -> Any:
        self.calls += 1
        logits = self.fc(x)
        result = self.what(logits, self.last, self.calls)
        self.last = logits
        return result


@pytest.mark.parametrize(
    "what",
    [
        lambda logits, _, calls: torch.relu(logits) if calls > 1 else logits,
        lambda logits, _, calls: logits * calls,
    ],
    ids=["a layer more", "another factor"],
)
def test_a_network_that_computes_something_else_later_is_rejected_in_one_line(
    what: Callable[[Any, Any, int], Any], points: Examples
) -> None:
    line = "^Counting: it or its loss computes something else in epoch 2 than before; needed: the same for all batches"
    with pytest.raises(InputError, match=line) as error:
        fit(partial(Counting, what), points, classification_loss, Settings(2, 50, 0.01), [0])
    assert "\n" not in str(error.value)


def test_a_value_of_another_batch_is_rejected_in_one_line(points: Examples) -> None:
    make_network = partial(Counting, lambda logits, last, _: logits if last is None else logits + last)
    with pytest.raises(InputError, match=r"^Counting: a value of another batch cannot be computed exactly"):
        fit(make_network, points, classification_loss, Settings(2, 50, 0.01), [0])


def test_a_loss_that_does_not_come_from_the_outputs_is_rejected_in_one_line(points: Examples) -> None:
    with pytest.raises(InputError, match=r"^Linear: a loss that does not come from the network's outputs cannot"):
        fit(partial(nn.Linear, 6, 3), points, lambda *_: 0.0, SETTINGS, [0])


def test_a_loss_may_compute_with_targets(points: Examples) -> None:
    doubled = points._replace(targets=points.targets.double() * 2)
    networks = [
        fit(partial(nn.Linear, 6, 1), examples, loss, SETTINGS, [0])[0]
        for examples, loss in (
            (doubled, regression_loss),
            (
                points._replace(targets=points.targets.double()),
                lambda network, x, y: mse_loss(network(x).squeeze(1), y * 2),
            ),
        )
    ]
    assert torch.equal(*(weights(network) for network in networks))


@pytest.mark.parametrize(
    "flatten",
    [
        lambda x: x.view(x.size(0), -1),
        lambda x: x.view(x.size()[0], -1),
        lambda x: x.view(-1, 784),
        lambda x: x.reshape(x.shape[0], -1),
        lambda x: x.flatten(1),
        lambda x: torch.flatten(x, 1),
        torch.nn.Flatten(),
    ],
)
def test_every_usual_way_to_flatten_a_batch_works(flatten: Callable[[Any], Any]) -> None:
    images = random_images(200).examples()
    three_classes = images._replace(targets=images.targets % 3)
    networks = [
        fit(partial(Applying, does, 784), three_classes, classification_loss, SETTINGS, [0])[0]
        for does in (flatten, lambda x: x)
    ]
    assert torch.equal(*(weights(network) for network in networks))


def test_gradients_whose_squares_overflow_end_in_one_line() -> None:
    """Otherwise their weights would silently stop changing: infinite second moments make steps of zero."""
    x = torch.tensor([[1e25], [1e25]], dtype=torch.float64)
    with pytest.raises(DivergedError, match="Linear, seed 0: loss or weights are not finite after epoch 1"):
        fit(partial(nn.Linear, 1, 1), Examples(x, torch.zeros(2).double()), regression_loss, Settings(1, 2, 1e-3), [0])
