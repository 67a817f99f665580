"""For any allowed params.yaml, all stages run and write finite numbers, or one fails with a one-line error."""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest
import yaml

from conftest import WorkingCopy, refusal_of_stage, train_here
from faults.record import LONG, record

TRIES = 100 if LONG else 2
RATES = [5e-324, 1e-12, 1e-5, 0.001, 0.01, 0.1, 1]
PENALTIES = [0, 5e-324, 1e-9, 0.001, 0.03, 1, 1e6]
BETAS = [0, 0.5, 0.9, 0.999, 0.9999999]
SEEDS = [0, 1, 2, 7, 2**32, 2**53 + 1, 2**63 - 1]
REFUSED = r"loss or weights are not finite after epoch \d+, at .*; lower \w+|predicts prices from .*; needed: "
Item = TypeVar("Item")


def draw_params(params: dict[str, dict[str, object]], chance: random.Random) -> dict[str, object]:
    """Draws parameters, often at the bounds of what is allowed, but small enough to train in seconds."""

    def some(values: Sequence[Item]) -> list[Item]:
        return chance.sample(values, chance.randint(1, 3))

    def units() -> int:
        return chance.choice([1, 2, 8, 100])

    def layers() -> list[int]:
        return [units() for _ in range(chance.choice([1, 2, 3, 10]))]

    def training() -> dict[str, object]:
        return {"epochs": 1, "batch_size": chance.choice([32, 500, 1800, 10**9]), "learning_rate": chance.choice(RATES)}

    rates = {"learning_rates": some(RATES), "hidden": layers(), "seeds": some(SEEDS)}
    houses = {name: chance.choice([20, 400, 1000]) for name in ("validation_size", "test_size")}
    groups: dict[str, dict[str, object]] = {
        "preprocess": {"validation_size": chance.choice([0, 1, 200, 1000]), "seed": chance.choice(SEEDS)},
        "train_shallow": training() | {"hidden": units()},
        "train_deep": training(),
        "compare_sizes": training() | {"architectures": [[3 + n, *layers()[1:]] for n in range(chance.randint(1, 3))]},
        "compare_learning_rates": rates | {"epochs": 1, "batch_size": chance.choice([32, 10**9])},
        "preprocess_prices": params["preprocess_prices"] | houses | {"seed": chance.choice(SEEDS)},
        "train_prices": training() | {"shallow_hidden": units(), "deep_hidden": layers()},
        "evaluate_prices": {"ridge_penalties": some(PENALTIES)},
        "train_binary": training()
        | {"hidden": units(), "betas": chance.choices(BETAS, k=2), "l1_penalties": some(PENALTIES)},
    }
    dataset = chance.choice(["mnist", "fashion_mnist"])
    return {"dataset": dataset, "hidden": layers(), "seeds": some(SEEDS), **groups}


def test_allowed_parameters_run_or_are_rejected_in_one_line(
    subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(subset.path)
    train_here(monkeypatch)
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    params, chance, refused = subset.params(), random.Random(0), 0
    for _ in range(TRIES):
        subset.edit_params(**draw_params(params, chance))
        line = next(filter(None, map(refusal_of_stage, stages)), None)
        if line:
            refused += 1
            assert re.search(REFUSED, line), line
            continue
        tables = [*Path("metrics").iterdir(), *Path("plots").rglob("*.csv")]
        for path in [Path("report.html"), Path("docs/lecture.md"), *tables]:
            text = re.sub(r'data:[^"]*', "", path.read_text(encoding="utf-8"))  # embedded pictures
            assert not re.search(r"\b(nan|NaN|inf|Infinity|None)\b", text), path
    record(
        "allowed parameters, often at their limits",
        TRIES,
        as_asked=TRIES - refused,
        refused=refused,
    )
