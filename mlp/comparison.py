"""Compares kinds of networks statistically, on test images and over several seeds."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr  # for McNemar's test; importing statsmodels takes a second

Correct = NDArray[np.bool_]  # [seeds, images]: whether the network of each seed classifies each image correctly

LEVEL = 0.05  # significance level of all tests; intervals have a coverage of 1 - LEVEL
RESAMPLES = 5_000
NO_DIFFERENCE = "no difference shown"
CHUNK = 250  # resamples, signs or pairs in memory at a time


class Comparison(NamedTuple):
    """Comparison of a second kind of network with a first. Accuracies are from 0 to 1."""

    difference: float  # of the mean accuracies, second minus first
    low: float  # of the 95 % interval of the difference, over seeds and images
    high: float
    probability_of_improvement: float  # that a random network of the second kind is more accurate
    p_value: float  # sign-flip test over seeds
    mcnemar_p_value: float  # over images, for the networks of the first seed
    verdict: str


def compare(first: Correct, second: Correct, names: tuple[str, str], resamples: int = RESAMPLES) -> Comparison:
    """Compares two kinds of networks with the same seeds, tested on the same images in the same order.

    The interval is a percentile bootstrap interval.
    """
    kinds = np.stack([first, second])
    samples = bootstrap(kinds, resamples)
    low, high = np.quantile((samples[:, 1] - samples[:, 0]) / first.size, [LEVEL / 2, 1 - LEVEL / 2]).tolist()
    p_value = float(sign_flip(np.diff(kinds.sum(axis=2), axis=0).T)[0, 0])
    return _comparison(first, second, names, low, high, p_value, p_value)


def compare_all(networks: dict[str, Correct], resamples: int = RESAMPLES) -> list[tuple[str, str, Comparison, float]]:
    """Compares all pairs. Returns both names, the comparison, and the adjusted p-value that its verdict uses.

    The p-values are adjusted for all pairs; the intervals cover all differences simultaneously with 95 % confidence.
    """
    kinds = np.stack(list(networks.values()))  # [kinds, seeds, images]
    first, second = np.triu_indices(len(kinds), 1)  # the kinds of each pair, in the order of combinations()
    counts = kinds.sum(axis=2)
    intervals = simultaneous(counts.sum(axis=1), bootstrap(kinds, resamples)) / kinds[0].size
    found = np.concatenate([intervals, sign_flip((counts[second] - counts[first]).T)])  # [4, pairs]
    return [
        (*pair, _comparison(networks[pair[0]], networks[pair[1]], pair, *each), each[-1])
        for pair, each in zip(combinations(networks, 2), found.T.tolist(), strict=True)
    ]


def _comparison(
    first: Correct, second: Correct, names: tuple[str, str], low: float, high: float, p_value: float, adjusted: float
) -> Comparison:
    return Comparison(
        float(second.mean() - first.mean()),
        low,
        high,
        probability_of_improvement(first.sum(axis=1), second.sum(axis=1)),
        p_value,
        mcnemar_exact(first[0], second[0]),
        verdict(low, high, adjusted, names),
    )


def verdict(low: float, high: float, p_value: float, names: tuple[str, str]) -> str:
    """Names the better kind if the interval excludes 0 and the p-value is at most LEVEL.

    The interval accounts for the choice of test images, but is too narrow for few seeds; the p-value is exact for few
    seeds, but conditional on these test images. Either alone has too many false positives.
    """
    if p_value > LEVEL or low <= 0 <= high:
        return NO_DIFFERENCE
    return f"{names[low > 0]} is better"


def bootstrap(kinds: NDArray[np.bool_], resamples: int) -> NDArray[np.float64]:
    """Returns the number of correct classifications, [resamples, kinds], for kinds of [kinds, seeds, images].

    A crossed, paired bootstrap: each resample draws seeds and images with replacement, the same for all kinds
    (Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS 2021, with images as
    tasks). A resample is stored as counts of each seed and each image, so all kinds are resampled by matrix products.
    No sum in them rounds, so the result depends neither on the order of summation nor on the machine: all are
    integers, and a sum over images is at most their number; float32 represents integers up to 2^24 exactly.
    """
    generator = np.random.default_rng(0)
    count, seeds, images = kinds.shape
    correct = kinds.reshape(-1, images).T.astype(np.float32)
    chunks = []
    for start in range(0, resamples, CHUNK):
        draws = [
            (generator.integers(seeds, size=seeds), generator.integers(images, size=images, dtype=np.int32))
            for _ in range(start, min(start + CHUNK, resamples))
        ]
        of_seeds = np.array([np.bincount(drawn, minlength=seeds) for drawn, _ in draws], np.float64)
        of_images = np.array([np.bincount(drawn, minlength=images) for _, drawn in draws], np.float32)
        chunks.append(np.einsum("rks,rs->rk", (of_images @ correct).reshape(-1, count, seeds), of_seeds))
    return np.concatenate(chunks)


def simultaneous(observed: NDArray[np.int64], samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns simultaneous intervals of the differences of all pairs, [2, pairs], with a coverage of 1 - LEVEL.

    Takes the observed counts, [kinds], and the bootstrap's, [resamples, kinds]. Each interval extends q standard errors
    to both sides of its difference, where q is the 95 % quantile over resamples of the largest deviation of any pair,
    in standard errors (single-step max-T).
    """
    first, second = np.triu_indices(len(observed), 1)
    differences = observed[second] - observed[first]
    errors, farthest = np.zeros(len(differences)), np.zeros(len(samples))
    for start in range(0, len(differences), CHUNK):
        part = slice(start, start + CHUNK)
        deviations = np.abs(samples[:, second[part]] - samples[:, first[part]] - differences[part])
        errors[part] = np.sqrt(np.square(deviations).mean(axis=0))
        ratios = np.divide(deviations, errors[part], out=np.zeros_like(deviations), where=errors[part] > 0)
        farthest = np.maximum(farthest, ratios.max(axis=1))
    reach = np.quantile(farthest, 1 - LEVEL) * errors
    return np.stack([differences - reach, differences + reach])


def sign_flip(differences: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns two-sided p-values, unadjusted and adjusted for all pairs, [2, pairs], from differences [seeds, pairs].

    The null hypothesis is a mean difference of 0. A permutation test: if the kinds of a pair do not differ, each seed's
    difference is equally likely to have the opposite sign. Exact up to 16 seeds, sampled above. The smallest p-value is
    2 / 2^seeds, so no difference can be significant with five seeds.

    Adjusted by step-down max-T (Westfall and Young, Resampling-Based Multiple Testing, 1993; Romano and Wolf, Exact and
    Approximate Stepdown Methods for Multiple Hypothesis Testing, JASA 2005): all pairs of a seed get the same sign, and
    a pair's p-value is the share of sign assignments in which it, or any pair with a smaller observed difference,
    reaches its observed difference; no pair gets a smaller p-value than one that differs more. Adjusted p-values can
    therefore be as small with many pairs as with one. The family-wise error rate is at most LEVEL, for any variances of
    the kinds, if the differences of the pairs that do not differ are symmetric about 0, jointly for each seed.
    """
    seeds, pairs = differences.shape
    if seeds <= 16:  # half of all assignments: opposite signs give the same absolute means
        signs = 1 - 2 * (np.arange(2 ** (seeds - 1))[:, None] >> np.arange(seeds) & 1)
    else:
        signs = np.random.default_rng(0).choice([-1, 1], (2**15, seeds))
        signs[0] = 1  # the observed assignment is one of the samples
    order = np.abs(differences.sum(axis=0)).argsort(kind="stable")
    ascending = differences[:, order].astype(np.float64)  # integers, so that sums and ties are exact
    observed = np.abs(ascending.sum(axis=0))
    alone, among = np.zeros((2, pairs))
    for start in range(0, len(signs), CHUNK):
        flipped = np.abs(signs[start : start + CHUNK] @ ascending)
        alone += (flipped >= observed).sum(axis=0)
        among += (np.maximum.accumulate(flipped, axis=1) >= observed).sum(axis=0)
    counts = np.empty((2, pairs))
    counts[:, order] = alone, np.maximum.accumulate(among[::-1])[::-1]
    return counts / len(signs)


def probability_of_improvement(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Returns the share of pairs in which the second is larger, ties counting half: Mann-Whitney's U, normalised."""
    return float(np.sign(second[:, None] - first).mean() + 1) / 2


def mcnemar_exact(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Returns the exact p-value for equal error rates, from the images that only one of two networks gets right.

    Dietterich, Approximate Statistical Tests for Comparing Supervised Classification Learning Algorithms, 1998.
    """
    only_one = [int(np.sum(first & ~second)), int(np.sum(second & ~first))]
    return min(2 * float(bdtr(min(only_one), sum(only_one), 0.5)), 1.0)
