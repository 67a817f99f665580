"""The whole pipeline with the parameters of the repository, from nothing, on the real data."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import WorkingCopy, clone
from mlp import ames, checkpoints, images
from mlp.evaluation import probabilities
from mlp.prediction import predict


@pytest.fixture(scope="module")
def built(mnist_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    copy = clone(tmp_path_factory.mktemp("default") / "copy")
    (copy.path / "data/manual").mkdir(parents=True)
    (copy.path / "data/manual/mnist").symlink_to(mnist_raw)
    copy.run("dvc repro", MLP_WORKERS=str(os.cpu_count()))
    return copy


def test_both_networks_reach_97_percent_on_the_test_images(built: WorkingCopy) -> None:
    metrics = json.loads((built.path / "metrics/evaluation.json").read_text())
    for name in ("shallow", "deep"):
        assert len(list((built.path / "models" / name).iterdir())) == 8
        assert metrics[name]["accuracy"]["mean"] >= 0.970


def test_the_rebuild_gives_the_bytes_that_are_in_git(built: WorkingCopy) -> None:
    """Of the networks too, whose hashes are in dvc.lock: on any processor."""
    assert built.status() == ""


def test_the_metrics_are_those_of_the_stored_networks(built: WorkingCopy) -> None:
    """Recounted from the files, image by image in numbers of right answers, without the project's metrics."""
    test = images.load(built.path / "data/processed/test.safetensors")
    metrics = json.loads((built.path / "metrics/evaluation.json").read_text())
    shares = list(csv.DictReader((built.path / "metrics/confusion.csv").open()))
    for name in ("shallow", "deep"):
        accuracies, right_of_class = [], torch.zeros(10)
        for file in sorted((built.path / "models" / name).iterdir()):
            chances = probabilities(predict(checkpoints.load(file, "mnist"), test.examples()))
            torch.testing.assert_close(chances.sum(dim=1), torch.ones(10_000).double())
            right = chances.argmax(dim=1) == test.labels
            accuracies.append(right.double().mean())
            right_of_class += torch.bincount(test.labels[right], minlength=10)
        assert metrics[name]["accuracy"]["mean"] == pytest.approx(torch.stack(accuracies).mean().item(), abs=1e-6)
        assert metrics[name]["accuracy"]["std"] == pytest.approx(torch.stack(accuracies).std().item(), abs=1e-6)
        expected = right_of_class / torch.bincount(test.labels) / 8
        of_name = [row for row in shares if row["network"] == name]
        stored = [float(row["share"]) for row in of_name if row["actual"] == row["predicted"]]
        assert stored == pytest.approx(expected.tolist(), abs=1e-5)


def test_each_size_is_tested_and_the_best_on_validation_chosen(built: WorkingCopy) -> None:
    sizes = pd.read_csv(built.path / "plots/sizes.csv")
    metrics = json.loads((built.path / "metrics/sizes.json").read_text())
    means = sizes.groupby("hidden").mean()
    assert means.parameters.to_dict() == {"320-160-80-40-20": 319_710, "400-200": 396_210, "40-20": 32_430}
    assert sizes.groupby("hidden").seed.nunique().tolist() == [8, 8, 8]
    assert metrics["hidden"] == means.validation_accuracy.idxmax()
    accuracy = sizes.test_accuracy[sizes.hidden == metrics["hidden"]]
    assert metrics["deep"]["accuracy"]["mean"] == pytest.approx(accuracy.mean(), abs=1e-6)
    assert metrics["deep"]["accuracy"]["std"] == pytest.approx(accuracy.std(), abs=1e-6)


@pytest.mark.parametrize("houses", ["all", "without_large"])
def test_the_errors_of_prices_are_those_of_the_stored_networks(built: WorkingCopy, houses: str) -> None:
    """Recounted in numpy, and ridge regression from its normal equations."""
    train, test = (ames.load(built.path / f"data/prices/{houses}/{part}.safetensors") for part in ("train", "test"))
    scores = pd.read_csv(built.path / "metrics/prices.csv")
    scores = scores[(scores.houses == houses) & (scores.part == "test")]
    x, y = train.inputs().numpy(), train.targets().numpy()

    def check(predicted: np.ndarray, model: str, seed: int | None = None) -> None:
        row = scores[(scores.model == model) & (scores.seed.isna() if seed is None else scores.seed == seed)].iloc[0]
        prices = test.prices.numpy()
        logarithms = np.log(prices)
        assert row.rmse == pytest.approx(np.sqrt(np.mean((predicted - prices) ** 2)), abs=0.01)
        assert row.rmsle == pytest.approx(np.sqrt(np.mean(np.log((1 + predicted) / (1 + prices)) ** 2)), abs=6e-5)
        unexplained = np.sum((np.log(predicted) - logarithms) ** 2) / np.sum((logarithms - logarithms.mean()) ** 2)
        assert row.r2 == pytest.approx(1 - unexplained, abs=6e-5)

    for name in ("shallow", "deep"):
        for seed in range(8):
            path = built.path / f"models/prices/{houses}/{name}/seed-{seed}.safetensors"
            network = checkpoints.load(path, f"ames/{houses}")
            check(test.dollars(predict(network, test.examples()).squeeze(1)).numpy(), name, seed)
    check(np.full(len(test.prices), np.median(train.prices)), "median")
    ridges = [np.linalg.solve(x.T @ x + penalty * np.eye(16), x.T @ y) for penalty in (0.1, 1, 10, 100, 1000)]
    validation = ames.load(built.path / f"data/prices/{houses}/validation.safetensors")
    errors = [np.square(validation.inputs().numpy() @ ridge - validation.targets().numpy()).mean() for ridge in ridges]
    with_best = test.dollars(torch.from_numpy(test.inputs().numpy() @ ridges[int(np.argmin(errors))])).numpy()
    check(with_best, "ridge")


def test_every_model_of_prices_explains_far_more_than_the_median(built: WorkingCopy) -> None:
    scores = pd.read_csv(built.path / "metrics/prices.csv")
    means = scores[(scores.part == "test") & (scores.houses == "without_large")].groupby("model").r2.mean()
    assert abs(means.pop("median")) < 0.05
    assert means.min() > 0.85


def test_the_parts_hold_all_houses_of_which_five_are_large(built: WorkingCopy) -> None:
    folder = built.path / "data/prices"
    counts = {
        houses: [
            len(ames.load(folder / houses / f"{part}.safetensors").prices) for part in ("train", "validation", "test")
        ]
        for houses in ("all", "without_large")
    }
    assert counts["all"] == [1928, 400, 600]
    assert sum(counts["without_large"]) == 2923


def test_the_penalty_shrinks_the_weights_of_the_binary_network(built: WorkingCopy) -> None:
    table = pd.read_csv(built.path / "metrics/binary.csv")
    by_penalty = table.groupby("l1_penalty").mean()
    assert by_penalty.l1_norm.is_monotonic_decreasing
    assert by_penalty.training_loss.is_monotonic_increasing
    assert by_penalty.l1_norm.iloc[-1] < by_penalty.l1_norm.iloc[0] / 5
    assert by_penalty.test_accuracy.min() > 0.85
    for row in table.itertuples():
        path = built.path / f"models/binary/l1-{row.l1_penalty}-seed-{row.seed}.safetensors"
        network = checkpoints.load(path, "ames/all")
        norm = sum(parameter.abs().sum().item() for name, parameter in network.named_parameters() if "weights" in name)
        assert norm == pytest.approx(row.l1_norm, abs=1e-5)


def test_learning_rates_are_compared_on_all_60000_images(built: WorkingCopy) -> None:
    rates = pd.read_csv(built.path / "plots/learning_rates/accuracy.csv")
    images = rates.training_accuracy * 60_000
    assert (images - images.round()).abs().max() < 0.05
    steps = pd.read_csv(built.path / "plots/learning_rates/first_epoch.csv").step
    assert steps.unique().tolist() == [25, 50, 75, 100, 125, 150, 175, 200, 225]
