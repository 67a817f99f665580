"""How often rounding does not take away what the circumstances do to a weight."""

import csv
from pathlib import Path

import numpy as np
import pytest
from torch import nn
from torch.nn.utils import parameters_to_vector

from benchmarks import rounding
from benchmarks.rounding import FINER, USUAL, compare
from conftest import ENVIRONMENT, WorkingCopy
from mlp import artifacts
from mlp.binary import BinaryShallowNeuralNet
from mlp.models import DeepNeuralNet, ShallowNeuralNet
from mlp.params import load
from mlp.training import SPACING


def test_equal_weights_never_flip() -> None:
    weights = np.linspace(-1, 1, 1001)
    assert compare([(weights, weights)]) == [1, "0.0e+00", "0.0e+00", 0, "0.0e+00", 0]


def test_a_weight_on_either_side_of_the_middle_flips() -> None:
    below, above = (np.array([3.5 * SPACING + step, 1.0]) for step in (-1e-9, 1e-9))
    count, largest, _, finer, _, ours = compare([(below, above), (above, above)])
    assert (count, largest, finer, ours) == (2, "2.0e-09", 0, 1)


@pytest.mark.parametrize(("place", "spacing"), [(2, FINER), (4, SPACING)])
def test_the_expectation_is_what_weights_anywhere_give(place: int, spacing: float) -> None:
    """Counted on random weights, in pairs of ten, that differ by a hundredth of the spacing."""
    generator = np.random.default_rng(0)
    ones = generator.uniform(-1, 1, (20_000, 10))
    pairs = [(one, one + spacing / 100) for one in ones]
    result = compare(pairs)
    counted = 1e6 * np.mean([bool((np.rint(a / spacing) != np.rint(b / spacing)).any()) for a, b in pairs])
    assert float(str(result[place])) == pytest.approx(counted, rel=0.1)


def test_what_is_compared_are_the_weights_of_the_stored_networks_before_rounding(
    subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(subset.path)
    stored = {
        "shallow": ("shallow/seed-0", "mnist"),
        "deep": ("deep/seed-0", "mnist"),
        "shallow, prices": ("prices/all/shallow/seed-0", "ames/all"),
        "deep, prices": ("prices/all/deep/seed-0", "ames/all"),
        "binary": ("binary/l1-0.01-seed-0", "ames/all"),
    }
    kinds: list[type[nn.Module]] = [ShallowNeuralNet, DeepNeuralNet, BinaryShallowNeuralNet]
    everything = rounding.cases(load(Path("params.yaml")))
    for name, (file, dataset) in stored.items():
        network = artifacts.load(Path("models", f"{file}.safetensors"), dataset, kinds)
        rounded = np.rint(rounding.unrounded(everything[name], seed=0) / SPACING) * SPACING
        assert np.array_equal(parameters_to_vector(network.parameters()).detach().numpy(), rounded)


def test_every_network_is_trained_and_compared(subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(subset.path)
    monkeypatch.setenv("PATH", ENVIRONMENT["PATH"])
    monkeypatch.setattr(rounding, "SEEDS", range(1))
    monkeypatch.setattr(rounding, "OTHERS", [USUAL | {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"}])
    rounding.main(load(Path("params.yaml")))
    table = Path("benchmarks/rounding.csv").read_text().splitlines()
    rows = {row["network"]: row for row in csv.DictReader(table)}
    assert {"shallow", "deep", "shallow, prices", "deep, prices", "binary"} < rows.keys()
    assert all(row["comparisons"] == "1" for row in rows.values())
    assert 0 < float(rows["deep"]["largest_difference"]) < 1e-11
    assert {row["flipped"] for name, row in rows.items() if "too fast" not in name} == {"0"}
