"""Exact arithmetic, compared with Python's integers, decimal, fractions and torch."""

import math
from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import nn

from conftest import set_byte_products
from kinds import Kind, kinds
from mlp.exact import Exact, Value, exp, log, logistic, mean, mean_of_all, product_bits, softmax, sum_bits
from mlp.on_numpy import MAX_TERMS, OnNumpy
from mlp.on_torch import OnTorch
from mlp.prediction import predict

Floats = NDArray[Any]
DIGITS = Context(prec=60, Emax=10**6, Emin=-(10**6))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
LARGEST_32 = float(np.nextafter(np.float32(2.0**100), np.float32(0)))  # in float32, on a grid


def floats(largest: float, width: Literal[32, 64]) -> st.SearchStrategy[Floats]:
    return arrays(f"f{width // 8}", st.integers(1, 20), elements=st.floats(-largest, largest, width=width))


IN_EITHER_PRECISION = floats(LARGEST_32, 32) | floats(1e100, 64)


def on_torch(function: Callable[..., Any], array: Floats, *arguments: Any) -> Floats:
    """Returns torch's result for the second network of a stack, whose first has other numbers."""
    tensor = torch.from_numpy(np.stack([array[::-1] * 3, array]))
    result: Floats = function(OnTorch("cpu"), tensor, *arguments)[1].numpy()
    return result


def nearest_multiple(x: float, step: Fraction) -> Fraction:
    return round(Fraction(x) / step) * step  # halves to even


@given(IN_EITHER_PRECISION, st.integers(2, 22))
def test_a_grid_has_the_nearest_multiples(array: Floats, bits: int) -> None:
    exponent = max(math.frexp(float(np.abs(array).max()))[1], -100)
    step = Fraction(2) ** (exponent - bits)
    rounded = OnNumpy().grid(array, bits)
    assert rounded.dtype == np.float64
    assert [Fraction(x) for x in rounded.tolist()] == [nearest_multiple(x, step) for x in array.tolist()]
    np.testing.assert_array_equal(on_torch(OnTorch.grid, array, bits), rounded)


@given(arrays(np.float64, (4, 5), elements=st.floats(-(2.0**300), 2.0**300)), st.integers(2, 51))
def test_with_rows_each_row_has_a_grid_of_its_own(array: Floats, bits: int) -> None:
    rows = [OnNumpy().grid(row, bits) for row in array]
    np.testing.assert_array_equal(OnNumpy().grid(array, bits, rows=True), rows)
    tensor = torch.from_numpy(array)[None]
    np.testing.assert_array_equal(OnTorch("cpu").grid(tensor, bits, rows=True)[0].numpy(), rows)


@given(IN_EITHER_PRECISION, st.integers(2, 22))
def test_multiples_of_a_unit_are_the_numbers_of_the_grid(array: Floats, bits: int) -> None:
    numbers, unit = OnNumpy().multiples(array, bits)
    assert numbers.dtype == np.int32
    assert math.frexp(unit)[0] == 0.5
    np.testing.assert_array_equal(numbers * unit, OnNumpy().grid(array, bits))


@given(
    st.integers(1, MAX_TERMS).flatmap(
        lambda k: st.tuples(
            arrays(np.int32, (3, k), elements=st.integers(-(2**22), 2**22), fill=st.sampled_from([-(2**22), 2**22])),
            arrays(np.int8, (k, 2), elements=st.integers(-128, 127), fill=st.sampled_from([-128, 127])),
        )
    )
)
def test_a_product_with_bytes_is_that_of_integers(operands: tuple[NDArray[np.int32], NDArray[np.int8]]) -> None:
    numbers, signed = operands
    with pytest.MonkeyPatch.context() as patch:
        set_byte_products(patch, True)
        product = OnNumpy().byte_product(numbers, signed)
    assert product.tolist() == (numbers.astype(object) @ signed.astype(object)).tolist()


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan, 2.0**400, -(2.0**100)])
def test_an_array_with_a_number_beyond_all_grids_becomes_nan(number: float) -> None:
    """In float32, the grids end earlier, below 2^100."""
    with np.errstate(all="ignore"):
        array = np.array([1.0, number], np.float32 if abs(number) != 2.0**400 else np.float64)
        assert math.isnan(OnNumpy().multiples(array, 20)[1])
        for rounded in (OnNumpy().grid(array, 20), on_torch(OnTorch.grid, array, 20)):
            assert np.isnan(rounded).all()
        for rounded in (OnNumpy().grid(array[None], 20, rows=True), on_torch(OnTorch.grid, array[None], 20, True)):
            assert np.isnan(rounded).all()


@given(
    st.integers(1, 6).flatmap(
        lambda k: st.tuples(
            *(
                arrays(np.float32, shape, elements=st.floats(-(2.0**60), 2.0**60, width=32))
                for shape in ((3, k), (k, 2))
            )
        )
    )
)
def test_a_product_on_grids_agrees_with_pythons_integers(operands: tuple[Floats, Floats]) -> None:
    a, b = (OnNumpy().grid(each, product_bits(3, 2, each.size)) for each in operands)
    for i in range(3):
        for j in range(2):
            exact = sum(Fraction(x) * Fraction(y) for x, y in zip(a[i].tolist(), b[:, j].tolist(), strict=True))
            assert Fraction(float((a @ b)[i, j])) == exact


@given(st.integers(1, 10**7))
def test_bits_and_the_summed_size_fit_into_53(size: int) -> None:
    assert 2 * product_bits(size) + math.ceil(math.log2(size)) <= 53
    assert sum_bits(size) + math.ceil(math.log2(size)) <= 53


@given(arrays(np.float64, st.integers(1, 300), elements=st.floats(-1e30, 1e30)), st.randoms())
def test_a_mean_does_not_depend_on_the_order(numbers: Floats, random: Any) -> None:
    order = list(range(len(numbers)))
    random.shuffle(order)
    result = float(mean(OnNumpy(), numbers))
    assert float(mean(OnNumpy(), numbers[order])) == result
    assert result == pytest.approx(math.fsum(numbers.tolist()) / len(numbers), abs=1e-9 * np.abs(numbers).max() + 1e-40)
    assert str(float(mean(OnNumpy(), numbers * 0))) == "0.0"


def test_bytes_are_the_same_numbers_on_either_side_of_a_product() -> None:
    images = kinds()["shallow"].examples
    assert images.divisor is not None
    x, columns, rows = images.inputs.numpy(), nn.Parameter(torch.rand(784, 2)), nn.Parameter(torch.rand(2, 300))
    numbers = ((images.inputs.double() - images.shift) / images.divisor).numpy()
    with Exact([nn.ParameterList([columns, rows])]) as run:
        on_the_left: Any = torch.matmul(run.input(x, images), columns)
        on_the_right: Any = torch.matmul(rows, run.input(x, images))
    np.testing.assert_allclose(on_the_left.data, numbers @ columns.detach().double().numpy(), atol=1e-3)
    np.testing.assert_allclose(on_the_right.data, rows.detach().double().numpy() @ numbers, atol=1e-3)


def units(found: float, exact: Decimal) -> float:
    """Returns the distance in units in the last place."""
    return float(abs(DIGITS.subtract(Decimal(found), exact)) / Decimal(float(np.spacing(abs(found)) or 5e-324)))


@given(st.lists(st.one_of(st.floats(-745, 709.7), st.floats(-1, 1)), min_size=1, max_size=20))
def test_exp_agrees_with_decimal(numbers: list[float]) -> None:
    found = exp(OnNumpy(), np.array(numbers))
    assert all(units(y, DIGITS.exp(Decimal(x))) < 4 for x, y in zip(numbers, found.tolist(), strict=True))
    np.testing.assert_array_equal(on_torch(exp, np.array(numbers)), found)


@given(st.lists(st.one_of(st.floats(5e-324, 1.7e308), st.floats(0.5, 2)), min_size=1, max_size=20))
def test_log_agrees_with_decimal(numbers: list[float]) -> None:
    found = log(OnNumpy(), np.array(numbers))
    assert all(units(y, DIGITS.ln(Decimal(x))) < 4 for x, y in zip(numbers, found.tolist(), strict=True))
    np.testing.assert_array_equal(on_torch(log, np.array(numbers)), found)


@given(st.lists(st.one_of(st.floats(-745, 745), st.floats(-1, 1)), min_size=1, max_size=20))
def test_sigmoid_agrees_with_decimal(numbers: list[float]) -> None:
    found = logistic(OnNumpy(), np.array(numbers))
    for x, y in zip(numbers, found.tolist(), strict=True):
        assert units(y, DIGITS.divide(1, DIGITS.add(1, DIGITS.exp(-Decimal(x))))) < 8
    np.testing.assert_array_equal(on_torch(logistic, np.array(numbers)), found)


def test_functions_are_right_at_the_ends_of_their_ranges() -> None:
    with np.errstate(all="ignore"):
        ends = np.array([-math.inf, -746, 0, 710, math.inf, math.nan])
        np.testing.assert_array_equal(exp(OnNumpy(), ends), [0, 0, 1, math.inf, math.inf, math.nan])
        np.testing.assert_array_equal(logistic(OnNumpy(), ends), [0, 0, 0.5, 1, 1, math.nan])
        np.testing.assert_array_equal(
            log(OnNumpy(), np.array([0, 1, -1, math.nan])), [-math.inf, 0, math.nan, math.nan]
        )


@given(arrays(np.float64, (3, 4), elements=st.floats(-1e4, 1e4)))
def test_softmax_agrees_with_torch(logits: Floats) -> None:
    found = softmax(OnNumpy(), logits)[0]
    np.testing.assert_allclose(found, torch.softmax(torch.from_numpy(logits), dim=1), atol=1e-14)


@pytest.mark.parametrize("name", [name for name in kinds() if "dropout" not in name])
def test_losses_and_gradients_agree_with_torch(name: str) -> None:
    """Torch uses float64 and the same parameters; operands have about 21 bits here, pixels less their mean 14."""
    kind = kinds()[name]
    torch.manual_seed(0)
    network = kind.make_network()
    run = Exact([network], training=True)
    x = run.input(kind.examples.inputs.numpy()[:50], kind.examples)
    inputs = torch.from_numpy(x.data / (x.divisor or 1.0))
    targets = Value(kind.examples.targets.numpy()[:50])
    with run:
        loss = kind.loss(network, x, targets)
    gradient = np.zeros_like(run.flat)
    run.backward(loss, gradient)

    plain = kind.make_network().double()
    plain.load_state_dict(network.state_dict())
    expected = kind.loss(plain, inputs, kind.examples.targets[:50])
    expected.backward()
    assert float(mean_of_all([loss], [50], run.arrays)) == pytest.approx(expected.item(), rel=1e-5)
    slopes = torch.cat([each.grad.flatten() for each in plain.parameters() if each.grad is not None]).numpy()
    np.testing.assert_allclose(gradient, slopes, atol=2e-5 * np.abs(slopes).max())


@pytest.mark.parametrize("name", kinds())
def test_a_prediction_does_not_depend_on_the_other_examples(name: str) -> None:
    kind: Kind = kinds()[name]
    network: nn.Module = kind.make_network()
    together = predict(network, kind.examples)
    for index in (0, 7):
        alone = kind.examples._replace(inputs=kind.examples.inputs[index : index + 1])
        assert torch.equal(predict(network, alone)[0], together[index])
