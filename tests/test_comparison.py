"""The statistics of a comparison, compared with scipy and with their definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from benchmarks.seeds import Errors, draw, estimate_errors
from mlp.comparison import (
    LEVEL,
    NO_DIFFERENCE,
    Correct,
    bootstrap,
    compare,
    compare_all,
    mcnemar_exact,
    probability_of_improvement,
    sign_flip,
    simultaneous,
    verdict,
)

NAMES = ("shallow", "deep")


# an accuracy of 97 %, and the standard deviations of what networks, kinds and seeds have in common
ERRORS = Errors(accuracy=0.97, all=0.85, kind=0.3, luck=0.04, rest=0.43)


def equal_networks(generator: np.random.Generator, seeds: int = 8, images: int = 1000, kinds: int = 2) -> list[Correct]:
    return draw(generator, ERRORS, seeds, images, kinds)


@pytest.mark.slow
def test_the_false_positive_rate_of_two_equal_networks_is_at_most_5_percent() -> None:
    generator = np.random.default_rng(0)
    pairs = [equal_networks(generator) for _ in range(400)]
    verdicts = [compare(first, second, NAMES, resamples=400).verdict for first, second in pairs]
    assert sum(each != NO_DIFFERENCE for each in verdicts) <= 0.05 * 400


@pytest.mark.slow
@pytest.mark.parametrize("unsteady", [0, 10])
def test_the_family_wise_error_rate_of_forty_equal_networks_is_at_most_5_percent(unsteady: int) -> None:
    """This also holds if the variance over seeds of some networks is a hundred times that of the others."""
    generator = np.random.default_rng(1)
    luck = np.where(np.arange(40) < unsteady, 10 * ERRORS.luck, ERRORS.luck)
    false_positives = 0
    for _ in range(30):
        networks = draw(generator, ERRORS, 8, 1000, 40, luck=luck)
        found = compare_all({str(name): each for name, each in enumerate(networks)}, resamples=400)
        false_positives += any(each.verdict != NO_DIFFERENCE for *_, each, _ in found)
    assert false_positives <= 0.05 * 30


def test_a_real_difference_is_found_and_named() -> None:
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
def test_the_bootstrap_of_one_level_agrees_with_scipy(axis: str) -> None:
    """With a single image only seeds vary, and with a single seed only images do."""
    generator = np.random.default_rng(3)
    first, second = generator.random((2, 60)) < np.array([[0.6], [0.7]])
    one, other = (each[:, None] if axis == "seeds" else each[None] for each in (first, second))
    expected = stats.bootstrap(
        (second.astype(float) - first,), np.mean, n_resamples=20_000, method="percentile", rng=generator
    ).confidence_interval
    found = compare(one, other, NAMES, resamples=20_000)
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.02)


def test_the_interval_of_both_levels_is_wider_than_that_of_either() -> None:
    first, second = equal_networks(np.random.default_rng(5))
    *_, low, high = compare(first, second, NAMES, resamples=2000)[:3]
    differences = second.astype(float) - first
    for axis in (0, 1):
        alone = stats.bootstrap((differences.mean(axis=axis),), np.mean, method="percentile", rng=0).confidence_interval
        assert high - low > alone.high - alone.low


KINDS = arrays(np.bool_, st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 30)))


@settings(max_examples=20)
@given(KINDS, st.integers(1, 300))
def test_a_resample_draws_seeds_and_images_one_by_one(kinds: np.ndarray, resamples: int) -> None:
    generator = np.random.default_rng(0)
    _, seeds, images = kinds.shape
    expected = [
        kinds[:, generator.integers(seeds, size=seeds)][..., generator.integers(images, size=images, dtype=np.int32)]
        for _ in range(resamples)
    ]
    assert bootstrap(kinds, resamples).tolist() == [each.sum(axis=(1, 2)).tolist() for each in expected]


def test_resamples_of_a_kind_do_not_depend_on_the_others() -> None:
    kinds = np.stack(equal_networks(np.random.default_rng(4), kinds=3))
    assert (bootstrap(kinds, 300)[:, ::2] == bootstrap(kinds[::2], 300)).all()


def test_simultaneous_intervals_of_independent_kinds_agree_with_tukey() -> None:
    means, spread = np.array([900, 500, 700, 800]), 1000
    samples = means + np.random.default_rng(0).normal(size=(20_000, 4)).round(3) * spread
    low, high = simultaneous(means, samples)
    reach = stats.studentized_range.ppf(1 - LEVEL, len(means), np.inf) * spread
    assert (high - low) / 2 == pytest.approx(np.full(6, reach), rel=0.03)
    assert (high + low) / 2 == pytest.approx([b - a for a, b in itertools.combinations(means.tolist(), 2)])


def test_kinds_that_are_right_about_the_same_images_do_not_differ() -> None:
    first, second = equal_networks(np.random.default_rng(0))
    found = {(one, other): each for one, other, each, _ in compare_all({"a": first, "b": first, "c": second}, 400)}
    same = found["a", "b"]
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert found["a", "c"][:4] == found["b", "c"][:4]


def by_all_signs(differences: np.ndarray) -> np.ndarray:
    """Returns the absolute sums for each choice of signs of the seeds, [signs, pairs]."""
    seeds, pairs = differences.shape
    return np.array(
        [
            [
                abs(sum(sign * each for sign, each in zip(signs, differences[:, pair].tolist(), strict=True)))
                for pair in range(pairs)
            ]
            for signs in itertools.product((-1, 1), repeat=seeds)
        ]
    ).reshape(2**seeds, pairs)


DIFFERENCES = arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(0, 4)), elements=st.integers(-30, 30))


@given(DIFFERENCES)
def test_the_p_value_over_seeds_counts_signs_at_least_as_extreme(differences: np.ndarray) -> None:
    observed = np.abs(differences.sum(axis=0))
    p_values, _ = sign_flip(differences)
    assert p_values == pytest.approx((by_all_signs(differences) >= observed).mean(axis=0))


@given(arrays(np.int64, st.integers(2, 8), elements=st.integers(-30, 30)))
def test_the_p_value_over_seeds_agrees_with_scipy(differences: np.ndarray) -> None:
    expected = stats.permutation_test((differences,), np.mean, permutation_type="samples").pvalue
    assert sign_flip(differences[:, None])[0] == pytest.approx([expected])


@given(DIFFERENCES)
def test_the_adjusted_p_value_is_the_step_down_max_t(
    differences: np.ndarray,
) -> None:
    """Step by step: the largest sum among all, the next among all but that; p-values never decrease."""
    left, p_value, sums = list(range(differences.shape[1])), 0.0, by_all_signs(differences)
    observed = np.abs(differences.sum(axis=0))
    expected = {}
    while left:
        largest = max(left, key=observed.__getitem__)
        p_value = max(p_value, np.mean(sums[:, left].max(axis=1) >= observed[largest]))
        expected[largest] = p_value
        left.remove(largest)
    p_values, adjusted = sign_flip(differences)
    assert adjusted.tolist() == pytest.approx([expected[pair] for pair in range(differences.shape[1])])
    assert (adjusted >= p_values).all()


def test_above_sixteen_seeds_signs_are_sampled() -> None:
    differences = np.random.default_rng(0).integers(-20, 30, (17, 3))
    exact = sign_flip(differences[:16])
    assert sign_flip(np.vstack([differences[:16], np.zeros((1, 3), int)]))[1] == pytest.approx(exact[1], abs=0.01)
    assert sign_flip(np.full((20, 1), 9))[0] == 1 / 2**15


def test_five_seeds_cannot_show_a_difference_and_six_can() -> None:
    assert sign_flip(np.full((5, 1), 9))[0] > LEVEL > sign_flip(np.full((6, 1), 9))[0]


@given(*[arrays(np.int64, st.integers(1, 6), elements=st.integers(0, 9))] * 2)
def test_the_probability_of_improvement_counts_pairs(first: np.ndarray, second: np.ndarray) -> None:
    pairs = [float(b > a) + 0.5 * (b == a) for a in first for b in second]
    assert probability_of_improvement(first, second) == pytest.approx(np.mean(pairs))


@given(arrays(np.bool_, (2, 40)))
def test_mcnemars_test_is_the_binomial_test_of_the_images_that_one_alone_gets_right(right: np.ndarray) -> None:
    only_first, only_second = np.sum(right[0] & ~right[1]), np.sum(right[1] & ~right[0])
    expected = stats.binomtest(only_first, only_first + only_second).pvalue if only_first + only_second else 1.0
    assert mcnemar_exact(right[0], right[1]) == pytest.approx(expected)


def test_a_single_kind_has_no_pairs() -> None:
    assert compare_all({"a": equal_networks(np.random.default_rng(0))[0]}, resamples=10) == []


def test_pairs_are_judged_by_their_adjusted_p_value() -> None:
    first, second = equal_networks(np.random.default_rng(0), seeds=6)
    worse = first.copy()
    worse[:5, :20] = False  # of 1000 images
    pairs = compare_all({"a": first, "b": second, "c": worse})
    assert [(one, other) for one, other, *_ in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    for one, other, found, adjusted in pairs:
        assert found.verdict == verdict(found.low, found.high, adjusted, (one, other))


def test_eight_seeds_detect_one_of_forty_that_is_two_points_worse() -> None:
    """The smallest p-value of a pair is 2/256, which Bonferroni's or Holm's method would multiply by up to 780."""
    better = draw(np.random.default_rng(0), ERRORS, 8, 10_000, 40, gap=0.02)
    found = compare_all({str(number): each for number, each in enumerate(better)}, resamples=400)
    assert len(found) == 780
    assert [each.verdict for one, _, each, _ in found if one == "0"].count("0 is better") > 30
    assert sum(each.verdict != NO_DIFFERENCE for one, _, each, _ in found if one != "0") == 0


def test_simulated_networks_err_like_those_that_were_measured() -> None:
    again = estimate_errors(draw(np.random.default_rng(0), ERRORS, seeds=20, images=20_000))
    assert again == pytest.approx(ERRORS, abs=0.05)
    better, other = draw(np.random.default_rng(0), ERRORS, seeds=20, images=20_000, gap=0.01)
    assert better.mean() - other.mean() == pytest.approx(0.01, abs=0.003)
