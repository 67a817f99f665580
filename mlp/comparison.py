"""Statistical comparison of kinds of network on test images, over several seeds."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

Correct = NDArray[np.bool_]  # [seeds, images]: whether the network of each seed classifies each image correctly

LEVEL = 0.05  # significance level of every test; intervals have coverage 1 - LEVEL
NO_DIFFERENCE = "no difference shown"


class Comparison(NamedTuple):
    """A second kind of network compared with a first. Differences are of accuracies, from 0 to 1."""

    difference: float  # of the mean accuracies, second minus first
    low: float  # of the 95 % interval of the difference, over seeds and images
    high: float
    probability_of_improvement: float  # that a random network of the second kind is the more accurate
    p_value: float  # sign-flip test over seeds
    mcnemar_p_value: float  # over images, for the networks of the first seed
    verdict: str


def compare(
    first: Correct, second: Correct, names: tuple[str, str], resamples: int = 5_000, level: float = LEVEL
) -> Comparison:
    """Compares two kinds of network that have the same seeds and were tested on the same images, in the same order.

    The interval has coverage 1 - `level`.
    """
    counts = first.sum(axis=1), second.sum(axis=1)  # integers, so that ties are exact
    low, high = bootstrap(first, second, resamples, level)
    p_value = sign_flip(counts[1] - counts[0])
    return Comparison(
        float(second.mean() - first.mean()),
        low,
        high,
        probability_of_improvement(*counts),
        p_value,
        mcnemar_exact(first[0], second[0]),
        verdict(low, high, p_value, names),
    )


def compare_all(networks: dict[str, Correct], resamples: int = 5_000) -> list[tuple[str, str, Comparison, float]]:
    """Compares every pair: both names, the comparison, and its Holm-adjusted p-value, on which its verdict rests.

    The intervals have Bonferroni's correction: their simultaneous coverage is 95 %.
    """
    pairs = list(combinations(networks, 2))
    found = [compare(networks[a], networks[b], (a, b), resamples, LEVEL / len(pairs)) for a, b in pairs]
    adjusted = holm([each.p_value for each in found])
    return [
        (*pair, each._replace(verdict=verdict(each.low, each.high, p_value, pair)), p_value)
        for pair, each, p_value in zip(pairs, found, adjusted, strict=True)
    ]


def verdict(low: float, high: float, p_value: float, names: tuple[str, str]) -> str:
    """A difference is shown if the interval excludes 0 and the p-value is at most LEVEL.

    The interval covers the choice of test images, but is too narrow for few seeds; the p-value is exact for few seeds,
    but conditional on these test images. Either alone has too many false positives.
    """
    if p_value > LEVEL or low <= 0 <= high:
        return NO_DIFFERENCE
    return f"{names[low > 0]} is better"


def bootstrap(first: Correct, second: Correct, resamples: int, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of the difference of mean accuracies, second minus first; `level` 0.05 gives 95 %.

    A crossed, paired bootstrap: each resample draws seeds and images with replacement, the same for both kinds
    (Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS 2021, with images as
    tasks).
    """
    generator = np.random.default_rng(0)
    differences = second.astype(np.int8) - first.astype(np.int8)
    seeds, images = differences.shape
    sums = np.empty(resamples, np.int64)
    for number in range(resamples):
        of_images = differences[generator.integers(seeds, size=seeds)].sum(axis=0, dtype=np.int32)
        sums[number] = of_images[generator.integers(images, size=images, dtype=np.int32)].sum()
    low, high = np.quantile(sums / differences.size, [level / 2, 1 - level / 2])
    return float(low), float(high)


def sign_flip(differences: NDArray[np.int64]) -> float:
    """The two-sided p-value of a mean difference of 0, from a sign-flip permutation test over seeds.

    If the kinds of network do not differ, the sign of each seed's difference is random. Exact up to 16 seeds, sampled
    above. The smallest p-value of five seeds is 2/32, so five can show nothing.
    """
    if len(differences) < 2:
        return 1.0
    test = stats.permutation_test(
        (differences,),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        n_resamples=2**16,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def probability_of_improvement(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """The share of pairs in which the second is larger, ties counting half: Mann-Whitney's U, normalised."""
    return float(stats.mannwhitneyu(second, first).statistic / (len(first) * len(second)))


def mcnemar_exact(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """The exact p-value of equal error rates, from the images that only one of two networks classifies correctly.

    Dietterich, Approximate Statistical Tests for Comparing Supervised Classification Learning Algorithms, 1998.
    """
    table = [[np.sum((first == a) & (second == b)) for b in (True, False)] for a in (True, False)]
    return float(mcnemar(table, exact=True).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted by Holm's method, which controls the family-wise error rate."""
    return multipletests(p_values, LEVEL, method="holm")[1].tolist() if p_values else []
