"""What the comparison of several sizes can show. Writes benchmarks/sizes.csv.

Draws networks that err as those of the last run do, see benchmarks.seeds, and compares all pairs as `compare_sizes`
does. Of sizes that do not differ, it counts the families of pairs with a false alarm, also where some sizes vary more
over seeds than others. Where one size is better than all others, by more and more, it finds the difference that is
shown four times of five.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from tqdm import tqdm

from benchmarks.seeds import POWER, RESAMPLES, Errors, draw, of_last_run
from mlp.comparison import compare_all
from pipeline.files import write_texts
from pipeline.params.complete import Params
from pipeline.stage import run
from pipeline.tables import csv_text

SIZES = [3, 10, 40]
GAPS = [0.001, 0.002, 0.003, 0.004, 0.006, 0.008]  # of mean accuracy
EQUAL, APART = 100, 20  # families whose sizes do not differ, and for each gap of those where one does
UNSTEADY = 10  # times the others' standard deviation over seeds, of every fourth size


def shown(errors: Errors, seeds: int, images: int, job: tuple[int, float, float, int]) -> tuple[float, float]:
    """How many of a family's differences are shown: the share of those that are there, and the number of all others.

    A job is the number of sizes, by how much the first is better, how unsteady every fourth is, and a seed.
    """
    sizes, gap, unsteady, seed = job
    luck = errors.luck * np.where(np.arange(sizes) % 4 == 1, unsteady, 1.0)
    networks = draw(np.random.default_rng(seed), errors, seeds, images, sizes, gap, luck)
    found = compare_all({str(number): each for number, each in enumerate(networks)}, RESAMPLES)
    right = sum(each.verdict == "0 is better" for *_, each, _ in found) * (gap > 0)
    return right / (sizes - 1), sum(each.verdict.endswith("is better") for *_, each, _ in found) - right


def main(params: Params) -> None:
    errors, images = of_last_run(params)
    seeds = len(params.seeds)
    families = [(0.0, unsteady, seed) for unsteady in (1.0, UNSTEADY) for seed in range(EQUAL)]
    families += [(gap, 1.0, seed) for gap in GAPS for seed in range(APART)]
    jobs = [(sizes, *family) for sizes in SIZES for family in families]
    with ProcessPoolExecutor() as pool:
        found = [*tqdm(pool.map(partial(shown, errors, seeds, images), jobs), "sizes", len(jobs), unit="family")]
    rows = []
    for number, sizes in enumerate(SIZES):
        shares, others = np.array(found[number * len(families) : (number + 1) * len(families)]).T
        even, uneven = (others[: 2 * EQUAL] > 0).reshape(2, EQUAL).mean(axis=1).tolist()
        powers = shares[2 * EQUAL :].reshape(len(GAPS), APART).mean(axis=1)
        detectable = float(np.interp(POWER, np.maximum.accumulate(powers), GAPS, right=np.nan))
        rows.append((sizes, seeds, even, uneven, detectable if powers.max() >= POWER else ""))
    header = ["sizes", "seeds", "false_alarms", "uneven_false_alarms", "detectable"]
    write_texts({"benchmarks/sizes.csv": csv_text(header, rows)})


if __name__ == "__main__":
    run(main, Params)
