"""Whether two kinds of network differ on test images, by how much, and whether to believe it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

Correct = NDArray[np.bool_]  # [seeds, images]: is the network of a seed right about an image?

LEVEL = 0.05  # of every test, and the share of samples that an interval leaves out
NO_DIFFERENCE = "no difference shown"


class Comparison(NamedTuple):
    """A second kind of network beside a first. All but the p-values are of accuracies, from 0 to 1."""

    difference: float  # of the mean accuracies, second minus first
    low: float  # of the 95 % interval of the difference, over seeds and images
    high: float
    probability_of_improvement: float  # that a network of the second kind has the higher accuracy
    p_value: float  # of networks that differ in nothing but their seeds
    mcnemar_p_value: float  # of one pair of networks, those of the first seed
    verdict: str


def compare(
    first: Correct, second: Correct, names: tuple[str, str], resamples: int = 5_000, level: float = LEVEL
) -> Comparison:
    """Compares two kinds of network, of the same seeds and on the same images, each in the same order.

    `level` is the share of samples that the interval leaves out.
    """
    counts = first.sum(axis=1), second.sum(axis=1)  # whole numbers, so that ties are ties
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
    """Compares every pair: both names, the comparison, and its p-value after Holm, on which its verdict rests.

    The intervals are wider (Bonferroni), so that all together hold the differences in 95 % of cases.
    """
    names = list(networks)
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    found = [compare(networks[a], networks[b], (a, b), resamples, LEVEL / len(pairs)) for a, b in pairs]
    adjusted = holm([each.p_value for each in found])
    return [
        (*pair, each._replace(verdict=verdict(each.low, each.high, p_value, pair)), p_value)
        for pair, each, p_value in zip(pairs, found, adjusted, strict=True)
    ]


def verdict(low: float, high: float, p_value: float, names: tuple[str, str]) -> str:
    """A difference is shown where the interval leaves out 0 and seeds alone would seldom give as much.

    The interval asks whether other test images would say the same, but of few seeds it is too narrow; the p-value is
    exact for few seeds, but knows these test images only. Either alone would see differences where there are none.
    """
    if p_value > LEVEL or low <= 0 <= high:
        return NO_DIFFERENCE
    return f"{names[low > 0]} is better"


def bootstrap(first: Correct, second: Correct, resamples: int, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of the difference of mean accuracies, second minus first; `level` 0.05 gives 95 %.

    Each resample draws seeds and images with replacement. Both kinds get the same draws, as they have the same seeds
    and images. Seeds and images vary crossed, a hierarchical bootstrap: Agarwal et al., Deep Reinforcement Learning at
    the Edge of the Statistical Precipice, NeurIPS 2021, with the images as the tasks.
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
    """The two-sided p-value that the mean difference is 0, from all signs that the differences could have.

    If the kinds of network do not differ, each seed's difference is as likely the other way round. Exact up to 16
    seeds, from random signs above. Five seeds give 2/32 at best: too few to show anything.
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
    """How often one of the second beats one of the first, a tie counting half: Mann-Whitney's U of all the pairs."""
    return float(stats.mannwhitneyu(second, first).statistic / (len(first) * len(second)))


def mcnemar_exact(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """The exact p-value that two networks err equally often, from the images about which only one is right.

    Dietterich, Approximate Statistical Tests for Comparing Supervised Classification Learning Algorithms, 1998.
    """
    table = [[np.sum((first == a) & (second == b)) for b in (True, False)] for a in (True, False)]
    return float(mcnemar(table, exact=True).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of which all together are wrong in no more than `LEVEL` of all cases, each at least what it was."""
    return multipletests(p_values, LEVEL, method="holm")[1].tolist() if p_values else []
