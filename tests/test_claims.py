"""Verdicts on claims, compared with scipy and tested by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlp.claims import FAILED, HELD, OPEN, mean, prediction_interval, verdict_on_number, verdict_on_order

RUNS = st.lists(st.floats(0, 1), min_size=2, max_size=10)


@given(RUNS.flatmap(lambda a: st.tuples(st.just(a), st.lists(st.floats(0, 1), min_size=len(a), max_size=len(a)))))
def test_the_order_of_means_agrees_with_a_paired_t_test(runs: tuple[list[float], list[float]]) -> None:
    a, b = runs
    differences = np.subtract(a, b)
    if differences.std() < 1e-9:
        return  # scipy gives no interval if nothing varies
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert mean(differences.tolist()) == pytest.approx((expected.low, expected.high))
    assert verdict_on_order(a, b) == (HELD if expected.low > 0 else FAILED if expected.high < 0 else OPEN)


def test_the_prediction_interval_of_one_run_has_95_percent_coverage() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for runs in random.normal(0.97, 0.002, (4000, 6)):
        hits += verdict_on_number(runs[5], runs[:5].tolist()) == HELD
    assert hits / 4000 == pytest.approx(0.95, abs=0.015)


def test_simultaneous_prediction_intervals_have_at_least_95_percent_coverage() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for runs in random.normal(0.0, 1.0, (1000, 9, 6)):
        hits += all(verdict_on_number(of[5], of[:5].tolist(), simultaneous=9) == HELD for of in runs)
    assert hits / 1000 > 0.94


@given(RUNS)
def test_a_prediction_interval_is_wider_than_that_of_the_mean(runs: list[float]) -> None:
    (low, high), (inner_low, inner_high) = prediction_interval(runs), mean(runs)
    assert low <= inner_low <= inner_high <= high


def test_a_single_run_leaves_every_claim_open() -> None:
    assert verdict_on_number(0.97, [0.5]) == OPEN
    assert verdict_on_order([0.97], [0.5]) == OPEN


def test_runs_without_variation_decide_every_claim() -> None:
    assert verdict_on_number(0.5, [0.5, 0.5]) == HELD
    assert verdict_on_number(0.6, [0.5, 0.5]) == FAILED
    assert verdict_on_order([0.5, 0.6], [0.25, 0.35]) == HELD
    assert verdict_on_order([0.5, 0.5], [0.5, 0.5]) == OPEN
