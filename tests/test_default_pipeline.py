"""The whole pipeline with the parameters of the repository, from nothing, on the real data."""

import csv
import json
import platform
from pathlib import Path

import pytest
import torch

from conftest import WorkingCopy, clone
from mlp import artifacts, datasets
from mlp.evaluation import predict, probabilities


@pytest.fixture(scope="module")
def built(mnist_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    copy = clone(tmp_path_factory.mktemp("default") / "copy")
    (copy.path / "data/manual").mkdir(parents=True)
    (copy.path / "data/manual/mnist").symlink_to(mnist_raw)
    copy.run("dvc repro")
    return copy


def test_both_networks_reach_97_percent_on_the_test_images(built: WorkingCopy) -> None:
    metrics = json.loads((built.path / "metrics/evaluation.json").read_text())
    for name in ("shallow", "deep"):
        assert metrics[name]["seeds"] == 5
        assert metrics[name]["accuracy"]["mean"] >= 0.970


@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="the same bytes are promised on x86-64")
def test_the_rebuild_gives_the_bytes_that_are_in_git(built: WorkingCopy) -> None:
    assert built.status() == ""


def test_the_metrics_are_those_of_the_stored_networks(built: WorkingCopy) -> None:
    """Recounted from the files, image by image in numbers of right answers, without the project's metrics."""
    test = datasets.load(built.path / "data/processed/test.safetensors")
    metrics = json.loads((built.path / "metrics/evaluation.json").read_text())
    per_class = list(csv.DictReader((built.path / "metrics/accuracy_per_class.csv").open()))
    for name in ("shallow", "deep"):
        accuracies, right_of_class = [], torch.zeros(10)
        for file in sorted((built.path / "models" / name).iterdir()):
            chances = probabilities(predict(artifacts.load(file), test))
            torch.testing.assert_close(chances.sum(dim=1), torch.ones(10_000).double())
            right = chances.argmax(dim=1) == test.labels
            accuracies.append(right.double().mean())
            right_of_class += torch.bincount(test.labels[right], minlength=10)
        assert metrics[name]["accuracy"]["mean"] == pytest.approx(torch.stack(accuracies).mean().item(), abs=1e-6)
        assert metrics[name]["accuracy"]["std"] == pytest.approx(torch.stack(accuracies).std().item(), abs=1e-6)
        expected = right_of_class / torch.bincount(test.labels) / 5
        stored = [float(row["accuracy"]) for row in per_class if row["network"] == name]
        assert stored == pytest.approx(expected.tolist(), abs=1e-5)
