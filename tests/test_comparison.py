"""The statistics of a comparison, beside scipy's and beside their definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from benchmarks.seeds import Errors, draw, measured
from mlp.comparison import (
    LEVEL,
    NO_DIFFERENCE,
    Correct,
    bootstrap,
    compare,
    compare_all,
    holm,
    mcnemar_exact,
    probability_of_improvement,
    sign_flip,
    verdict,
)

NAMES = ("shallow", "deep")


# right about 97 of 100 images, and the more alike the more they have in common
ERRORS = Errors(accuracy=0.97, all=0.85, kind=0.3, luck=0.04, rest=0.43)


def equal_networks(generator: np.random.Generator, seeds: int = 8, images: int = 1000, kinds: int = 2) -> list[Correct]:
    return draw(generator, ERRORS, seeds, images, kinds)


@pytest.mark.slow
def test_two_equal_networks_are_called_different_in_no_more_than_5_percent() -> None:
    generator = np.random.default_rng(0)
    pairs = [equal_networks(generator) for _ in range(400)]
    verdicts = [compare(first, second, NAMES, resamples=400).verdict for first, second in pairs]
    assert sum(each != NO_DIFFERENCE for each in verdicts) <= 0.05 * 400


@pytest.mark.slow
def test_three_equal_networks_in_pairs_give_a_false_alarm_in_no_more_than_5_percent() -> None:
    generator = np.random.default_rng(1)
    alarms = 0
    for _ in range(60):
        networks = dict(zip("abc", equal_networks(generator, kinds=3), strict=True))
        alarms += any(found.verdict != NO_DIFFERENCE for *_, found, _ in compare_all(networks, resamples=400))
    assert alarms <= 3


def test_a_difference_that_is_there_is_found_and_named() -> None:
    first, second = equal_networks(np.random.default_rng(0))
    worse = second & (np.random.default_rng(1).random(second.shape) < 0.97)
    assert compare(first, worse, NAMES).verdict == "shallow is better"
    found = compare(worse, first, NAMES)
    assert found.verdict == "deep is better"
    assert found.low <= found.difference <= found.high
    assert found.difference == pytest.approx(first.mean() - worse.mean())
    assert found.probability_of_improvement == 1


def test_one_seed_shows_nothing() -> None:
    first, second = equal_networks(np.random.default_rng(0), seeds=1)
    found = compare(first, second & False, NAMES)
    assert (found.verdict, found.p_value) == (NO_DIFFERENCE, 1.0)
    assert found.high < 0


@pytest.mark.parametrize(
    ("low", "high", "p_value", "expected"),
    [
        (-0.1, 0.1, 0.001, NO_DIFFERENCE),
        (0.0, 0.1, 0.001, NO_DIFFERENCE),
        (0.1, 0.2, 0.051, NO_DIFFERENCE),
        (0.1, 0.2, LEVEL, "deep is better"),
        (-0.2, -0.1, 0.01, "shallow is better"),
    ],
)
def test_the_verdict_needs_both_interval_and_p_value(low: float, high: float, p_value: float, expected: str) -> None:
    assert verdict(low, high, p_value, NAMES) == expected


@pytest.mark.parametrize("axis", ["seeds", "images"])
def test_the_bootstrap_of_one_level_alone_is_scipys(axis: str) -> None:
    """Where all images are alike only seeds vary, and with a single seed only images do."""
    generator = np.random.default_rng(3)
    first, second = generator.random((2, 60)) < np.array([[0.6], [0.7]])
    one, other = (each[:, None] if axis == "seeds" else each[None] for each in (first, second))
    expected = stats.bootstrap(
        (second.astype(float) - first,), np.mean, n_resamples=20_000, method="percentile", rng=generator
    ).confidence_interval
    assert bootstrap(one, other, resamples=20_000) == pytest.approx(tuple(expected), abs=0.02)


def test_the_interval_of_both_levels_is_wider_than_that_of_either() -> None:
    first, second = equal_networks(np.random.default_rng(5))
    low, high = bootstrap(first, second, 2000)
    differences = second.astype(float) - first
    for axis in (0, 1):
        alone = stats.bootstrap((differences.mean(axis=axis),), np.mean, method="percentile", rng=0).confidence_interval
        assert high - low > alone.high - alone.low


@given(arrays(np.int64, st.integers(2, 8), elements=st.integers(-30, 30)))
def test_the_p_value_over_seeds_counts_the_signs_that_give_as_much(differences: np.ndarray) -> None:
    sums = [np.dot(signs, differences) for signs in itertools.product((-1, 1), repeat=len(differences))]
    more, less = (np.mean([sign * each >= sign * differences.sum() for each in sums]) for sign in (1, -1))
    assert sign_flip(differences) == pytest.approx(min(1, 2 * min(more, less)))


def test_five_seeds_cannot_show_a_difference_and_six_can() -> None:
    assert sign_flip(np.full(5, 9)) > LEVEL > sign_flip(np.full(6, 9))


@given(*[arrays(np.int64, st.integers(1, 6), elements=st.integers(0, 9))] * 2)
def test_the_probability_of_improvement_counts_pairs(first: np.ndarray, second: np.ndarray) -> None:
    pairs = [float(b > a) + 0.5 * (b == a) for a in first for b in second]
    assert probability_of_improvement(first, second) == pytest.approx(np.mean(pairs))


@given(arrays(np.bool_, (2, 40)))
def test_mcnemars_test_is_the_binomial_test_of_the_images_that_one_alone_gets_right(right: np.ndarray) -> None:
    only_first, only_second = np.sum(right[0] & ~right[1]), np.sum(right[1] & ~right[0])
    expected = stats.binomtest(only_first, only_first + only_second).pvalue if only_first + only_second else 1.0
    assert mcnemar_exact(right[0], right[1]) == pytest.approx(expected)


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_multiplies_the_smallest_by_all_the_next_by_one_less_and_keeps_the_order(p_values: list[float]) -> None:
    expected, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        least = max(least, min(1.0, p_values[place] * (len(p_values) - rank)))
        expected[place] = least
    assert holm(p_values) == pytest.approx(expected)


def test_pairs_are_judged_after_holm() -> None:
    first, second = equal_networks(np.random.default_rng(0), seeds=6)
    pairs = compare_all({"a": first, "b": second, "c": first & False})
    assert [(one, other) for one, other, *_ in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    for *_, found, adjusted in pairs[1:]:  # six seeds give 2/64, which times two or three is too much
        assert found.p_value == 2 / 64 < LEVEL < adjusted
        assert found.high < 0
        assert found.verdict == NO_DIFFERENCE


def test_drawn_networks_err_as_those_that_were_measured() -> None:
    again = measured(draw(np.random.default_rng(0), ERRORS, seeds=20, images=20_000))
    assert again == pytest.approx(ERRORS, abs=0.05)
    better, other = draw(np.random.default_rng(0), ERRORS, seeds=20, images=20_000, gap=0.01)
    assert better.mean() - other.mean() == pytest.approx(0.01, abs=0.003)
