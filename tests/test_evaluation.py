"""Metrics, compared with NumPy, torch and scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.calibration import calibration_curve
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mlp.binary import mean_binary_cross_entropy
from mlp.evaluation import (
    Bin,
    accuracy,
    confusion,
    correct,
    expected_calibration_error,
    mean_cross_entropy,
    probabilities,
    reliability,
    training_multiply_adds,
)
from mlp.images import LabelledImages, pixel_statistics, read_idx
from mlp.models import DeepNeuralNet, ShallowNeuralNet
from mlp.prediction import predict


@st.composite
def predictions(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Draws logits and labels, with at least one image of each of three classes."""
    labels = [0, 1, 2, *draw(st.lists(st.integers(0, 2), max_size=20))]
    logits = draw(arrays(np.float64, (len(labels), 3), elements=st.floats(-1e4, 1e4)))
    return torch.from_numpy(logits), torch.tensor(labels)


@given(predictions())
def test_probabilities_are_the_softmax_of_the_logits(case: tuple[Tensor, Tensor]) -> None:
    logits = case[0].numpy()
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result = probabilities(case[0])
    np.testing.assert_allclose(result, powers / powers.sum(axis=1, keepdims=True), atol=1e-12)
    torch.testing.assert_close(result.sum(dim=1), torch.ones(len(result), dtype=torch.float64))


@given(predictions())
def test_accuracy_is_the_share_of_correct_classifications(case: tuple[Tensor, Tensor]) -> None:
    logits, labels = case
    right = [int(row.argmax()) == int(label) for row, label in zip(probabilities(logits), labels, strict=True)]
    assert correct(logits, labels).tolist() == right
    assert accuracy(logits, labels) == pytest.approx(sum(right) / len(labels))


@given(predictions())
def test_the_mean_cross_entropy_agrees_with_torch(case: tuple[Tensor, Tensor]) -> None:
    assert mean_cross_entropy(*case) == pytest.approx(nn.CrossEntropyLoss()(*case).item(), rel=1e-12, abs=1e-10)


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0])), min_size=1, max_size=40))
def test_the_mean_binary_cross_entropy_agrees_with_torch(cases: list[tuple[float, float]]) -> None:
    """This includes wrong probabilities of 0 or 1, whose logarithm torch clamps to -100."""
    chances, labels = torch.tensor(cases, dtype=torch.float64).T
    assert mean_binary_cross_entropy(chances, labels) == pytest.approx(nn.BCELoss()(chances, labels).item(), abs=1e-12)


@given(predictions())
def test_a_confusion_matrix_counts_every_image_in_its_row(case: tuple[Tensor, Tensor]) -> None:
    logits, labels = case
    expected = np.zeros((3, 3))
    np.add.at(expected, (labels.numpy(), probabilities(logits).argmax(dim=1).numpy()), 1)
    np.testing.assert_allclose(confusion(logits, labels), expected / expected.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("network", [ShallowNeuralNet(784, 30, 10), DeepNeuralNet(784, [20, 10], 10)], ids=str)
def test_prediction_is_what_torch_computes_in_the_stored_order_and_in_eval_mode(
    network: nn.Module, mnist_raw: Path
) -> None:
    images = read_idx(mnist_raw / "t10k-images-idx3-ubyte")[:1300]
    data = LabelledImages(images, torch.zeros(1300).long(), *pixel_statistics(images))
    found = predict(network.train(), data.examples())
    assert not network.training
    with torch.no_grad():
        expected = network.double()((images.flatten(1).double() / 255 - data.mean) / data.std)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)
    examples = data.examples()
    x = (examples.inputs.double() - examples.shift) / (examples.divisor or 1)
    with torch.no_grad():
        torch.testing.assert_close(found, network(x), atol=1e-5, rtol=0)


@given(predictions())
def test_reliability_agrees_with_scikit_learns_calibration_curve(case: tuple[Tensor, Tensor]) -> None:
    logits, labels = case
    confidences, predicted = probabilities(logits).max(dim=1)
    accuracies, means = calibration_curve(predicted == labels, confidences, n_bins=15)
    bins = reliability(logits, labels)
    on_an_edge = ((confidences * 15).round() - confidences * 15).abs() < 1e-9  # these may be in either bin
    if not (on_an_edge & (confidences < 1)).any():
        assert [each.accuracy for each in bins] == pytest.approx(accuracies.tolist())
        assert [each.confidence for each in bins] == pytest.approx(means.tolist())
    assert sum(each.images for each in bins) == len(labels)


def test_the_calibration_error_is_the_mean_gap_weighted_by_images() -> None:
    bins = [Bin(images=30, confidence=0.9, accuracy=0.8), Bin(images=10, confidence=0.5, accuracy=0.9)]
    assert expected_calibration_error(bins) == pytest.approx((30 * 0.1 + 10 * 0.4) / 40)


@pytest.mark.parametrize("network", [ShallowNeuralNet(30, 7, 5), DeepNeuralNet(30, [9, 8, 6], 5)], ids=str)
def test_multiply_adds_of_training_are_half_the_operations_that_torch_counts(network: nn.Module) -> None:
    with FlopCounterMode(display=False) as counter:
        loss = nn.functional.cross_entropy(network(torch.randn(12, 30)), torch.zeros(12).long())
        torch.autograd.grad(loss, list(network.parameters()))
    assert training_multiply_adds(network, images=12) == counter.get_total_flops() / 2
