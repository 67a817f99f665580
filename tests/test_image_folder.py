"""The user's own data set, as folders of images or IDX files, from the stages that read it to the pages."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from conftest import IMAGES, PAGES, ROOT, WorkingCopy, different, outputs
from mlp import checkpoints, images
from mlp.errors import InputError
from mlp.images import read_idx, write_idx
from pipeline.datasets import source
from pipeline.params.preprocess import Preprocess
from stages import preprocess
from stages.download import FILES, obtain

MANUAL, RAW = Path("data/manual/shapes"), Path("data/raw/shapes")
CLASSES = ["Balken, quer", "Balken, steil", "Öfen"]  # sorted by code point: Ö comes after all of ASCII
TRAIN, TEST = 20, 6  # images of each class


def draw(label: int, seed: int) -> NDArray[np.uint8]:
    """Returns a horizontal bar, a vertical bar or a block, with noise: uint8 [10, 12]."""
    rng = np.random.default_rng([label, seed])
    pixels = rng.integers(0, 60, (10, 12), dtype=np.uint8)
    height, width = [(2, 9), (8, 2), (5, 5)][label]
    top, left = rng.integers(0, 11 - height), rng.integers(0, 13 - width)
    pixels[top : top + height, left : left + width] += 180
    return pixels


def draw_all(folder: Path) -> None:
    for split, count, first in (("train", TRAIN, 0), ("test", TEST, 1000)):
        for label, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(draw(label, first + number)).save(folder / split / name / f"{number:03}.png")


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of images, in an otherwise empty working folder."""
    monkeypatch.chdir(tmp_path)
    draw_all(MANUAL)
    return MANUAL


def download() -> None:
    obtain("shapes", RAW)


def prepare(validation_size: int = 10) -> None:
    group = Preprocess(validation_size=validation_size, seed=0)
    preprocess.main(preprocess.Params(dataset="shapes", preprocess=group))


@pytest.mark.usefixtures("shapes")
def test_images_come_in_the_order_of_classes_and_names() -> None:
    download()
    assert json.loads((RAW / "description.json").read_text()) == {"title": "shapes", "classes": CLASSES}
    for name, count, first in (("train", TRAIN, 0), ("t10k", TEST, 1000)):
        expected = [draw(label, first + number) for label in range(3) for number in range(count)]
        np.testing.assert_array_equal(read_idx(RAW / f"{name}-images-idx3-ubyte").numpy(), np.stack(expected))
        labels = read_idx(RAW / f"{name}-labels-idx1-ubyte")
        assert labels.tolist() == [label for label in range(3) for _ in range(count)]


def test_files_are_sorted_by_code_point_on_every_system(shapes: Path) -> None:
    """Capitals come first, regardless of the system's language and file system."""
    for split in ("train", "test"):
        for old, new in zip(CLASSES, ("b", "B", "a"), strict=True):
            (shapes / split / old).rename(shapes / split / new)
    assert source("shapes").classes == ["B", "a", "b"]


@pytest.mark.usefixtures("shapes")
def test_training_and_validation_images_together_are_all_images() -> None:
    download()
    prepare(validation_size=10)
    described = json.loads(Path("data/processed/description.json").read_text(encoding="utf-8"))
    of_all = read_idx(RAW / "train-images-idx3-ubyte").double() / 255
    assert (described["height"], described["width"], described["images"]) == (10, 12, 60)
    assert described["mean"] == pytest.approx(of_all.mean().item(), abs=1e-6)
    splits = {name: images.load(Path(f"data/processed/{name}.safetensors")) for name in ("train", "validation", "test")}
    assert {name: len(split.labels) for name, split in splits.items()} == {"train": 50, "validation": 10, "test": 18}


@pytest.mark.parametrize("name", [".DS_Store", "train/.DS_Store", "train/Öfen/.hidden.png", "test/.cache/a"])
def test_hidden_files_are_ignored(name: str, shapes: Path) -> None:
    (shapes / name).parent.mkdir(exist_ok=True)
    (shapes / name).write_text("no image")
    (shapes / "train/.folder").mkdir()
    download()
    assert len(read_idx(RAW / "train-labels-idx1-ubyte")) == 60


def as_mode(mode: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with Image.open(path) as picture:
            picture.convert(mode).save(path)

    return change


def as_16_bits(path: Path) -> None:
    with Image.open(path) as picture:
        Image.fromarray(np.asarray(picture).astype(np.uint16) * 257).save(path)


def as_transparency(path: Path) -> None:
    with Image.open(path) as picture:
        Image.merge("LA", [Image.new("L", picture.size, 255), picture]).save(path)


@pytest.mark.parametrize("change", [*map(as_mode, ["RGB", "RGBA", "P", "LA"]), as_16_bits, as_transparency])
def test_a_png_of_any_kind_is_read_as_displayed(change: Callable[[Path], None], shapes: Path) -> None:
    change(shapes / "train/Öfen/000.png")
    download()
    np.testing.assert_array_equal(read_idx(RAW / "train-images-idx3-ubyte")[2 * TRAIN].numpy(), draw(2, 0))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def enlarge(path: Path) -> None:
    Image.new("L", (13, 10)).save(path)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def into_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def one_class(folder: Path) -> None:
    for name in CLASSES[1:]:
        shutil.rmtree(folder / name)


def many_classes(folder: Path) -> None:
    for number in range(254):
        (folder / str(number)).mkdir()


def write_text(path: Path) -> None:
    path.write_text("no image", encoding="utf-8")


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


UNREADABLE = "not a picture that can be read; needed: BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"
NO_FILE = "not a regular file; needed: one, and no folder, pipe or device"
NO_IMAGES = "no images; needed: at least one of each class"


@pytest.mark.parametrize(
    ("damage", "path", "line"),
    [
        (write_text, "train/Öfen/note.txt", UNREADABLE),
        (write_text, "test/Öfen/003.png", UNREADABLE),
        (truncate, "train/Öfen/007.png", UNREADABLE),
        (into_folder, "train/Öfen/007.png", NO_FILE),
        (into_pipe, "train/Öfen/007.png", NO_FILE),
        (enlarge, "train/Öfen/007.png", "13 by 10 pixels; needed: 12 by 10, like the images before it"),
        (empty, "train/Öfen", NO_IMAGES),
        (empty, "test/Öfen", NO_IMAGES),
        (remove, "test/Öfen", NO_IMAGES),
        (Path.mkdir, "test/Kreuz", f"not a class of the training images; allowed: {', '.join(CLASSES)}"),
        (write_text, "train/000.png", f"not a class of the training images; allowed: {', '.join(CLASSES)}"),
    ],
)
def test_a_faulty_file_in_a_folder_is_named_in_one_line_and_the_old_images_stay(
    damage: Callable[[Path], None], path: str, line: str, shapes: Path
) -> None:
    download()
    before = sorted(RAW.iterdir())
    damage(shapes / path)
    with pytest.raises(InputError) as error:
        download()
    assert str(error.value) == f"{shapes / path}: {line}"
    assert sorted(RAW.iterdir()) == before
    assert [*RAW.parent.iterdir()] == [RAW]


@pytest.mark.parametrize(("damage", "count"), [(one_class, 1), (many_classes, 257)])
def test_too_few_or_too_many_classes_are_rejected(damage: Callable[[Path], None], count: int, shapes: Path) -> None:
    damage(shapes / "train")
    with pytest.raises(
        InputError, match=f"^{shapes}: {count} classes; allowed: 2 to 256, each with a name of its own$"
    ):
        source("shapes")


@pytest.mark.parametrize("place", ["train", "test", "train/Kreis", "test/Kreis"])
def test_a_symbolic_link_in_place_of_a_folder_is_rejected(place: str, shapes: Path, tmp_path: Path) -> None:
    place = place.replace("Kreis", CLASSES[0])
    shutil.move(shapes / place, tmp_path / "elsewhere")
    (shapes / place).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"^{shapes / place}: a symbolic link; needed: a folder, "):
        download()


@pytest.mark.parametrize("name", ["ca\tt", "ca\nt", "ca\udcff"])
def test_a_class_name_that_is_not_one_line_of_utf_8_is_rejected(name: str, shapes: Path) -> None:
    (shapes / "train" / name).mkdir()
    with pytest.raises(InputError) as error:
        source("shapes")
    assert str(error.value) == f"{shapes}/train: a class named {name!r}; allowed: names of one line in UTF-8"


@pytest.mark.usefixtures("shapes")
def test_an_unknown_data_set_is_rejected_with_a_list_of_those_available() -> None:
    with pytest.raises(
        InputError, match=r"^params.yaml: dataset is 'forms'; allowed: .*data/manual/forms with a dataset.json, or"
    ):
        source("forms")


@pytest.mark.usefixtures("shapes")
def test_a_validation_split_of_more_than_half_is_rejected_with_the_maximum() -> None:
    download()
    with pytest.raises(InputError, match=r"^params.yaml: preprocess.validation_size is 31; allowed: 0 to 30, half of"):
        prepare(validation_size=31)
    prepare(validation_size=30)


def test_test_images_of_another_size_than_the_training_images_are_rejected(shapes: Path) -> None:
    for path in (shapes / "test").glob("*/*"):
        enlarge(path)
    download()
    with pytest.raises(InputError, match=f"^{RAW}: test images of 13 by 10 pixels; needed: 12 by 10, as for training$"):
        prepare()


def test_blank_images_are_rejected(shapes: Path) -> None:
    """Their standard deviation is zero, so that they cannot be standardised."""
    for path in shapes.glob("*/*/*"):
        Image.new("L", (12, 10), 7).save(path)
    download()
    with pytest.raises(InputError, match=f"^{RAW}: all training images are one and the same grey; needed"):
        prepare()


# the user's own IDX files


def declare(**values: object) -> None:
    """Writes data/manual/shapes/dataset.json with the hashes of the files next to it, overridden by `values`."""
    hashes = {name: hashlib.sha256((MANUAL / name).read_bytes()).hexdigest().upper() for name in FILES}
    declared = {"title": "Shapes", "classes": CLASSES, "sha256": hashes} | values
    (MANUAL / "dataset.json").write_text(json.dumps(declared))


@pytest.fixture
def idx(shapes: Path) -> Path:
    """The four IDX files placed by hand, and their declaration."""
    download()
    shutil.rmtree(shapes)
    shutil.move(RAW, shapes)
    declare()
    return shapes


def test_a_users_own_idx_files_are_used_as_declared(idx: Path) -> None:
    download()
    assert json.loads((RAW / "description.json").read_text()) == {"title": "Shapes", "classes": CLASSES}
    assert all((RAW / name).read_bytes() == (idx / name).read_bytes() for name in FILES)


def test_a_changed_idx_file_is_rejected_by_its_hash(idx: Path) -> None:
    truncate(idx / FILES[1])
    with pytest.raises(InputError, match=rf"\n  {idx}: {FILES[1]} has SHA-256 .*, not "):
        download()


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"title": ""}, "dataset.json: title is ''; allowed: a string of one line that is not empty"),
        ({"classes": "abc"}, "dataset.json: classes is 'abc'; allowed: a list of names, one for each class"),
        ({"classes": ["a", "a", "b"]}, "3 classes; allowed: 2 to 256, each with a name of its own"),
        ({"sha256": "0"}, "dataset.json: sha256 is '0'; allowed: the SHA-256 of each of the four IDX files, by name"),
        ({"sha256": {"a": "0"}}, f"dataset.json: sha256 is of a; needed: {', '.join(FILES)}"),
        ({"other": 1}, "dataset.json: other is 1; allowed: the keys title, classes, sha256"),
    ],
)
def test_an_invalid_declaration_is_reported_in_one_line(values: dict[str, object], line: str, idx: Path) -> None:
    declare(**values)
    with pytest.raises(InputError, match=f"^{idx}.*{re.escape(line)}") as error:
        download()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_declaration_that_is_not_a_json_object_is_reported_in_one_line(text: str, idx: Path) -> None:
    (idx / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=f"^{idx}/dataset.json(, line [0-9]+)?: ") as error:
        download()
    assert "\n" not in str(error.value)


def test_a_declaration_without_hashes_is_reported_with_what_is_missing(idx: Path) -> None:
    (idx / "dataset.json").write_text(json.dumps({"title": "Shapes", "classes": CLASSES}))
    with pytest.raises(InputError, match=r"dataset.json: sha256 is missing; allowed: the SHA-256 of each of the four"):
        download()


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        (
            "train-images-idx3-ubyte",
            b"\0\0\x08\3" + b"\0\0\0\x3c" + b"\0\0\0\0" + b"\0\0\0\x0a",
            "train: images [60, 0, 10], labels [60]; needed: [n, height, width] and [n]",
        ),
        ("t10k-images-idx3-ubyte", [17, 10, 12], "t10k: images [17, 10, 12], labels [18]; needed: [n, height, width]"),
        (
            "train-labels-idx1-ubyte",
            [60],
            "train-labels-idx1-ubyte: 1 different labels, up to 0; needed: all from 0 to 2",
        ),
    ],
)
def test_inconsistent_idx_files_are_reported_in_one_line(
    name: str, content: bytes | list[int], line: str, idx: Path
) -> None:
    if isinstance(content, bytes):
        (idx / name).write_bytes(content)
    else:
        write_idx(torch.zeros(content, dtype=torch.uint8), idx / name)
    declare()
    download()
    with pytest.raises(InputError, match=f"^{re.escape(f'{RAW}/{line}')}") as error:
        prepare()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x0b\3" + b"\0\0\0\1" * 3 + b"a",
        b"\0\0\x08\3" + b"\0\0\0\1" * 2 + b"\0\0\0\3ab",
        b"\0\0\x08\1\0\0\0\2ab",
    ],
    ids=["empty", "of other numbers", "cut off", "of labels"],
)
def test_a_file_that_is_not_idx_is_rejected_where_the_user_put_it(content: bytes, idx: Path) -> None:
    (idx / "t10k-images-idx3-ubyte").write_bytes(content)
    declare()
    line = f"{idx}: t10k-images-idx3-ubyte is not an IDX file of bytes in 3 dimensions, or not all of one"
    with pytest.raises(InputError, match=re.escape(line)):
        download()


# the whole pipeline


@pytest.fixture(scope="module")
def trained(subset_template: WorkingCopy, tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """The pipeline on the folder of images, run once."""
    copy = subset_template.copied(tmp_path_factory.mktemp("own") / "copy")
    draw_all(copy.path / MANUAL)
    small = "-S preprocess.validation_size=12 -S train_shallow.batch_size=5 -S train_deep.batch_size=5"
    stages = copy.stages_run_by(f"dvc exp run -S dataset=shapes {small} -S train_shallow.epochs=4")
    assert stages == IMAGES + PAGES
    return copy


@pytest.fixture
def own(trained: WorkingCopy, tmp_path: Path) -> WorkingCopy:
    """A copy of `trained` that the test may change."""
    return trained.copied(tmp_path / "copy")


def test_the_networks_have_the_inputs_and_outputs_of_the_images(trained: WorkingCopy) -> None:
    for name, hidden in (("shallow", 64), ("deep", [80, 40, 20])):
        origin = checkpoints.read_metadata(trained.path / f"models/{name}/seed-0.safetensors")
        assert origin.arguments == [120, hidden, 3]
        assert origin.images == checkpoints.Images(classes=CLASSES, height=10, width=12)


def test_the_tables_have_the_classes_and_numbers_of_the_images(trained: WorkingCopy) -> None:
    networks = pd.read_csv(trained.path / "metrics/networks.csv")
    assert networks.parameters[0] == 120 * 64 + 64 + 64 * 3 + 3
    # 48 images for 4 epochs; three products per layer, two for the first
    assert networks.multiply_adds[0] == (2 * 120 * 64 + 3 * 64 * 3) * 48 * 4
    hits = 18 * networks.accuracy  # of 18 test images
    np.testing.assert_allclose(hits, np.rint(hits), atol=1e-4)
    confusion = pd.read_csv(trained.path / "metrics/confusion.csv")
    assert confusion[confusion.network == "deep"].actual.unique().tolist() == CLASSES


def test_the_pages_name_the_data_set_and_not_mnist(trained: WorkingCopy) -> None:
    report = (trained.path / "report.html").read_text()
    assert "On the 18 test images of shapes, " in report
    assert "MNIST" not in report
    lecture = (trained.path / "docs/lecture.md").read_text()
    assert "measurements on shapes" in lecture
    assert "other images" in lecture
    assert "| held |" not in lecture


def test_a_changed_picture_reruns_what_it_affects_and_nothing_else_does(own: WorkingCopy) -> None:
    assert own.stages_run_by("dvc repro") == []
    Image.fromarray(draw(1, 5000)).save(own.path / MANUAL / "test/Öfen/000.png")
    stages = own.stages_run_by("dvc repro evaluate")
    assert stages == ["download", "preprocess", "evaluate"]


def test_back_to_mnist_only_the_pages_are_written_again(own: WorkingCopy, subset_template: WorkingCopy) -> None:
    own.run("git checkout -q params.yaml")
    assert own.stages_run_by("dvc repro") == PAGES
    assert not different(outputs(own), outputs(subset_template))
    shutil.rmtree(own.path / MANUAL)
    assert own.status() == ""


def test_images_added_as_in_contributing_reach_other_copies(own: WorkingCopy) -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    command = re.search(r"`(dvc add [^`]+)`, and commit `([^`]+)` and `([^`]+)`", page)
    assert command
    add, *files = (text.replace("<name>", "shapes") for text in command.groups())
    own.run(f"{add} && git add {' '.join(files)} && git commit --quiet --message images")
    shutil.rmtree(own.path / MANUAL)
    own.run("dvc checkout")
    assert len(list((own.path / MANUAL).rglob("*.png"))) == 78
    assert own.stages_run_by("dvc repro") == []


def test_mnist_files_placed_by_hand_are_not_in_dvc_lock(subset: WorkingCopy) -> None:
    """The lock is the same with and without them; a changed declaration is detected."""
    by_hand = [*(subset.path / "data/manual/mnist").glob("*-ubyte")]
    assert len(by_hand) == 4
    for path in by_hand:
        path.unlink()
    assert "up to date" in subset.run("dvc status download").stdout
    declared = subset.path / "data/manual/mnist/dataset.json"
    declared.write_text(declared.read_text().replace("MNIST", "Digits"))
    assert "data/manual/mnist" in subset.run("dvc status download").stdout


def test_pictures_of_any_size_are_classified_without_the_data_set(own: WorkingCopy) -> None:
    asked = own.path / "asked"
    asked.mkdir()
    for label in range(3):
        picture = Image.fromarray(draw(label, 1000))
        picture.save(asked / f"{label}.png")
        picture.resize((120, 100), Image.Resampling.NEAREST).save(asked / f"{label}-large.png")
    shutil.rmtree(own.path / MANUAL)
    own.run("python -m tools.predict asked --model models/shallow/seed-0.safetensors > predicted.csv")
    predicted = pd.read_csv(own.path / "predicted.csv")
    assert [*predicted.columns] == ["file", "class", *CLASSES]
    assert predicted.file.tolist() == [f"{label}{size}.png" for label in range(3) for size in ("-large", "")]
    large, exact = predicted[::2], predicted[1::2]
    assert large["class"].tolist() == exact["class"].tolist()
    np.testing.assert_allclose(large[CLASSES], exact[CLASSES], atol=0.1)
