"""Saving networks to files and loading them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from kinds import random_images
from mlp import images
from mlp.checkpoints import Images, Normalisation, load, predict_from_file, read_metadata, to_bytes
from mlp.errors import InputError
from mlp.examples import Examples
from mlp.models import CLASSES, ShallowNeuralNet, build
from mlp.spec import Architecture, Settings
from pipeline.training import Job, file, unpack
from pipeline.training import images as of_images

ARCHITECTURES = [
    Architecture("ShallowNeuralNet", [8, 5, 3]),
    Architecture("DeepNeuralNet", [8, [6], 3]),
    Architecture("DeepNeuralNet", [8, [4] * 10, 3]),
    Architecture("BinaryShallowNeuralNet", [8, 5]),
]
SHALLOW, DEEP = ARCHITECTURES[:2]
SETTINGS = {"epochs": 2, "batch_size": 64, "learning_rate": 1e-5, "betas": [0.9, 0.999]}


def save(network: nn.Module, architecture: Architecture, path: Path, *origin: Any) -> None:
    path.write_bytes(to_bytes(network, architecture, *origin))


def store(architecture: Architecture, path: Path, dataset: str = "mnist", seed: int = 0) -> nn.Module:
    network = build(architecture)
    save(network, architecture, path, dataset, seed, SETTINGS)
    return network


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_a_file_rebuilds_its_own_network(architecture: Architecture, tmp_path: Path) -> None:
    network = store(architecture, tmp_path / "file")
    again = load(tmp_path / "file", "mnist")
    x = torch.randn(5, 8)
    assert str(again) == str(network)
    assert torch.equal(again(x), network(x))
    assert not again.training


def test_weights_are_stored_in_float32_as_they_are(tmp_path: Path) -> None:
    network = store(DEEP, tmp_path / "file")
    stored = load_file(tmp_path / "file")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    assert all(torch.equal(stored[name], tensor) for name, tensor in network.state_dict().items())
    assert stored.keys() == network.state_dict().keys()


def test_a_file_records_how_its_network_was_trained(tmp_path: Path) -> None:
    network = store(DEEP, tmp_path / "file", seed=7)
    with safe_open(tmp_path / "file", "pt") as file:
        metadata = json.loads(file.metadata()["network"])
    assert metadata == {
        "architecture": "DeepNeuralNet",
        "arguments": [8, [6], 3],
        "summary": str(network),
        "dataset": "mnist",
        "seed": 7,
        "settings": {"epochs": 2, "batch_size": 64, "learning_rate": 1e-5, "betas": [0.9, 0.999]},
        "normalisation": None,
    }


def test_a_file_records_how_to_normalise_images(tmp_path: Path) -> None:
    normalisation = Normalisation(mean=0.1 + 0.2, std=1 / 3)
    save(build(SHALLOW), SHALLOW, tmp_path / "file", "mnist", 0, SETTINGS, normalisation)
    assert read_metadata(tmp_path / "file").normalisation == normalisation


def test_a_file_describes_a_users_own_images(tmp_path: Path) -> None:
    images = Images(classes=["Öfen", "a, b", "c"], height=2, width=4)
    save(build(SHALLOW), SHALLOW, tmp_path / "file", "shapes", 0, SETTINGS, Normalisation(mean=0.1, std=0.3), images)
    assert read_metadata(tmp_path / "file").images == images


def test_the_same_network_gives_the_same_bytes_under_any_name(tmp_path: Path) -> None:
    store(DEEP, tmp_path / "one")
    save(load(tmp_path / "one", "mnist"), DEEP, tmp_path / "other.safetensors", "mnist", 0, SETTINGS)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other.safetensors").read_bytes()


def test_loading_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    store(SHALLOW, tmp_path / "file")
    before = torch.get_rng_state()
    load(tmp_path / "file", "mnist")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "wrong",
    [
        {"architecture": "ShallowNeuralNet", "arguments": [8, 6, 3]},
        {"arguments": [8, [6, 6], 3]},
        {"arguments": [8, [7], 3]},
        {"arguments": [8]},
        {"arguments": [8, 0.5, 3]},
        {"arguments": [0, [6], 3]},
        {"arguments": [8, [6], 3, 0.5]},
        {"arguments": None},
        {"seed": "0"},
        {"author": "somebody"},
    ],
    ids=str,
)
def test_a_file_that_contradicts_its_metadata_is_rejected_in_one_line(wrong: dict[str, object], tmp_path: Path) -> None:
    store(DEEP, tmp_path / "file")
    with safe_open(tmp_path / "file", "pt") as file:
        metadata = json.loads(file.metadata()["network"])
    save_file(load_file(tmp_path / "file"), tmp_path / "file", {"network": json.dumps(metadata | wrong)})
    with pytest.raises(
        InputError, match=r"^[^\n]*file: not as a stage wrote it \(.*\); delete it and run `dvc repro`$"
    ):
        load(tmp_path / "file", "mnist")


class WithDropout(ShallowNeuralNet):
    """A user's own network."""

    def __init__(self, n_x: int, n_h: int, n_y: int, rate: float) -> None:
        super().__init__(n_x, n_h, n_y)
        self.dropout = nn.Dropout(rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc2(self.dropout(torch.relu(self.fc1(x.flatten(1)))))
        return logits


def test_a_class_may_take_a_rate_in_addition_to_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLASSES, "WithDropout", WithDropout)
    images.save(random_images(100), tmp_path / "images")
    architecture = Architecture("WithDropout", [784, 6, 10, 0.2])
    training = [file(str(tmp_path / "images"))]
    job = Job("images", training, None, "mnist", None, architecture, Settings(1, 50, 0.001), 0)
    (content,) = of_images.train([job], lambda each: Path(each.path))
    (tmp_path / "file").write_bytes(unpack(content).network)
    assert str(load(tmp_path / "file", "mnist")) == str(build(architecture))
    assert read_metadata(tmp_path / "file").arguments == [784, 6, 10, 0.2]


@pytest.mark.parametrize("metadata", [None, {"network": "DeepNeuralNet"}, {"network": "{}"}, {"other": ""}], ids=str)
def test_a_file_without_metadata_is_rejected_in_one_line(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    save_file(build(DEEP).state_dict(), tmp_path / "file", metadata)
    with pytest.raises(
        InputError, match=r"^[^\n]*file: not as a stage wrote it \(.*\); delete it and run `dvc repro`$"
    ):
        load(tmp_path / "file", "mnist")


def test_a_network_of_another_data_set_is_rejected_in_one_line(tmp_path: Path) -> None:
    store(SHALLOW, tmp_path / "file", "ames/all")
    with pytest.raises(InputError, match=r"file: a network trained on ames/all; needed: one trained on mnist$"):
        load(tmp_path / "file", "mnist")


def test_what_a_file_says_cannot_break_the_line_of_an_error(tmp_path: Path) -> None:
    store(SHALLOW, tmp_path / "file", "a\nb\x1b[31m")
    with pytest.raises(InputError, match=r"file: a network trained on a b \[31m; needed: one trained on mnist$"):
        load(tmp_path / "file", "mnist")


def test_a_network_whose_layers_share_weights_can_be_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shared(nn.Module):
        def __init__(self, n_x: int, n_y: int) -> None:
            super().__init__()
            self.one, self.other, self.last = nn.Linear(n_x, n_x), nn.Linear(n_x, n_x), nn.Linear(n_x, n_y)
            self.other.weight = self.one.weight

    monkeypatch.setitem(CLASSES, "Shared", Shared)
    network, architecture = Shared(4, 2), Architecture("Shared", [4, 2])
    save(network, architecture, tmp_path / "file", "mnist", 0, SETTINGS)
    found = load(tmp_path / "file", "mnist")
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), found.parameters(), strict=True))


@pytest.mark.parametrize("weight", [1e30, 1e38])
def test_outputs_too_large_to_compute_with_are_rejected_in_one_line(weight: float, tmp_path: Path) -> None:
    network = build(SHALLOW)
    nn.init.constant_(dict(network.named_parameters())["fc1.weight"], 1000)
    nn.init.constant_(dict(network.named_parameters())["fc2.weight"], weight)
    save(network, SHALLOW, tmp_path / "file", "mnist", 0, SETTINGS)
    examples = Examples(torch.ones(2, 8, dtype=torch.float64), torch.zeros(2))
    with pytest.raises(InputError, match=r"^[^\n]*file: its outputs are not finite or too large; train it again, at a"):
        predict_from_file(tmp_path / "file", "mnist", examples, 3)


def test_a_network_of_an_unknown_class_is_rejected_in_one_line(tmp_path: Path) -> None:
    save(nn.Linear(8, 3), Architecture("Linear", [8, 3]), tmp_path / "file", "mnist", 0, SETTINGS)
    with pytest.raises(InputError) as error:
        load(tmp_path / "file", "mnist")
    assert str(error.value) == (
        f"{tmp_path / 'file'}: a network of class Linear; those known here: {', '.join(CLASSES)}"
    )


def test_a_truncated_file_is_rejected_in_one_line(tmp_path: Path) -> None:
    store(SHALLOW, tmp_path / "file")
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:-1])
    with pytest.raises(InputError, match=r"file: not as a stage wrote it \(.*\); delete it and run `dvc repro`$"):
        load(tmp_path / "file", "mnist")
