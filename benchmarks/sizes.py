"""Estimates the error rate and power of the comparison of several sizes. Writes benchmarks/sizes.csv.

Simulates networks with the error statistics of the last run, see benchmarks.seeds, and compares all pairs as
`compare_sizes` does. For equal sizes, counts the families of pairs with a false positive, also if some sizes vary more
over seeds than others. If one size is better than all others, finds the difference that is detected with 80 % power.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from tqdm import tqdm

from benchmarks.seeds import POWER, RESAMPLES, Errors, draw, errors_of_last_run
from mlp.comparison import compare_all
from pipeline.files import write_texts
from pipeline.params.complete import Params
from pipeline.stage import run
from pipeline.tables import csv_text

SIZES = [3, 10, 40]
GAPS = [0.001, 0.002, 0.003, 0.004, 0.006, 0.008]  # differences in mean accuracy
EQUAL, APART = 100, 20  # families of equal sizes, and for each gap of those with one better size
UNSTEADY = 10  # factor on the standard deviation over seeds of every fourth size


def detections(errors: Errors, seeds: int, images: int, job: tuple[int, float, float, int]) -> tuple[float, float]:
    """Returns the share of a family's true differences that are shown, and the number of its false positives.

    A job is the number of sizes, the gap of the first, the factor on the luck of every fourth, and a seed.
    """
    sizes, gap, unsteady, seed = job
    luck = errors.luck * np.where(np.arange(sizes) % 4 == 1, unsteady, 1.0)
    networks = draw(np.random.default_rng(seed), errors, seeds, images, sizes, gap, luck)
    found = compare_all({str(number): each for number, each in enumerate(networks)}, RESAMPLES)
    right = sum(each.verdict == "0 is better" for *_, each, _ in found) * (gap > 0)
    return right / (sizes - 1), sum(each.verdict.endswith("is better") for *_, each, _ in found) - right


def main(params: Params) -> None:
    errors, images = errors_of_last_run(params)
    seeds = len(params.seeds)
    families = [(0.0, unsteady, seed) for unsteady in (1.0, UNSTEADY) for seed in range(EQUAL)]
    families += [(gap, 1.0, seed) for gap in GAPS for seed in range(APART)]
    jobs = [(sizes, *family) for sizes in SIZES for family in families]
    with ProcessPoolExecutor() as pool:
        found = [*tqdm(pool.map(partial(detections, errors, seeds, images), jobs), "sizes", len(jobs), unit="family")]
    rows = []
    for number, sizes in enumerate(SIZES):
        shares, others = np.array(found[number * len(families) : (number + 1) * len(families)]).T
        even, uneven = (others[: 2 * EQUAL] > 0).reshape(2, EQUAL).mean(axis=1).tolist()
        powers = shares[2 * EQUAL :].reshape(len(GAPS), APART).mean(axis=1)
        detectable = float(np.interp(POWER, np.maximum.accumulate(powers), GAPS, right=np.nan))
        rows.append((sizes, seeds, even, uneven, detectable if powers.max() >= POWER else ""))
    header = ["sizes", "seeds", "false_positives", "uneven_false_positives", "detectable"]
    write_texts({"benchmarks/sizes.csv": csv_text(header, rows)})


if __name__ == "__main__":
    run(main, Params)
