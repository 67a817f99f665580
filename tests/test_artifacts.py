"""Networks to files and back."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mlp.artifacts import load, save
from mlp.errors import InputError
from mlp.models import DeepNeuralNet, Network, ShallowNeuralNet
from mlp.training import round_weights

NETWORKS: list[Network] = [ShallowNeuralNet(8, 5, 3), DeepNeuralNet(8, [6], 3), DeepNeuralNet(8, [4] * 10, 3)]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_a_file_rebuilds_its_own_network(network: Network, tmp_path: Path) -> None:
    network = network.double()
    round_weights(network)
    save(network, tmp_path / "file")
    again = load(tmp_path / "file")
    x = torch.randn(5, 8, dtype=torch.float64)
    assert str(again) == str(network)
    assert torch.equal(again(x), network(x))
    assert not again.training


def test_the_same_network_gives_the_same_bytes_under_any_name(tmp_path: Path) -> None:
    save(NETWORKS[1], tmp_path / "one")
    save(load(tmp_path / "one"), tmp_path / "other.safetensors")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other.safetensors").read_bytes()


def test_loading_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    save(NETWORKS[0], tmp_path / "file")
    before = torch.get_rng_state()
    load(tmp_path / "file")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"network": "DeepNeuralNet"},
        {"network": '["Linear", [8, 3]]'},
        {"network": '["DeepNeuralNet", [8, [6, 6], 3]]'},
        {"other": ""},
    ],
)
def test_a_file_that_does_not_fit_its_metadata_is_refused_in_one_line(
    metadata: dict[str, str] | None, tmp_path: Path
) -> None:
    save_file(NETWORKS[1].state_dict(), tmp_path / "file", metadata)
    with pytest.raises(InputError, match=r"file: not a network that a training stage wrote .*; train it again$"):
        load(tmp_path / "file")


def test_a_cut_file_is_refused_in_one_line(tmp_path: Path) -> None:
    save(NETWORKS[0], tmp_path / "file")
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:-1])
    with pytest.raises(InputError, match=r"file: not a network that a training stage wrote .*; train it again$"):
        load(tmp_path / "file")
