"""The benchmark compares like with like, and its page reports what was measured."""

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks.stacked import measure
from benchmarks.training import (
    OURS,
    Case,
    matrix_products,
    normalised,
    page,
    time_jax,
    time_ours,
    time_scikit_learn,
    time_usual_loop,
    torchvision_samples,
)
from mlp.errors import InputError
from mlp.images import LabelledImages, pixel_statistics, read_idx
from mlp.on_torch import OnTorch
from mlp.spec import Architecture, Settings
from pipeline.params import load
from pipeline.params.complete import Params
from tools.documents import jobs_table, scaling

NETWORKS = {
    "shallow": (Architecture("ShallowNeuralNet", [784, 64, 10]), Settings(1, 64, 0.001)),
    # at 0.001 the loss would hardly change in the twelve steps of this small epoch, and equal losses would show nothing
    "deep": (Architecture("DeepNeuralNet", [784, [80, 40, 20], 10]), Settings(1, 256, 0.005)),
}


@pytest.fixture(scope="module")
def training(mnist_raw: Path) -> LabelledImages:
    images = read_idx(mnist_raw / "train-images-idx3-ubyte")[:3000]
    labels = read_idx(mnist_raw / "train-labels-idx1-ubyte")[:3000].long()
    return LabelledImages(images, labels, *pixel_statistics(images))


@pytest.fixture(params=NETWORKS)
def case(request: pytest.FixtureRequest, training: LabelledImages, mnist_raw: Path) -> Case:
    return Case(*NETWORKS[request.param], training, "mnist", mnist_raw)


def test_the_usual_loop_and_scikit_learn_learn_what_this_project_learns(case: Case) -> None:
    ours = time_ours(case).loss
    assert ours is not None
    assert ours < 2  # from ln 10 at the beginning
    assert time_usual_loop(case).loss == pytest.approx(ours, rel=0.25)
    assert time_scikit_learn(case).loss == pytest.approx(ours, rel=0.35)  # its initial weights are larger


@pytest.mark.skipif(find_spec("jax") is None, reason="JAX is an extra: requirements-bench.lock")
def test_jax_learns_what_this_project_learns_in_either_precision(case: Case) -> None:
    float64, float32 = (time_jax(case, dtype) for dtype in ("float64", "float32"))
    assert float64.loss == pytest.approx(time_ours(case).loss, rel=0.25)
    assert float32.loss == pytest.approx(float64.loss, rel=1e-4)  # the same initial weights and batches
    assert float32.loss != pytest.approx(float64.loss, rel=1e-10)  # else it ran in float64


def test_the_usual_loop_trains_on_the_same_numbers(training: LabelledImages, mnist_raw: Path) -> None:
    samples, pixels = torchvision_samples("mnist", mnist_raw, training), normalised(training)
    for index in range(10):
        image, label = samples[index]
        torch.testing.assert_close(image.flatten(), pixels[index].float())
        assert label == training.labels[index].item()


def test_the_matrix_products_give_the_gradients_of_autograd() -> None:
    weights = [torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in [(5, 7), (4, 5), (3, 4)]]
    x, upstream = torch.rand(6, 7, dtype=torch.float64), torch.rand(6, 3, dtype=torch.float64)
    logits = x @ weights[0].T @ weights[1].T @ weights[2].T
    expected = torch.autograd.grad(logits, weights, upstream)
    gradients = matrix_products([weight.detach() for weight in weights], x, upstream)
    torch.testing.assert_close(gradients, list(expected))


def test_the_page_has_medians_of_the_table() -> None:
    columns = ["measured", "network", "way", "run", "networks", "ratio", "seconds"]
    epochs = [["epoch", "deep", OURS, run, 1, ratio, 0.5] for run, ratio in enumerate([9, 1.25, 1])]
    rows = pd.DataFrame([*epochs, ["full run", "deep", "JAX", 0, 8, 0.75, 61]], columns=columns)
    missing = float("nan")
    rows = rows.assign(compile_seconds=missing, loss=[0.4, 0.4, 0.4, missing], accuracy=[missing] * 3 + [0.9712])
    text = page(rows.assign(machine="a processor", versions="NumPy 2"))
    assert "a processor, with NumPy 2" in text
    assert f"| deep | {OURS} | 1.25 | 0.50 |  | 0.400 |" in text
    assert "| deep | JAX | 0.75 | 61.0 | 0.9712 |" in text
    assert "8 networks of each kind" in text


def test_networks_trained_at_once_are_timed_against_one_alone(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLP_DEVICE", "cpu")
    rows = measure("deep", case.architecture, case.settings, case.training.examples(), [1, 3])
    assert [(row.device[:12], row.networks) for row in rows] == [("one core of ", 1), ("cpu", 1), ("cpu", 3)]


def test_parameters_that_depend_on_the_device_are_reported(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLP_DEVICE", "cpu")
    monkeypatch.setattr(OnTorch, "divisor", lambda _, number: number * 1.01)
    with pytest.raises(InputError, match="deep: seed 0 among 1 networks on cpu has other parameters"):
        measure("deep", case.architecture, case.settings, case.training.examples(), [1])


def test_the_page_on_scaling_shows_the_table_of_jobs_and_calculates_from_it() -> None:
    places = ["the pool", "a Dask cluster"]
    jobs = pd.DataFrame({"jobs": "house prices", "where": places, "training_seconds": 0.75, "overhead_seconds": 0.03})
    jobs = jobs.assign(dispatch_seconds=[0.001, 0.004], efficiency_of_two_workers=0.956, machine="a processor")
    assert "| house prices | a Dask cluster | 750.0 | 30.0 | 4.0 | 0.96 |" in jobs_table(jobs)
    row = {"measured": "epoch", "network": "deep", "way": OURS}
    timings = pd.DataFrame([row | {"seconds": seconds} for seconds in (9, 2, 1)])
    params = load(Params)
    values = scaling(jobs, timings)
    assert values["seconds"] == 2 * params.train_deep.epochs
    assert values["rate"] == 1000 / values["seconds"]
    assert values["dispatch"] == 0.004
    assert values["shipped"] == pytest.approx(60_000 * (28 * 28 + 8), rel=1e-3)  # images, each with its label
    units = [28 * 28, *params.hidden, 10]
    weights = sum((inputs + 1) * outputs for inputs, outputs in pairwise(units))
    assert values["network"] == pytest.approx(4 * weights, rel=0.02)
