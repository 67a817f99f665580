"""Checks that files and printed output do not depend on the encoding of the system's locale."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT, WorkingCopy
from mlp import checkpoints
from mlp.models import build
from mlp.spec import Architecture
from stages.download import obtain
from tools.verify.circumstances import CIRCUMSTANCES

WITHOUT_UTF_8 = next(each.environment for each in CIRCUMSTANCES if each.name == "a locale without UTF-8")
CLASSES = ["Balken", "Öfen"]
TEXT_MODES = {"r", "w", "a", "x", "r+", "w+", "a+"}


def run(module: str, *arguments: str) -> str:
    """Runs a module in a locale without UTF-8 and returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | WITHOUT_UTF_8,
        capture_output=True,
        encoding="utf-8",
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Creates a data set with umlauts in its names, in a temporary working folder."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        for label, name in enumerate(CLASSES):
            folder = tmp_path / "data/manual/Räume" / split / name
            folder.mkdir(parents=True)
            Image.fromarray(np.full((10, 12), 100 * label, np.uint8)).save(folder / "ä.png")
    (tmp_path / "params.yaml").write_text("dataset: Räume\n", encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_a_locale_without_utf_8_gives_the_same_bytes(own: Path) -> None:
    run("stages.download")
    obtain("Räume", own / "usual")
    usual, found = (
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (own / "usual", own / "data/raw/Räume")
    )
    assert found == usual
    assert b"\\u00d6fen" in found["description.json"]


@pytest.mark.slow
def test_a_locale_without_utf_8_shows_the_same_names(own: Path) -> None:
    architecture = Architecture("DeepNeuralNet", [120, [4], 2])
    images = checkpoints.Images(classes=CLASSES, height=10, width=12)
    normalisation = checkpoints.Normalisation(mean=0.1, std=0.3)
    content = checkpoints.to_bytes(build(architecture), architecture, "Räume", 0, {"epochs": 1}, normalisation, images)
    (own / "Netz für Räume").write_bytes(content)
    printed = run("tools.predict", "data/manual/Räume/train/Öfen/ä.png", "--model", "Netz für Räume")
    assert [line.split()[0] for line in printed.splitlines()[1:]] == CLASSES


def test_dvc_writes_the_same_page_in_a_locale_without_utf_8(subset: WorkingCopy) -> None:
    subset.run("dvc repro -s -f lecture && git diff --exit-code", check=True, **WITHOUT_UTF_8)


def calls(file: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))


def depends_on_locale(call: ast.Call) -> bool:
    """Returns whether a call reads, writes or opens text in the encoding of the locale."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {each.arg for each in call.keywords}
    modes = {each.value for each in call.args if isinstance(each, ast.Constant)} & TEXT_MODES
    opens = name in ("read_text", "write_text") or (name == "open" and (modes or not call.args))
    return "encoding" not in given and bool(opens or given & {"text", "universal_newlines"})


def test_every_text_file_is_opened_with_an_encoding() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for folder in ("mlp", "pipeline", "stages", "tools", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
        for call in calls(file)
        if depends_on_locale(call)
    ]
    assert found == []
