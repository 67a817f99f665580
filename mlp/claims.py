"""Judges whether a claimed number, or a claimed order of two, is compatible with the results of several seeds."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import stdtrit  # faster to import than scipy.stats, which takes a second

HELD, FAILED, OPEN = "held", "did not hold", "cannot be told apart"
CONFIDENCE = 0.95


class Interval(NamedTuple):
    low: float
    high: float


def prediction_interval(values: Sequence[float], simultaneous: int = 1) -> Interval:
    """Returns the 95 % prediction interval for one more run: mean ± t s sqrt(1 + 1/n), for normally distributed runs.

    If each run has several numbers, `simultaneous` of them, each interval is widened so that all numbers lie in their
    intervals with a probability of at least 95 % (Bonferroni).
    """
    return _interval(values, math.sqrt(1 + 1 / len(values)), simultaneous)


def mean(values: Sequence[float]) -> Interval:
    """Returns the 95 % confidence interval of the mean: mean ± t s / sqrt(n), for normally distributed runs."""
    return _interval(values, math.sqrt(1 / len(values)))


def _interval(values: Sequence[float], factor: float, simultaneous: int = 1) -> Interval:
    if len(values) < 2:  # no estimate of the variance
        return Interval(-math.inf, math.inf)
    quantile = float(stdtrit(len(values) - 1, 1 - (1 - CONFIDENCE) / 2 / simultaneous))
    half = quantile * statistics.stdev(values) * factor
    return Interval(statistics.mean(values) - half, statistics.mean(values) + half)


def verdict_on_number(claimed: float, values: Sequence[float], simultaneous: int = 1) -> str:
    """Judges whether a claimed number lies in the prediction interval; OPEN for fewer than two seeds."""
    if len(values) < 2:
        return OPEN
    low, high = prediction_interval(values, simultaneous)
    return HELD if low <= claimed <= high else FAILED


def verdict_on_order(better: Sequence[float], worse: Sequence[float]) -> str:
    """Judges whether `better` is above `worse` on average, by the confidence interval of their paired differences."""
    low, high = mean([a - b for a, b in zip(better, worse, strict=True)])
    return HELD if low > 0 else FAILED if high < 0 else OPEN
