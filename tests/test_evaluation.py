"""Metrics beside numpy and torch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from mlp.datasets import LabelledImages
from mlp.evaluation import accuracy, confusion, predict, probabilities
from mlp.models import ShallowNeuralNet


@st.composite
def predictions(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Logits with at least one image of each of three classes."""
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
def test_accuracy_is_the_share_of_right_answers(case: tuple[Tensor, Tensor]) -> None:
    logits, labels = case
    right = sum(int(row.argmax()) == int(label) for row, label in zip(probabilities(logits), labels, strict=True))
    assert accuracy(logits, labels) == pytest.approx(right / len(labels))


@given(predictions())
def test_a_confusion_matrix_counts_every_image_in_its_row(case: tuple[Tensor, Tensor]) -> None:
    logits, labels = case
    expected = np.zeros((3, 3))
    np.add.at(expected, (labels.numpy(), probabilities(logits).argmax(dim=1).numpy()), 1)
    np.testing.assert_allclose(confusion(logits, labels), expected / expected.sum(axis=1, keepdims=True))


@given(predictions())
def test_the_gradient_of_the_loss_is_softmax_minus_one_hot(case: tuple[Tensor, Tensor]) -> None:
    logits, labels = case[0].requires_grad_(), case[1]
    nn.CrossEntropyLoss()(logits, labels).backward()
    expected = (probabilities(logits) - nn.functional.one_hot(labels, 3)) / len(labels)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, expected.detach(), atol=1e-12, rtol=0)


def test_prediction_is_in_the_stored_order_and_in_eval_mode() -> None:
    network = ShallowNeuralNet(4, 3, 2).double()
    images = torch.randint(0, 256, (2500, 2, 2), dtype=torch.uint8)
    data = LabelledImages(images, torch.zeros(2500).long(), torch.tensor(0.2).double(), torch.tensor(0.3).double())
    expected = network((images.flatten(1).double() / 255 - data.mean) / data.std)
    torch.testing.assert_close(predict(network, data), expected.detach())
    assert not network.training
