"""Softmax and cross-entropy from their formulas, compared with torch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from mlp.formulas import cross_entropy, one_hot, softmax

LOGITS = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(-1e6, 1e6))


def test_the_lectures_vector() -> None:
    expected = (
        "0.08089815 0.10387528 0.14021696 0.10920108 0.12068586 0.08940628 0.10387528 0.0769527 0.08089815 0.09399024"
    )
    result = softmax(np.array([-1, 4, 10, 5, 7, 1, 4, -2, -1, 2]) / 20)
    np.testing.assert_allclose(result, [float(text) for text in expected.split()], atol=5e-9)
    assert result.sum() == pytest.approx(1)


@given(LOGITS)
def test_softmax_agrees_with_torch(logits: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(softmax(logits), torch.from_numpy(logits).softmax(dim=1), atol=1e-14)


@given(LOGITS, st.floats(-1e6, 1e6))
def test_a_constant_changes_no_probability(logits: NDArray[np.float64], constant: float) -> None:
    np.testing.assert_allclose(softmax(np.round(logits) + np.round(constant)), softmax(np.round(logits)), atol=1e-14)


def test_logits_beyond_the_range_of_exp_are_safe() -> None:
    with np.errstate(over="raise", invalid="raise"):
        assert softmax(np.array([1e300, 0.0, -1e300])).tolist() == [1, 0, 0]
        assert cross_entropy(np.array([[1000.0, 0.0]]), one_hot(np.array([1]), 2)) == 1000


@given(st.data(), LOGITS)
def test_cross_entropy_agrees_with_torch(data: st.DataObject, logits: NDArray[np.float64]) -> None:
    n, classes = logits.shape
    labels = data.draw(arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    expected = torch.nn.CrossEntropyLoss()(torch.from_numpy(logits), torch.from_numpy(labels)).item()
    assert cross_entropy(logits, one_hot(labels, classes)) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_one_hot_agrees_with_torch() -> None:
    labels = np.array([2, 0, 1, 2])
    assert np.array_equal(one_hot(labels, 4), torch.nn.functional.one_hot(torch.from_numpy(labels), 4))
