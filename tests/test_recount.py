"""Recomputes metrics from the stored networks, in NumPy and without the project's own metrics."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from conftest import WorkingCopy
from mlp import ames, checkpoints, images
from mlp.evaluation import probabilities
from mlp.prediction import predict


@pytest.fixture(scope="module")
def copy(subset_template: WorkingCopy) -> Path:
    return subset_template.path


def test_accuracies_and_confusions(copy: Path) -> None:
    test = images.load(copy / "data/processed/test.safetensors")
    labels = test.labels.numpy()
    metrics = json.loads((copy / "metrics/evaluation.json").read_text())
    shares = pd.read_csv(copy / "metrics/confusion.csv")
    for name in ("shallow", "deep"):
        files = sorted((copy / "models" / name).iterdir())
        predicted = [
            probabilities(predict(checkpoints.load(file, "mnist"), test.examples())).numpy().argmax(1) for file in files
        ]
        accuracies = [np.mean(each == labels) for each in predicted]
        assert metrics[name]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies), abs=1e-6)
        assert metrics[name]["accuracy"]["std"] == pytest.approx(np.std(accuracies, ddof=1), abs=1e-6)
        counts = np.zeros((10, 10))
        for each in predicted:
            np.add.at(counts, (labels, each), 1)
        stored = shares[shares.network == name].share.to_numpy().reshape(10, 10)
        assert stored == pytest.approx(counts / counts.sum(axis=1, keepdims=True), abs=1e-6)


def test_the_best_size_on_the_validation_images_is_chosen(copy: Path) -> None:
    sizes = pd.read_csv(copy / "plots/sizes.csv")
    metrics = json.loads((copy / "metrics/sizes.json").read_text())
    validation = sizes.groupby("hidden").validation_accuracy.mean()
    assert validation[metrics["hidden"]] == validation.max()
    accuracy = sizes.test_accuracy[sizes.hidden == metrics["hidden"]]
    assert metrics["deep"]["accuracy"]["mean"] == pytest.approx(accuracy.mean(), abs=1e-6)
    assert metrics["deep"]["accuracy"]["std"] == pytest.approx(accuracy.std(), abs=1e-6)


def test_the_best_size_on_the_test_images_is_marked_and_those_that_are_not_shown_to_be_worse(copy: Path) -> None:
    sizes, pairs = pd.read_csv(copy / "plots/sizes.csv"), pd.read_csv(copy / "plots/size_comparisons.csv")
    means = sizes.groupby("hidden", sort=False).test_accuracy.mean()
    assert means.is_monotonic_increasing
    best = means.index[-1]
    verdicts = pairs[["first", "second", "verdict"]].to_numpy().tolist()
    standing = {
        other: "shown to be worse" if [best, other, f"{best} is better"] in verdicts else "not shown to be worse"
        for other in means.index[:-1]
    }
    assert dict(zip(sizes.hidden, sizes.standing, strict=True)) == standing | {best: "best"}


@pytest.mark.parametrize("houses", ["all", "without_large"])
def test_errors_of_prices_and_ridge_regression_from_its_normal_equations(copy: Path, houses: str) -> None:
    train, validation, test = (
        ames.load(copy / f"data/prices/{houses}/{split}.safetensors") for split in ("train", "validation", "test")
    )
    scores = pd.read_csv(copy / "metrics/prices.csv")
    scores = scores[(scores.houses == houses) & (scores.split == "test")]
    x, y = train.inputs().numpy(), train.targets().numpy()

    def check(predicted: np.ndarray, model: str, seed: int | None = None) -> None:
        row = scores[(scores.model == model) & (scores.seed.isna() if seed is None else scores.seed == seed)].iloc[0]
        prices = test.prices.numpy()
        logarithms = np.log(prices)
        assert row.rmse == pytest.approx(np.sqrt(np.mean((predicted - prices) ** 2)), abs=0.01)
        assert row.rmsle == pytest.approx(np.sqrt(np.mean(np.log((1 + predicted) / (1 + prices)) ** 2)), abs=6e-5)
        unexplained = np.sum((np.log(predicted) - logarithms) ** 2) / np.sum((logarithms - logarithms.mean()) ** 2)
        assert row.r2 == pytest.approx(1 - unexplained, abs=6e-5)

    for file in (copy / f"models/prices/{houses}").glob("*/*"):
        network = checkpoints.load(file, f"ames/{houses}")
        prices = test.dollars(predict(network, test.examples()).squeeze(1)).numpy()
        check(prices, file.parent.name, int(file.stem.removeprefix("seed-")))
    check(np.full(len(test.prices), np.median(train.prices)), "median")
    penalties = yaml.safe_load((copy / "params.yaml").read_text())["evaluate_prices"]["ridge_penalties"]
    ridges = [np.linalg.solve(x.T @ x + penalty * np.eye(16), x.T @ y) for penalty in penalties]
    errors = [np.square(validation.inputs().numpy() @ ridge - validation.targets().numpy()).mean() for ridge in ridges]
    best = ridges[int(np.argmin(errors))]
    check(test.dollars(torch.from_numpy(test.inputs().numpy() @ best)).numpy(), "ridge")


def test_the_splits_hold_all_houses_of_which_five_are_large(copy: Path) -> None:
    counts = {
        houses: [
            len(ames.load(copy / f"data/prices/{houses}/{split}.safetensors").prices)
            for split in ("train", "validation", "test")
        ]
        for houses in ("all", "without_large")
    }
    assert counts["all"] == [1928, 400, 600]
    assert sum(counts["without_large"]) == 2923


def test_l1_norms_of_the_binary_network(copy: Path) -> None:
    for row in pd.read_csv(copy / "metrics/binary.csv").itertuples():
        network = checkpoints.load(copy / f"models/binary/l1-{row.l1_penalty}-seed-{row.seed}.safetensors", "ames/all")
        norm = sum(parameter.abs().sum().item() for name, parameter in network.named_parameters() if "weights" in name)
        assert norm == pytest.approx(row.l1_norm, abs=1e-5)
