"""Checks that the committed results of the last rebuild are plausible and agree with each other."""

import json

import pandas as pd
import pytest

from conftest import ROOT


def metrics(name: str) -> dict[str, dict[str, dict[str, float]]]:
    content: dict[str, dict[str, dict[str, float]]] = json.loads((ROOT / f"metrics/{name}.json").read_text())
    return content


@pytest.fixture
def networks() -> pd.DataFrame:
    return pd.read_csv(ROOT / "metrics/networks.csv")


@pytest.fixture
def prices() -> pd.DataFrame:
    table = pd.read_csv(ROOT / "metrics/prices.csv")
    return table[table.split == "test"]


def test_the_lectures_networks_reach_97_percent_on_the_test_images(networks: pd.DataFrame) -> None:
    assert (networks.groupby("network").accuracy.mean()[["shallow", "deep"]] >= 0.97).all()


def test_the_summary_agrees_with_the_table_of_networks(networks: pd.DataFrame) -> None:
    for name, group in networks.groupby("network"):
        for measure in ("accuracy", "calibration_error"):
            summary = metrics("evaluation")[str(name)][measure]
            assert summary["mean"] == pytest.approx(group[measure].mean(), abs=2e-6)
            assert summary["std"] == pytest.approx(group[measure].std(), abs=2e-6)


def test_the_confusion_matrix_has_the_accuracy_of_the_table_of_networks(networks: pd.DataFrame) -> None:
    """The mean over the classes is close to the accuracy, since each has about a tenth of the test images."""
    shares = pd.read_csv(ROOT / "metrics/confusion.csv")
    right = shares[shares.actual == shares.predicted].groupby("network").share.mean()
    assert (right - networks.groupby("network").accuracy.mean()).abs().max() < 0.002


def test_every_price_model_explains_far_more_than_the_median(prices: pd.DataFrame) -> None:
    means = prices[prices.houses == "without_large"].groupby("model").r2.mean()
    assert abs(means.pop("median")) < 0.05
    assert means.min() > 0.85


def test_the_penalty_shrinks_the_weights_of_the_binary_network() -> None:
    by_penalty = pd.read_csv(ROOT / "metrics/binary.csv").groupby("l1_penalty").mean()
    assert by_penalty.l1_norm.is_monotonic_decreasing
    assert by_penalty.training_loss.is_monotonic_increasing
    assert by_penalty.l1_norm.iloc[-1] < by_penalty.l1_norm.iloc[0] / 5
    assert by_penalty.test_accuracy.min() > 0.85
