"""Whether a claimed number, or order of two, is compatible with the results of several seeds."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import stdtrit  # scipy.stats has the same and takes a second to import

HELD, FAILED, OPEN = "held", "did not hold", "cannot be told apart"
CONFIDENCE = 0.95


class Interval(NamedTuple):
    low: float
    high: float


def prediction_interval(values: Sequence[float], at_once: int = 1) -> Interval:
    """The 95 % prediction interval of one more run: mean ± t s sqrt(1 + 1/n), of normally distributed runs.

    Where a run has several numbers that are judged `at_once`, the range is so wide that all fall into theirs with
    that probability (Bonferroni).
    """
    return _interval(values, math.sqrt(1 + 1 / len(values)), at_once)


def mean(values: Sequence[float]) -> Interval:
    """The 95 % confidence interval of the mean: mean ± t s / sqrt(n), of normally distributed runs."""
    return _interval(values, math.sqrt(1 / len(values)))


def _interval(values: Sequence[float], factor: float, at_once: int = 1) -> Interval:
    if len(values) < 2:  # no estimate of the variance
        return Interval(-math.inf, math.inf)
    quantile = float(stdtrit(len(values) - 1, 1 - (1 - CONFIDENCE) / 2 / at_once))
    half = quantile * statistics.stdev(values) * factor
    return Interval(statistics.mean(values) - half, statistics.mean(values) + half)


def verdict_on_number(claimed: float, values: Sequence[float], at_once: int = 1) -> str:
    """Whether a claimed number lies in the prediction interval. One seed has none."""
    if len(values) < 2:
        return OPEN
    low, high = prediction_interval(values, at_once)
    return HELD if low <= claimed <= high else FAILED


def verdict_on_order(better: Sequence[float], worse: Sequence[float]) -> str:
    """Whether `better` is above `worse` on average, from the confidence interval of their paired differences."""
    low, high = mean([a - b for a, b in zip(better, worse, strict=True)])
    return HELD if low > 0 else FAILED if high < 0 else OPEN
