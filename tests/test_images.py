"""Reading, splitting and normalising images, compared with torchvision and NumPy."""

import struct
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torch import nn

from mlp.images import LabelledImages, load, pixel_statistics, read_idx, save, stratified_split
from mlp.prediction import predict
from pipeline.datasets import source


@pytest.fixture(scope="module")
def mnist(mnist_raw: Path) -> LabelledImages:
    images = read_idx(mnist_raw / "train-images-idx3-ubyte")
    return LabelledImages(images, read_idx(mnist_raw / "train-labels-idx1-ubyte").long(), *pixel_statistics(images))


def test_idx_files_read_as_torchvision_reads_them(mnist_raw: Path) -> None:
    from torchvision.datasets.mnist import read_image_file, read_label_file  # slow to import

    for part in ("train", "t10k"):
        images, labels = mnist_raw / f"{part}-images-idx3-ubyte", mnist_raw / f"{part}-labels-idx1-ubyte"
        assert torch.equal(read_idx(images), read_image_file(str(images)))
        assert torch.equal(read_idx(labels).long(), read_label_file(str(labels)))


def test_fashion_mnist_is_60000_images_of_28_by_28_and_sample_894_is_a_bag(raw: Callable[[str], Path]) -> None:
    labels = read_idx(raw("fashion_mnist") / "train-labels-idx1-ubyte").long()
    assert read_idx(raw("fashion_mnist") / "train-images-idx3-ubyte").shape == (60_000, 28, 28)
    assert source("fashion_mnist").classes[int(labels[894])] == "Bag"
    assert labels.bincount().tolist() == [6000] * 10


def test_class_names_are_the_lectures() -> None:
    assert ", ".join(source("fashion_mnist").classes) == (
        "T-Shirt, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle Boot"
    )
    assert source("mnist").classes == [str(digit) for digit in range(10)]


@given(arrays(np.uint8, array_shapes(max_dims=4)))
def test_an_idx_file_of_any_shape_survives_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray
) -> None:
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(struct.pack(f">4B{array.ndim}i", 0, 0, 8, array.ndim, *array.shape) + array.tobytes())
    assert np.array_equal(read_idx(path).numpy(), array)


def test_the_training_pixels_of_mnist_have_the_known_mean_and_standard_deviation(mnist: LabelledImages) -> None:
    assert round(mnist.mean.item(), 4) == 0.1307
    assert round(mnist.std.item(), 4) == 0.3081


@given(arrays(np.uint8, array_shapes(min_dims=3, max_dims=3)))
def test_pixel_statistics_agree_with_numpy(array: np.ndarray) -> None:
    mean, std = pixel_statistics(torch.from_numpy(array))
    assert mean.item() == pytest.approx((array / 255).mean())
    assert std.item() == pytest.approx((array / 255).std(), abs=1e-9)


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    share=st.fractions(0, 1),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_split_is_complete_stratified_and_repeatable(labels: list[int], share: float, seed: int) -> None:
    size = int(share * len(labels))
    training, validation = stratified_split(torch.tensor(labels), size, seed)
    assert sorted(training.tolist() + validation.tolist()) == list(range(len(labels)))
    assert len(validation) == size
    chosen = Counter(labels[i] for i in validation.tolist())
    for label, count in Counter(labels).items():
        assert abs(chosen[label] - count * size / len(labels)) < 1
    again = stratified_split(torch.tensor(labels), size, seed)
    assert torch.equal(again[0], training)
    assert torch.equal(again[1], validation)


def test_another_seed_chooses_other_images(mnist: LabelledImages) -> None:
    one, other = (stratified_split(mnist.labels, 5000, seed)[1] for seed in (0, 1))
    assert len(set(one.tolist()) & set(other.tolist())) < 1000


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_networks_get_the_same_inputs_as_from_torchvision(dataset: str, raw: Callable[[str], Path]) -> None:
    """An identity network shows its inputs. Their mean is rounded to 1/64 of a grey level."""
    from torchvision import transforms  # slow to import

    images = read_idx(raw(dataset) / "train-images-idx3-ubyte")[:500]
    data = LabelledImages(images, torch.arange(500), *pixel_statistics(images))
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((data.mean.item(),), (data.std.item(),))]
    )
    expected = torch.stack([transform(image.numpy()) for image in images]).flatten(1)
    identity = nn.Linear(784, 784, bias=False)
    identity.weight.data = torch.eye(784)
    found = predict(identity, data.examples())
    step = 1 / 64 / 255 / data.std.item()
    torch.testing.assert_close(found.float(), expected, atol=step / 2 + 1e-6, rtol=0)
    assert torch.equal(data.examples().targets, data.labels)


@given(mean=st.floats(0, 1), std=st.floats(0.01, 0.5))
def test_pixels_less_their_mean_are_exact_in_14_bits(mean: float, std: float) -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    data = LabelledImages(pixels, torch.zeros(1).long(), *(torch.tensor(each).double() for each in (mean, std)))
    examples = data.examples()
    steps = [Fraction(value - examples.shift) * 64 for value in range(256)]
    assert all(step.denominator == 1 and abs(step) <= 2**14 for step in steps)
    assert abs(examples.shift - mean * 255) <= 1 / 128
    assert examples.divisor == pytest.approx(std * 255)


def test_labelled_images_survive_a_round_trip_through_their_file(mnist: LabelledImages, tmp_path: Path) -> None:
    save(LabelledImages(mnist.images[:0], mnist.labels[:0], mnist.mean, mnist.std), tmp_path / "none")
    save(mnist, tmp_path / "all")
    assert load(tmp_path / "none").images.shape == (0, 28, 28)
    for stored, tensor in zip(load(tmp_path / "all"), mnist, strict=True):
        assert torch.equal(stored, tensor)
        assert stored.dtype == tensor.dtype
