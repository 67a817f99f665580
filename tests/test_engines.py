"""A seed gives the same network on either engine, alone or in a stack, and with any number of threads."""

import hashlib
import os
import subprocess
import sys
from functools import cache, partial
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml
from numpy.random import SeedSequence
from torch import Tensor, nn

import by_torch
from conftest import ROOT, WorkingCopy, run_here, set_byte_products
from kinds import kinds, random_images
from mlp.classification import train
from mlp.errors import DivergedError, InputError
from mlp.exact import Exact
from mlp.examples import Examples
from mlp.models import DeepNeuralNet, ShallowNeuralNet, initialise
from mlp.on_numpy import OnNumpy
from mlp.on_torch import OnTorch
from mlp.prediction import predict
from mlp.spec import Settings
from mlp.training import classification_loss, fit
from pipeline.training import engine

WILD = Settings(epochs=8, batch_size=140, learning_rate=0.1)  # large enough for products of bytes


def bytes_of(network: nn.Module) -> bytes:
    return b"".join(each.detach().numpy().tobytes() for each in network.parameters())


@pytest.mark.parametrize(
    ("hidden", "settings"),
    [
        ([80, 40, 20], Settings(epochs=15, batch_size=64, learning_rate=0.001)),
        ([80, 40, 20], WILD),
        ([15] * 10, Settings(epochs=6, batch_size=30, learning_rate=0.02)),
    ],
    ids=["usual", "wild", "ten hidden layers"],
)
def test_an_independent_engine_trains_the_same_network(hidden: list[int], settings: Settings) -> None:
    images = random_images(200)
    make_network = partial(DeepNeuralNet, 784, hidden, 10)
    (ours,) = fit(make_network, images.examples(), classification_loss, settings, [3])
    order, first, _ = SeedSequence(3).generate_state(3, np.uint64).tolist()
    start = make_network()
    initialise(start, torch.Generator().manual_seed(first))
    theirs = by_torch.train(
        [each.detach() for each in start.parameters()],
        images.images.flatten(1),
        images.labels,
        (images.mean.item(), images.std.item()),
        *settings[:3],
        torch.Generator().manual_seed(order),
    )
    assert bytes_of(ours) == b"".join(each.numpy().tobytes() for each in theirs)
    assert not torch.equal(next(ours.parameters()), next(start.parameters()))


@pytest.mark.parametrize("name", kinds())
def test_a_network_trained_in_a_stack_is_the_one_trained_alone(name: str) -> None:
    """This compares torch's engine with NumPy's, too."""
    kind = kinds()[name]
    losses: list[list[float]] = []

    def networks(seeds: list[int], arrays: Any) -> list[bytes]:
        found: list[list[float]] = []
        trained = fit(
            kind.make_network, kind.examples, kind.loss, WILD, seeds, lambda *epoch: found.append(epoch[2]), arrays
        )
        losses.append([found[-1][-1], found[0][-1]])
        return [bytes_of(network) for network in trained]

    alone = networks([5], OnNumpy())
    assert networks([1, 2, 5], OnTorch("cpu"))[2] == alone[0]
    assert networks([5], OnTorch("cpu")) == alone
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize("name", kinds())
def test_replayed_batches_give_what_the_network_itself_computes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = kinds()[name]
    (repeated,) = fit(kind.make_network, kind.examples, kind.loss, WILD, [5])
    monkeypatch.setattr(Exact, "replay", lambda run, _, x, targets: run.trace(kind.loss, x, targets)[0])
    (asked,) = fit(kind.make_network, kind.examples, kind.loss, WILD, [5])
    assert bytes_of(repeated) == bytes_of(asked)


def test_learning_curves_do_not_depend_on_the_engine() -> None:
    images = random_images(200)
    runs = [
        train(partial(DeepNeuralNet, 784, [20], 10), images, images, WILD, seeds, arrays)[1][-1]
        for seeds, arrays in (([0], OnNumpy()), ([1, 0], OnTorch("cpu")))
    ]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("settings", [WILD, Settings(epochs=8, batch_size=140, learning_rate=0.001)])
@pytest.mark.parametrize("name", ["shallow", "deep", "ten hidden layers"])
def test_products_of_bytes_give_the_same_network_and_predictions(
    name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, results = kinds()[name], []
    products = Mock(side_effect=OnNumpy().byte_product)
    monkeypatch.setattr(OnNumpy, "byte_product", products)
    for value in (True, False):
        set_byte_products(monkeypatch, value)
        (network,) = fit(kind.make_network, kind.examples, kind.loss, settings, [5])
        results.append((bytes_of(network), predict(network, kind.examples).numpy().tobytes()))
        assert products.call_count == 2 * 2 * settings.epochs + 1  # 2 for each of 2 batches, the third is too small
    assert results[0] == results[1]


@pytest.mark.parametrize("size", [1, 2, 3, 127, 128, 1000, 1001])
@pytest.mark.parametrize("units", [1, 8])
def test_images_of_any_size_give_the_same_network_with_products_of_bytes(
    size: int, units: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a single column, torch's product of bytes returns other numbers at each call."""
    generator = torch.Generator().manual_seed(size)
    inputs = torch.randint(0, 256, (200, size), generator=generator, dtype=torch.uint8)
    examples, results = Examples(inputs, inputs[:, 0].long() % 2, 100.25, 70.0), []
    for value in (True, False):
        set_byte_products(monkeypatch, value)
        make_network = partial(ShallowNeuralNet, size, units, 2)
        (network,) = fit(make_network, examples, classification_loss, Settings(2, 130, 0.01), [0])
        results.append((bytes_of(network), predict(network, examples).numpy().tobytes()))
    assert results[0] == results[1]


@pytest.mark.parametrize("pixel", [0, 255])
def test_a_network_that_diverges_does_so_with_products_of_bytes_too(
    pixel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = kinds()["shallow"]
    examples = kind.examples._replace(inputs=torch.full_like(kind.examples.inputs, pixel))
    said = []
    for value in (True, False):
        set_byte_products(monkeypatch, value)
        with pytest.raises(DivergedError) as error:
            fit(kind.make_network, examples, kind.loss, Settings(20, 140, 1e30), [5])
        said.append(str(error.value))
    assert said[0] == said[1]


@pytest.mark.slow
@pytest.mark.parametrize("instructions", ["SSE41", "AVX2"])
def test_instructions_that_saturate_are_not_used(instructions: str) -> None:
    script = "from mlp import on_numpy; print(on_numpy._has_exact_byte_products())"
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


@cache
def hashes() -> list[str]:
    """Returns the SHA-256 of every kind of network, trained on both engines with WILD settings."""
    networks = [
        fit(kind.make_network, kind.examples, kind.loss, WILD, seeds, arrays=arrays)[0]
        for kind in kinds().values()
        for arrays, seeds in ((OnNumpy(), [5]), (OnTorch("cpu"), [5, 1]))
    ]
    return [hashlib.sha256(bytes_of(network)).hexdigest() for network in networks]


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"OPENBLAS_NUM_THREADS": "8", "OMP_NUM_THREADS": "8"},
        {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4", "ATEN_CPU_CAPABILITY": "default"},
        {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "2"},
    ],
    ids=lambda environment: " ".join(environment),
)
def test_threads_and_instruction_sets_change_nothing(environment: dict[str, str]) -> None:
    """Trains every kind of network in another process too, where libraries read the environment as they start."""
    threads = environment.get("OMP_NUM_THREADS", "1")  # set once more, because conftest.py sets torch's to one
    script = f"import test_engines as t; t.torch.set_num_threads({threads}); print(*t.hashes())"
    changed = os.environ | environment | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run([sys.executable, "-c", script], env=changed, check=True, capture_output=True, text=True)
    assert done.stdout.split() == hashes()
    assert hashes()[::2] == hashes()[1::2]
    assert len(set(hashes())) == len(kinds())


def test_the_device_changes_no_output_of_any_stage(subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    """On torch's engine, which a GPU uses, all networks of a stage that differ only in the seed train at once."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    trains = [name for name, stage in stages.items() if "pipeline/jobs.py" in stage["deps"]]
    assert {"train_deep", "compare_sizes", "train_binary"} < set(trains)
    monkeypatch.setenv("MLP_DEVICE", "cpu")
    monkeypatch.setenv("MLP_STORE", "off")
    run_here(subset, trains, monkeypatch)
    assert "up to date" in subset.run("dvc status").stdout  # dvc.lock has the hash of every output


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "hpu", "mps"])
def test_an_unavailable_device_is_rejected_in_one_line(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLP_DEVICE", device)
    with pytest.raises(
        InputError, match=rf"^MLP_DEVICE is '{device}'; allowed: a PyTorch device, such as cuda \(.*\)$"
    ):
        engine()


def test_no_parameter_is_ever_minus_zero() -> None:
    """The order of an exact sum can change only the sign of a zero, so no stored number may be -0."""
    for kind in kinds().values():
        (network,) = fit(kind.make_network, kind.examples, kind.loss, WILD, [0])
        for parameter in network.parameters():
            assert not _minus_zeros(parameter).any()


def _minus_zeros(numbers: Tensor) -> Tensor:
    return (numbers == 0) & numbers.signbit()
