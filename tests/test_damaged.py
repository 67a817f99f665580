"""A damaged output of a stage: each stage that reads it names it in one line, and nothing is lost.

`FAULTS=long pytest tests/test_damaged.py` tries many more random changes.
"""

import json
import random
import re
import resource
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from conftest import ROOT, WorkingCopy, different, refusal, refusal_of_stage, train_here
from faults.record import LONG, record, tries
from mlp import checkpoints
from mlp.checkpoints import Normalisation
from mlp.models import build
from mlp.spec import Architecture
from pipeline.files import write_texts
from tools import predict

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
READERS = [stage for stage in STAGES if stage not in ("check_params", "download", "plots_page")]  # read others' outputs
WRITTEN = ("data/raw", "data/processed", "data/prices", "models", "metrics", "plots", "docs")
UNREAD = {  # regular expressions: files that a stage does not read in folders that it depends on
    "train_prices": r"validation|test",
    "train_binary": r"without_large",
    "report": r"data/raw/.*json",
}
MAX_BYTES = 10**9
Damage = Callable[[Path], object]


def describe(folder: Path) -> None:
    """Writes a user's own data set of three classes, and parameters for small networks."""
    for split, count in (("train", 20), ("test", 8)):
        for label in range(3):
            (folder / "data/manual/shapes" / split / f"class {label}").mkdir(parents=True)
            for number in range(count):
                pixels = np.random.default_rng([label, number, count]).integers(0, 120, (10, 12), dtype=np.uint8)
                pixels[3 * label : 3 * label + 3] += 130
                Image.fromarray(pixels).save(folder / f"data/manual/shapes/{split}/class {label}/{number}.png")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    groups: dict[str, dict[str, object]] = {
        "preprocess": {"validation_size": 10},
        "compare_sizes": {"architectures": [[5], [4, 4]]},
        "compare_learning_rates": {"seeds": [0, 1], "batch_size": 2, "hidden": [5]},
        "train_prices": {"deep_hidden": [5]},
        "train_binary": {"l1_penalties": [0, 0.01]},
    }
    for name, group in params.items():
        if isinstance(group, dict):
            group.update(groups.get(name, {}))
            if "epochs" in group:
                group["epochs"] = 1
    params |= {"dataset": "shapes", "seeds": [0, 1], "hidden": [6, 5]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


class World:
    """A folder in which `download` and all READERS but the report have run, with their jobs, in this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = self.content()

    def content(self) -> dict[Path, bytes]:
        return {file: file.read_bytes() for name in WRITTEN for file in Path(name).rglob("*") if file.is_file()}

    def restore(self) -> None:
        for file, content in self.files.items():
            if file.is_dir():
                shutil.rmtree(file)
            if not file.exists() or file.read_bytes() != content:
                replace(file, content)
        for file in self.content().keys() - self.files.keys():
            file.unlink()

    def inputs(self, stage: str) -> list[Path]:
        """Returns the files that a stage reads and another stage wrote."""
        found = []
        for name in STAGES[stage]["deps"]:
            path = Path(name.replace("${dataset}", "shapes"))
            if name.startswith(WRITTEN[:-1]):
                found += sorted(path.rglob("*")) if path.is_dir() else [path]
        return [file for file in found if file.is_file() and not re.search(UNREAD.get(stage, "$^"), str(file))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(ROOT / ".dvc/plots", folder / ".dvc/plots")
    shutil.copytree(ROOT / "data/ames", folder / "data/ames")
    describe(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train_here(patch)
        for stage in STAGES:
            if stage in {"download", *READERS} - {"report"}:
                assert refusal_of_stage(stage) is None
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        yield World(folder)
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024 < MAX_BYTES


@pytest.fixture
def world(made: World) -> Iterator[World]:
    yield made
    made.restore()


def replace(path: Path, content: bytes) -> None:
    """Creates a new file, as objects left from a stage may still have the old one mapped into memory."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def missing(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def empty(path: Path) -> None:
    replace(path, b"")


def half(path: Path) -> None:
    replace(path, path.read_bytes()[: path.stat().st_size // 2])


def noise(path: Path) -> None:
    replace(path, random.Random(0).randbytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [missing, folder, empty, half, noise])
@pytest.mark.parametrize("stage", READERS)
def test_a_damaged_file_is_named_in_one_line_and_outputs_stay(stage: str, damage: Damage, world: World) -> None:
    for file in world.inputs(stage):
        if damage in (empty, half, noise) and stage == "report" and file.parts[1] == "raw":
            continue  # the report only hashes it
        if damage is half and file.suffix == ".csv" and cut_between_rows(file):
            continue
        damage(file)
        before = world.content()
        line = refusal_of_stage(stage)
        assert line is not None, file
        assert file.name in line or str(file.parent) in line
        assert line.endswith("run `dvc repro`"), line
        assert not different(world.content(), before)
        world.restore()


def cut_between_rows(file: Path) -> bool:
    """Returns whether the first half of a table ends with a whole row, and so is a valid table."""
    content = file.read_bytes()
    return content[: len(content) // 2].endswith(b"\n")


@pytest.mark.parametrize("stage", ["train_deep", "train_binary", "compare_sizes"])
@pytest.mark.slow
def test_a_process_that_trains_names_a_damaged_file_too(stage: str, subset: WorkingCopy) -> None:
    half(subset.path / "data/processed/train.safetensors")
    half(subset.path / "data/prices/all/train.safetensors")
    done = subset.run(f"python -m stages.{stage}", check=False)
    assert done.returncode == 1
    (message,) = [line for line in done.stderr.splitlines() if line and "%" not in line]
    assert "train.safetensors: not as a stage wrote it (" in message
    assert message.endswith("; delete it and run `dvc repro`")


# networks


NETWORK = Path("models/deep/seed-0.safetensors")


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor]], object], **origin: object) -> None:
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["network"]) | origin
    weights = load_file(path)
    change(weights)
    save_file(weights, path, {"network": json.dumps(metadata)})


def overwrite(value: float) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda weights: weights["layer1.fc.weight"][0].fill_(value)


def same(weights: dict[str, torch.Tensor]) -> None:
    pass


def other_type(weights: dict[str, torch.Tensor]) -> None:
    weights |= {name: weight.double() for name, weight in weights.items()}


@pytest.mark.parametrize(
    ("change", "origin", "reason"),
    [
        (overwrite(float("nan")), {}, "not all finite"),
        (overwrite(float("inf")), {}, "not all finite"),
        (overwrite(3e38), {"normalisation": {"mean": 0.1, "std": 1e-300}}, "outputs are not finite"),
        (other_type, {}, "float32"),
        (same, {"normalisation": {"mean": float("nan"), "std": 0.3}}, "normalisation.mean"),
        (same, {"normalisation": {"mean": 0.1, "std": float("inf")}}, "normalisation.std"),
        (same, {"normalisation": {"mean": 0.1, "std": 0}}, "normalisation.std"),
        (same, {"settings": {}}, "settings.epochs"),
        (same, {"settings": {"epochs": 0}}, "settings.epochs"),
        (same, {"dataset": "letters"}, "letters"),
        (same, {"dataset": "a\0b"}, "a b"),
        (same, {"architecture": "Transformer"}, "class Transformer"),
        (same, {"architecture": "os.system"}, "class os.system"),
        (same, {"arguments": [120, [1] * 1_000_000, 3]}, "larger network"),
        (same, {"arguments": [120, 1_000_000_000, 3], "architecture": "ShallowNeuralNet"}, "larger network"),
        (same, {"arguments": [120, [10**30], 3]}, ""),
        (same, {"arguments": [120, [-1, 5], 3]}, "arguments"),
        (same, {"arguments": [], "images": None}, "arguments"),
        (same, {"images": {"classes": ["a"] * 3, "height": 10**9, "width": 10**9}}, "do not fit"),
        (
            same,
            {"images": {"classes": ["a"] * 3, "height": 10**5, "width": 10**5}, "arguments": [10**10, [6, 5], 3]},
            "larger network",
        ),
        (same, {"images": {"classes": ["a"], "height": 10, "width": 12}}, "do not fit"),
    ],
)
def test_a_file_that_is_not_a_network_is_rejected_by_every_reader(
    change: Callable[[dict[str, torch.Tensor]], object], origin: dict[str, Any], reason: str, world: World
) -> None:
    before = world.content()
    rewrite(NETWORK, change, **origin)
    for line in (refusal_of_stage("evaluate"), asked("shapes.png", NETWORK)):
        if not ("dataset" in origin and line is None):  # the file itself describes its images
            assert line is not None
            assert line.startswith(f"{NETWORK}: ")
            assert reason in line
    assert different(world.content(), before) == [str(NETWORK)]


def asked(picture: str, model: Path) -> str | None:
    """Returns the one-line error of `predict`, or None if it succeeds."""
    Image.new("L", (12, 10), 99).save(picture)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["predict", picture, "--model", str(model)])
        return refusal(predict.main)


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("arguments", [[100, [6, 5], 3], [120, [6, 5], 4]])
def test_a_network_of_other_images_is_rejected_in_one_line(arguments: list[Any]) -> None:
    architecture = Architecture("DeepNeuralNet", arguments)
    normalisation = Normalisation(mean=0.1, std=0.3)
    content = checkpoints.to_bytes(build(architecture), architecture, "shapes", 0, {"epochs": 1}, normalisation)
    NETWORK.write_bytes(content)
    line = refusal_of_stage("evaluate")
    assert line is not None
    assert line.startswith(f"{NETWORK}: a network of ")


def test_an_unknown_data_set_in_a_file_is_not_blamed_on_params(world: World) -> None:
    architecture = Architecture("DeepNeuralNet", [784, [4], 10])
    normalisation = Normalisation(mean=0.1, std=0.3)
    content = checkpoints.to_bytes(build(architecture), architecture, "letters", 0, {"epochs": 1}, normalisation)
    (world.path / "letters").write_bytes(content)
    line = asked("some.png", Path("letters"))
    assert line is not None
    assert line.startswith("letters: a network trained on letters; needed: one trained on images of mnist or fashion")


@pytest.mark.parametrize("change", ["missing", "another"])
@pytest.mark.parametrize(
    ("stage", "folder"),
    [("evaluate", "models/shallow"), ("evaluate", "models/deep"), ("evaluate_prices", "models/prices/all/deep")],
)
def test_there_is_one_network_for_each_seed_and_no_other(stage: str, folder: str, change: str, world: World) -> None:
    one, other = Path(folder, "seed-1.safetensors"), Path(folder, "seed-7.safetensors")
    if change == "missing":
        one.unlink()
        reason = "seed-1.safetensors is missing"
    else:
        shutil.copy(one, other)
        reason = "seed-7.safetensors is none of params.yaml's seeds"
    before = world.content()
    assert refusal_of_stage(stage) == f"{folder}: not as a stage wrote it ({reason}); delete it and run `dvc repro`"
    assert not different(world.content(), before)


def test_either_all_texts_are_replaced_or_none(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_texts({f"{tmp_path}/one": "new", f"{tmp_path}/two": "\ud800"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"one": "old"}
    write_texts({f"{tmp_path}/one": "new", f"{tmp_path}/two": "ö"})
    assert (tmp_path / "one").read_text() == "new"
    assert (tmp_path / "two").read_bytes() == "ö".encode()


def test_networks_and_tables_of_a_training_are_replaced_together(world: World) -> None:
    """The last output cannot be written: a file is in place of the table's folder."""
    before = world.content()
    shutil.move("plots/curves", "plots/elsewhere")
    Path("plots/curves").write_text("in the way", encoding="utf-8")
    line = refusal_of_stage("train_deep")
    Path("plots/curves").unlink()
    shutil.move("plots/elsewhere", "plots/curves")
    assert line is not None
    assert not different(world.content(), before)


# at random

TOKENS = [
    "",
    "nan",
    "inf",
    "-1",
    "0",
    "1e999",
    "1e99",
    "9" * 400,
    "x",
    "null",
    "[]",
    "{}",
    "true",
    '"',
    "\0",
    ",",
    "\n",
]
PLACES = st.floats(0, 1, exclude_max=True)


Change = Callable[[bytes], bytes]


def put(place: float, value: bytes) -> Change:
    def change(content: bytes) -> bytes:
        at = int(place * len(content))
        return content[:at] + value + content[at + len(value) :]

    return change


def repeat(place: float, length: int, times: int) -> Change:
    """Repeats a piece, or removes it if `times` is 0."""

    def change(content: bytes) -> bytes:
        at = int(place * len(content))
        return content[:at] + content[at : at + length] * times + content[at + length :]

    return change


def shorten(place: float) -> Change:
    return lambda content: content[: int(place * len(content))]


def word(place: float, value: str) -> Change:
    """Replaces a number or word in the first 4,000 bytes, where a binary file has its header."""

    def change(content: bytes) -> bytes:
        words = list(re.finditer(rb"[\w.+-]+", content[:4000]))
        if not words:
            return value.encode()
        start, end = words[int(place * len(words))].span()
        return content[:start] + value.encode() + content[end:]

    return change


MUTATIONS = st.lists(
    st.one_of(
        st.builds(put, PLACES, st.binary(min_size=1, max_size=8)),
        st.builds(repeat, PLACES, st.integers(1, 100), st.sampled_from([0, 2])),
        st.builds(shorten, PLACES),
        st.builds(word, PLACES, st.sampled_from(TOKENS)),
    ),
    min_size=1,
    max_size=3,
)


def mutated(content: bytes, mutations: list[Change]) -> bytes:
    for change in mutations:
        content = change(content)
    return content


def test_any_change_to_a_network_is_harmless_or_reported(made: World) -> None:
    content, found = made.files[NETWORK], Counter[str]()
    length = int.from_bytes(content[:8], "little")

    @tries(100, 1500)
    @given(mutations=MUTATIONS, header_fixed=st.booleans())
    def once(mutations: list[Change], header_fixed: bool) -> None:
        if header_fixed:  # else the header's length would reveal most changes
            header = mutated(content[8 : 8 + length], mutations)
            changed = len(header).to_bytes(8, "little") + header + content[8 + length :]
        else:
            changed = mutated(content, mutations)
        replace(NETWORK, changed)
        try:
            for line in (asked("shapes.png", NETWORK), refusal_of_stage("evaluate")):
                assert line is None or line.startswith(f"{NETWORK}: "), line
            found["as_asked" if line is None else "refused"] += 1
        finally:
            made.restore()

    once()
    record("networks with bytes or words of the header changed, or cut off", found.total(), **found)


def test_any_change_to_an_input_of_a_stage_is_harmless_or_reported(made: World) -> None:
    """The short form leaves out the report, which takes seconds unless it fails."""
    stages = [stage for stage in READERS if LONG or stage != "report"]
    inputs = [(stage, file) for stage in stages for file in made.inputs(stage) if "models" not in file.parts]
    found = Counter[str]()

    @tries(100, 800)
    @given(mutations=MUTATIONS, place=PLACES)
    def once(mutations: list[Change], place: float) -> None:
        stage, file = inputs[int(place * len(inputs))]
        replace(file, mutated(made.files[file], mutations))
        try:
            line = refusal_of_stage(stage)
            if line is not None:
                named = (file.name.split("-")[0], file.parent.name, "learning rate")
                assert any(each in line for each in named), (file, line)
            found["as_asked" if line is None else "refused"] += 1
        finally:
            made.restore()

    once()
    record("files between stages with bytes or words changed, or cut off", found.total(), **found)
