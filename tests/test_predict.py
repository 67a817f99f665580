"""Runs `python -m tools.predict` on real test images saved as picture files."""

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import WorkingCopy, refusal
from mlp import checkpoints, images, pictures
from mlp.checkpoints import Normalisation
from mlp.errors import InputError
from mlp.evaluation import probabilities
from mlp.images import LabelledImages, read_idx
from mlp.models import build
from mlp.prediction import predict
from mlp.spec import Architecture
from tools.predict import main

COUNT = 60
Outcome = tuple[str | None, str, str]


@pytest.fixture
def test_images(subset: WorkingCopy) -> LabelledImages:
    return images.load(subset.path / "data/processed/test.safetensors")


@pytest.fixture
def run(
    subset: WorkingCopy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], Outcome]:
    """Returns a function that runs the command in this process and returns its error line, stdout and stderr."""
    monkeypatch.chdir(subset.path)

    def run(arguments: str) -> Outcome:
        monkeypatch.setattr("sys.argv", ["predict", *arguments.split()])
        return refusal(main), *capsys.readouterr()

    return run


def table(text: str) -> tuple[list[str], list[str], np.ndarray]:
    """Returns files, classes and probabilities, float64 [files, 10]."""
    header, *rows = csv.reader(io.StringIO(text))
    assert header == ["file", "class", *"0123456789"]
    return [row[0] for row in rows], [row[1] for row in rows], np.array([row[2:] for row in rows], float)


@pytest.mark.parametrize("dark_on_light", [False, True])
def test_pictures_of_test_images_get_exactly_the_probabilities_of_evaluate(
    dark_on_light: bool, subset: WorkingCopy, test_images: LabelledImages, run: Callable[[str], Outcome]
) -> None:
    (subset.path / "pictures").mkdir()
    for place, image in enumerate(test_images.images[:COUNT]):
        pixels = image.numpy()
        Image.fromarray(255 - pixels if dark_on_light else pixels).save(subset.path / f"pictures/{place:03}.png")
    model = "models/shallow/seed-1.safetensors"
    _, text, _ = run(f"pictures --model {model}")
    files, classes, found = table(text)
    network = checkpoints.load(subset.path / model, "mnist")
    expected = probabilities(predict(network, test_images.examples()))[:COUNT]
    assert files == [f"{place:03}.png" for place in range(COUNT)]
    assert classes == [str(label) for label in expected.argmax(dim=1).tolist()]
    np.testing.assert_array_equal(found, expected.numpy().round(6))


def test_files_that_are_not_pictures_are_skipped_and_listed(subset: WorkingCopy, run: Callable[[str], Outcome]) -> None:
    folder = subset.path / "pictures"
    (folder / "inner").mkdir(parents=True)
    (folder / "notes.txt").write_text("no picture")
    Image.new("L", (30, 20), 255).save(folder / "nothing.png")
    Image.new("L", (28, 28)).save(folder / "one.png")
    (folder / "cut.png").write_bytes((folder / "one.png").read_bytes()[:-20])
    _, text, errors = run("pictures")
    assert table(text)[0] == ["one.png"]
    lines = errors.splitlines()
    skipped = [
        "cut.png: not a picture",
        "inner: not a regular file",
        "notes.txt: not a picture",
        "nothing.png: shows nothing",
    ]
    assert len(lines) == len(skipped)
    for line, file in zip(lines, skipped, strict=True):
        assert line.startswith(f"skipped pictures/{file}")


@pytest.mark.parametrize("name", ["=cmd().png", "+1.png", "-1.png", "@sum.png"])
def test_a_file_name_does_not_become_a_formula(name: str, subset: WorkingCopy, run: Callable[[str], Outcome]) -> None:
    """It becomes a relative path instead, which is valid in the folder of the pictures."""
    (subset.path / "pictures").mkdir()
    Image.new("L", (28, 28)).save(subset.path / "pictures" / name)
    assert table(run("pictures")[1])[0] == [f"./{name}"]


def test_a_class_name_does_not_become_a_formula(subset: WorkingCopy, run: Callable[[str], Outcome]) -> None:
    architecture = Architecture("ShallowNeuralNet", [4, 3, 2])
    content = checkpoints.to_bytes(
        build(architecture),
        architecture,
        "pets",
        seed=0,
        settings={"epochs": 1},
        normalisation=Normalisation(mean=0.5, std=0.5),
        images=checkpoints.Images(classes=["=cmd()", "cat"], height=2, width=2),
    )
    (subset.path / "pictures").mkdir()
    (subset.path / "pictures/pets.safetensors").write_bytes(content)
    Image.new("L", (2, 2)).save(subset.path / "pictures/one.png")
    _, text, _ = run("pictures --model pictures/pets.safetensors")
    assert text.splitlines()[0] == "file,class,'=cmd(),cat"


@pytest.mark.parametrize("size", [(12, 10), (60, 50), (7, 31)])
def test_a_picture_is_scaled_to_the_size_of_a_users_own_images(size: tuple[int, int], tmp_path: Path) -> None:
    """It is neither cropped nor inverted to light on dark."""
    pixels = np.full((size[1], size[0]), 200, np.uint8)
    pixels[:, : size[0] // 2] = 40
    Image.fromarray(pixels).save(tmp_path / "image.png")
    found = pictures.read_scaled(tmp_path / "image.png", 10, 12)
    assert (found.dtype, found.shape) == (torch.uint8, (10, 12))
    assert found[:, 0].tolist() == [40] * 10
    assert found[:, -1].tolist() == [200] * 10
    if size == (12, 10):
        np.testing.assert_array_equal(found.numpy(), pixels)


def test_a_folder_of_networks_predicts_their_mean(subset: WorkingCopy, test_images: LabelledImages) -> None:
    Image.fromarray(test_images.images[0].numpy()).save(subset.path / "some.png")
    lines = subset.run("python -m tools.predict some.png").stdout.splitlines()
    networks = [checkpoints.load(subset.path / f"models/deep/seed-{seed}.safetensors", "mnist") for seed in (0, 1)]
    expected = torch.stack([probabilities(predict(each, test_images.examples()))[0] for each in networks]).mean(dim=0)
    assert lines[0] == str(int(expected.argmax()))
    assert [line.split()[0] for line in lines[1:]] == list("0123456789")
    assert [float(line.split()[1]) for line in lines[1:]] == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_every_test_image_is_left_as_it_is(dataset: str, raw: Callable[[str], Path], tmp_path: Path) -> None:
    """The median of its border is dark in each of them, so none is inverted."""
    images = read_idx(raw(dataset) / "t10k-images-idx3-ubyte")[:1000]
    changed = 0
    for image in images:
        Image.fromarray(image.numpy()).save(tmp_path / "image.png")
        changed += not torch.equal(pictures.read(tmp_path / "image.png", dataset), image)
    assert changed == 0


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
@pytest.mark.parametrize("size", [(200, 150), (60, 400), (31, 31)])
def test_a_large_picture_is_reduced_close_to_the_original_image(
    suffix: str, size: tuple[int, int], mnist_raw: Path, tmp_path: Path
) -> None:
    """Draws an enlarged test image off centre, dark on off-white paper."""
    correlations = []
    for image in read_idx(mnist_raw / "t10k-images-idx3-ubyte")[:20]:
        side = min(size)
        ink = Image.fromarray(image.numpy()).resize((side, side), Image.Resampling.BICUBIC)
        paper = Image.new("RGB", size, (250, 245, 235))
        paper.paste((20, 20, 60), (size[0] - side, 0), ink)
        paper.save(tmp_path / f"drawn.{suffix}")
        found = pictures.read(tmp_path / f"drawn.{suffix}", "mnist").double().flatten()
        correlations.append(float(torch.corrcoef(torch.stack([found, image.double().flatten()]))[0, 1]))
    assert np.mean(correlations) > 0.9
    assert min(correlations) > 0.75


def test_transparency_and_16_bits_are_read_as_displayed(tmp_path: Path, mnist_raw: Path) -> None:
    image = read_idx(mnist_raw / "t10k-images-idx3-ubyte")[0].numpy()
    for ink in (0, 255):  # black or white strokes on a transparent background
        Image.merge("LA", [Image.new("L", (28, 28), ink), Image.fromarray(image)]).save(tmp_path / "clear.png")
        np.testing.assert_array_equal(pictures.read(tmp_path / "clear.png", "mnist").numpy(), image)
    Image.fromarray(image.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(pictures.read(tmp_path / "deep.png", "mnist").numpy(), image)


@pytest.mark.parametrize("colour", [0, 255])
def test_a_blank_picture_is_rejected(colour: int, tmp_path: Path) -> None:
    Image.new("L", (100, 50), colour).save(tmp_path / "nothing.png")
    with pytest.raises(InputError, match=r"nothing.png: shows nothing"):
        pictures.read(tmp_path / "nothing.png", "mnist")


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_specks_far_apart_are_rejected(dataset: str, tmp_path: Path) -> None:
    """They would vanish in a small image."""
    pixels = np.full((1000, 1000), 255, np.uint8)
    pixels[0, 0] = pixels[1, 1] = pixels[-1, -1] = 0
    Image.fromarray(pixels).save(tmp_path / "specks.png")
    with pytest.raises(InputError, match=r"specks.png: shows only specks"):
        pictures.read(tmp_path / "specks.png", dataset)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("params.yaml", "params.yaml: not a picture that can be read; needed: BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"),
        ("none.png", "none.png"),
        ("empty", "empty: no pictures in it; needed: at least one PNG, JPEG or the like"),
        ("docs", "docs: no pictures in it; needed: at least one PNG, JPEG or the like"),
        ("cut.png", "cut.png: not a picture that can be read; needed: BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"),
        (
            "some.png --model empty",
            "empty: no networks in it; needed: a network or a folder of them, such as models/deep",
        ),
        (
            "some.png --model models",
            "models: no networks in it; needed: a network or a folder of them, such as models/deep",
        ),
        (
            "some.png --model none",
            "none: not a network ([Errno 2] No such file or directory: 'none'); "
            "needed: a network or a folder of them, such as models/deep after `dvc repro`",
        ),
        ("some.png --model both", "both: networks trained on different images; needed: all on the same"),
        ("some.png --model pipe", "pipe: not a network (pipe: not a regular file; needed: one"),
        ("some.png --model params.yaml", "params.yaml: not a network (Error while deserializing header"),
        ("models/deep/seed-0.safetensors --model some.png", "some.png: not a network (Error while deserializing"),
        ("some.png --model models/prices/all/deep", "ames/all; needed: one trained on images"),
    ],
)
def test_what_cannot_be_classified_is_reported_in_one_line(
    arguments: str, line: str, subset: WorkingCopy, run: Callable[[str], Outcome]
) -> None:
    (subset.path / "empty").mkdir()
    os.mkfifo(subset.path / "pipe")
    Image.new("L", (28, 28)).save(subset.path / "some.png")
    (subset.path / "cut.png").write_bytes((subset.path / "some.png").read_bytes()[:-20])
    (subset.path / "both").mkdir()
    for dataset in ("mnist", "fashion_mnist"):
        architecture, normalisation = Architecture("DeepNeuralNet", [784, [4], 10]), Normalisation(mean=0.1, std=0.3)
        path = subset.path / f"both/{dataset}.safetensors"
        path.write_bytes(
            checkpoints.to_bytes(build(architecture), architecture, dataset, 0, {"epochs": 1}, normalisation)
        )
    error, *printed = run(arguments)
    assert error is not None
    assert line in error
    assert printed == ["", ""]
