"""Training one network, beside the plain loop with torch.optim.Adam."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mlp.datasets import LabelledImages, batches, pixel_statistics, read_idx
from mlp.evaluation import accuracy, predict
from mlp.models import DeepNeuralNet, Network, ShallowNeuralNet, initialise
from mlp.training import Epoch, Settings, adam_step, round_weights, train

SHALLOW = partial(ShallowNeuralNet, 784, 16, 10)
DEEP = partial(DeepNeuralNet, 784, [12, 8], 10)
SETTINGS = Settings(epochs=3, batch_size=50, learning_rate=0.003)


@pytest.fixture(scope="module")
def training(mnist_raw: Path) -> LabelledImages:
    images = read_idx(mnist_raw / "train-images-idx3-ubyte")[:1000]
    labels = read_idx(mnist_raw / "train-labels-idx1-ubyte")[:1000].long()
    return LabelledImages(images, labels, *pixel_statistics(images))


@pytest.fixture(scope="module")
def nothing(training: LabelledImages) -> LabelledImages:
    return training._replace(images=training.images[:0], labels=training.labels[:0])


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def generators(seed: int) -> tuple[torch.Generator, torch.Generator]:
    """For the order of the images and for the first weights."""
    order, first = np.random.SeedSequence(seed).generate_state(2, np.uint64).tolist()
    return torch.Generator().manual_seed(order), torch.Generator().manual_seed(first)


@pytest.mark.parametrize("make_network", [SHALLOW, DEEP])
def test_a_step_is_that_of_torchs_adam(make_network: partial[Network], training: LabelledImages) -> None:
    ours, torchs = make_network().double(), make_network().double()
    torchs.load_state_dict(ours.state_dict())
    betas = (0.8, 0.99)
    step, adam = adam_step(list(ours.parameters()), 0.01, betas), torch.optim.Adam(torchs.parameters(), 0.01, betas)
    for x, labels in batches(training, 100):
        step(nn.functional.cross_entropy(ours(x), labels))
        adam.zero_grad()
        nn.CrossEntropyLoss()(torchs(x), labels).backward()
        adam.step()
    torch.testing.assert_close(weights(ours), weights(torchs), atol=1e-12, rtol=0)


def test_training_is_the_plain_loop(training: LabelledImages, nothing: LabelledImages) -> None:
    """The same first weights and order, which the loop takes from the same seeds, give the same network."""
    losses: list[float] = []
    network = train(SHALLOW, training, nothing, SETTINGS, 7, lambda epoch: losses.append(epoch.training_loss))
    plain, (order, first) = SHALLOW().double(), generators(7)
    initialise(plain, first)
    adam = torch.optim.Adam(plain.parameters(), lr=SETTINGS.learning_rate)
    x_all = torch.cat([x for x, _ in batches(training, 1000)])
    for loss_ours in losses:
        total = 0.0
        for chosen in torch.randperm(1000, generator=order).view(-1, SETTINGS.batch_size):
            loss = nn.CrossEntropyLoss()(plain(x_all[chosen]), training.labels[chosen])
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.item() * len(chosen)
        assert total / 1000 == pytest.approx(loss_ours, abs=1e-9)
    torch.testing.assert_close(weights(network), weights(plain), atol=2**-14, rtol=0)


def test_it_learns(training: LabelledImages) -> None:
    curve: list[Epoch] = []
    network = train(DEEP, training, training, Settings(10, 50, 0.003), 0, curve.append)
    assert [point.epoch for point in curve] == list(range(1, 11))
    assert curve[-1].training_loss < curve[0].training_loss / 4
    assert accuracy(predict(network, training), training.labels) > 0.9


def test_the_validation_curve_ends_at_what_the_network_reaches(training: LabelledImages) -> None:
    curve: list[Epoch] = []
    network = train(SHALLOW, training, training, SETTINGS, 0, curve.append)
    logits = predict(network, training)
    assert curve[-1].validation_accuracy == accuracy(logits, training.labels)
    assert curve[-1].validation_loss == pytest.approx(nn.CrossEntropyLoss()(logits, training.labels).item(), abs=1e-4)


def test_without_validation_images_there_is_no_validation_curve(
    training: LabelledImages, nothing: LabelledImages
) -> None:
    curve: list[Epoch] = []
    train(SHALLOW, training, nothing, SETTINGS, 0, curve.append)
    assert {(point.validation_loss, point.validation_accuracy) for point in curve} == {(None, None)}


def test_validation_images_change_nothing(training: LabelledImages, nothing: LabelledImages) -> None:
    networks = [train(DEEP, training, validation, SETTINGS, 0) for validation in (training, nothing)]
    assert torch.equal(*map(weights, networks))


@pytest.mark.parametrize("make_network", [SHALLOW, DEEP])
def test_training_is_a_pure_function_of_data_settings_and_seed(
    make_network: partial[Network], training: LabelledImages, nothing: LabelledImages
) -> None:
    """Neither the global generator nor the number of threads has a say, and neither is changed."""
    results = []
    for global_seed, threads in ((1, 1), (2, 2), (3, 4)):
        torch.manual_seed(global_seed)
        torch.set_num_threads(threads)
        before = torch.get_rng_state()
        results.append(weights(train(make_network, training, nothing, SETTINGS, seed=5)))
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], weights(train(make_network, training, nothing, SETTINGS, seed=6)))


def test_networks_of_the_same_seed_see_the_images_in_the_same_order(
    training: LabelledImages, nothing: LabelledImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []

    def recording(data: LabelledImages, batch_size: int, order: torch.Generator):  # type: ignore[no-untyped-def]
        state = order.get_state()
        seen.append(torch.randperm(1000, generator=order).tolist())
        order.set_state(state)
        return batches(data, batch_size, order)

    monkeypatch.setattr("mlp.training.batches", recording)
    for make_network in (SHALLOW, DEEP):
        train(make_network, training, nothing, SETTINGS, seed=0)
    assert seen[:3] == seen[3:]
    assert seen[0] != seen[1]


def test_the_trained_network_is_in_eval_mode_with_weights_that_float32_holds(
    training: LabelledImages, nothing: LabelledImages
) -> None:
    network = train(SHALLOW, training, nothing, SETTINGS, 0)
    assert not network.training
    assert torch.equal(weights(network).float().double(), weights(network))
    assert torch.equal((weights(network) * 2**14).round(), weights(network) * 2**14)


def test_rounding_moves_a_weight_by_half_a_step_at_most() -> None:
    network = DEEP().double()
    before = weights(network)
    round_weights(network)
    assert (weights(network) - before).abs().max() <= 2**-15


def test_training_sets_the_modes_where_they_belong(training: LabelledImages, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[bool] = []
    forward = ShallowNeuralNet.forward

    def recording(self: ShallowNeuralNet, x: torch.Tensor) -> torch.Tensor:
        modes.append(self.training)
        return forward(self, x)

    monkeypatch.setattr(ShallowNeuralNet, "forward", recording)
    train(SHALLOW, training, training, Settings(2, 500, 0.003), 0)
    assert modes == [True, True, False] * 2
