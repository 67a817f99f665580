"""Estimates the power and cost of a comparison by number of seeds. Writes benchmarks/seeds.csv.

Simulates networks with the error statistics of the last run and compares them as `evaluate` does: equal networks, to
count false positives, and networks with increasing gaps, to find the difference that is detected with 80 % power.
"""

import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize, stats
from tqdm import tqdm

from mlp import checkpoints, images
from mlp.classification import train
from mlp.comparison import NO_DIFFERENCE, Correct, compare
from mlp.evaluation import correct
from mlp.models import build
from mlp.prediction import predict
from pipeline.datasets import description
from pipeline.files import write_texts
from pipeline.networks import NETWORKS
from pipeline.params.complete import Params
from pipeline.stage import run
from pipeline.tables import csv_text

SEEDS = [5, 6, 8, 10, 15]
GAPS = [0.001, 0.002, 0.003, 0.004, 0.005, 0.006]  # differences in mean accuracy
EQUAL, APART = 400, 200  # comparisons of equal networks, and for each gap of different ones
POWER = 0.8
RESAMPLES = 400  # of each comparison; few are enough, as the results of many comparisons are averaged


class Errors(NamedTuple):
    """A model of errors: a network is right about an image if the sum of four normal variables exceeds a threshold.

    The variables are the ease of the image for all networks, its ease for this kind of network, the luck of the seed,
    and a residual. The variances of all but the luck add up to 1.
    """

    accuracy: float
    all: float  # standard deviations of the four variables, in that order
    kind: float
    luck: float
    rest: float


def draw(
    generator: np.random.Generator,
    errors: Errors,
    seeds: int,
    images: int,
    kinds: int = 2,
    gap: float = 0.0,
    luck: NDArray[np.float64] | None = None,
) -> list[Correct]:
    """Draws networks of each kind, the first kind better by `gap`. `luck`, [kinds], replaces `errors.luck`."""
    lucks = np.full(kinds, errors.luck) if luck is None else luck
    common = errors.all * generator.normal(size=images) + errors.kind * generator.normal(size=(kinds, 1, images))
    own = lucks[:, None, None] * generator.normal(size=(kinds, seeds, 1)) + errors.rest * generator.normal(
        size=(kinds, seeds, images)
    )
    thresholds = stats.norm.ppf(1 - errors.accuracy - gap * (np.arange(kinds) == 0)) * np.sqrt(1 + lucks**2)
    return [ease > threshold for ease, threshold in zip(common + own, thresholds, strict=True)]


def estimate_errors(kinds: list[Correct]) -> Errors:
    """Estimates the errors of two kinds from how often two networks, of the same or different kinds, err together."""
    wrong = [(~each).astype(np.float64) for each in kinds]
    images, rate = wrong[0].shape[1], float(np.mean(wrong))
    together = [a @ b.T / images for a, b in ((wrong[0], wrong[0]), (wrong[1], wrong[1]), (wrong[0], wrong[1]))]
    of_a_kind = float(np.mean([each[~np.eye(len(each), dtype=bool)].mean() for each in together[:2]]))
    of_both = float(together[2].mean())
    threshold = float(stats.norm.ppf(rate))

    def correlation(share: float) -> float:
        def off(rho: float) -> float:
            cdf = stats.multivariate_normal.cdf([threshold, threshold], cov=[[1, rho], [rho, 1]], rng=0)
            return float(cdf) - share

        return float(optimize.brentq(off, 0, 0.999))

    same, cross = correlation(of_a_kind), correlation(of_both)
    spread = np.mean([each.mean(axis=1).var(ddof=1) for each in wrong]) - (rate - of_a_kind) / images
    luck = float(np.sqrt(max(spread, 0)) / stats.norm.pdf(threshold))
    return Errors(1 - rate, np.sqrt(cross), np.sqrt(max(same - cross, 0)), luck, np.sqrt(1 - same))


def detects_difference(errors: Errors, seeds: int, images: int, job: tuple[float, int]) -> bool:
    """Returns whether the comparison of two kinds shows a difference. A job is the gap and the seed of the draw."""
    gap, seed = job
    first, second = draw(np.random.default_rng(seed), errors, seeds, images, gap=gap)
    return compare(first, second, ("first", "second"), RESAMPLES).verdict != NO_DIFFERENCE


def errors_of_last_run(params: Params) -> tuple[Errors, int]:
    """Estimates the errors of the last run's networks; returns the model and the number of test images."""
    torch.set_num_threads(1)
    test = images.load(Path("data/processed/test.safetensors"))
    kinds = [
        np.array(
            [
                correct(predict(checkpoints.load(path, params.dataset), test.examples()), test.labels).numpy()
                for path in sorted(Path("models", name).iterdir())
            ]
        )
        for name in NETWORKS
    ]
    return estimate_errors(kinds), len(test.labels)


def main(params: Params) -> None:
    errors, count = errors_of_last_run(params)
    cost = seconds_of_a_seed(params)
    rows = []
    jobs = [(0.0, seed) for seed in range(EQUAL)] + [(gap, seed) for gap in GAPS for seed in range(APART)]
    with ProcessPoolExecutor() as pool, tqdm(total=len(SEEDS) * len(jobs), desc="seeds", unit="comparison") as bar:
        for seeds in SEEDS:
            found = []
            for each in pool.map(partial(detects_difference, errors, seeds, count), jobs, chunksize=10):
                found.append(each)
                bar.update()
            powers = np.array(found[EQUAL:]).reshape(len(GAPS), APART).mean(axis=1)
            # made monotone, as a larger gap is never harder to detect
            detectable = float(np.interp(POWER, np.maximum.accumulate(powers), GAPS, right=np.nan))
            rows.append(
                (seeds, seeds * cost / 60, sum(found[:EQUAL]) / EQUAL, detectable if powers[-1] >= POWER else "")
            )
    header = ["seeds", "core_minutes", "false_positives", "detectable"]
    write_texts({"benchmarks/seeds.csv": csv_text(header, rows)})


def seconds_of_a_seed(params: Params) -> float:
    """Returns the seconds to train one network of each kind on one core."""
    training, validation = (images.load(Path(f"data/processed/{part}.safetensors")) for part in ("train", "validation"))
    start = time.perf_counter()
    for network in NETWORKS.values():
        architecture, settings = network(params, description())
        train(partial(build, architecture), training, validation, settings, [0])
    return time.perf_counter() - start


if __name__ == "__main__":
    run(main, Params)
