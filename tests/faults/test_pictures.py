"""Whatever a picture file contains, it is read or soon rejected in one line; no other program is started."""

import csv
import io
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conftest import ROOT
from faults.bounds import bounded
from faults.record import LONG, record, tries
from mlp import checkpoints, pictures
from mlp.checkpoints import Normalisation
from mlp.errors import InputError
from mlp.models import build
from mlp.spec import Architecture

UNREADABLE = "not a picture that can be read; needed: BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"
NO_FILE = "not a regular file; needed: one, and no folder, pipe or device"
PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
MODES = {"BMP": "RGB", "GIF": "P", "JPEG": "RGB", "PNG": "RGBA", "PPM": "L", "TIFF": "CMYK", "WEBP": "RGBA"}


def written(form: str) -> bytes:
    """Returns the bytes of a small noise picture in a format."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(MODES.get(form, "RGB")).save(file, form)
    return file.getvalue()


def outcome(path: Path, content: bytes | None = None) -> tuple[str, str]:
    """Returns `as_asked` if the picture was read, or `refused` and the message."""
    if content is not None:
        path.write_bytes(content)
    try:
        with bounded():
            image = pictures.read(path, "mnist")
    except InputError as error:
        message = str(error)
    else:
        assert image.shape == (28, 28)
        return "as_asked", ""
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert len(message) - len(str(path)) < 400
    return "refused", message.removeprefix(f"{path}: ")


def test_the_supported_formats_are_read() -> None:
    assert sorted(MODES) == pictures.FORMATS


@pytest.mark.parametrize("numbers", [np.int32, np.float32])
def test_pictures_of_32_bits_are_rejected(numbers: type, tmp_path: Path) -> None:
    Image.fromarray(PIXELS[:, :, 0].astype(numbers)).save(tmp_path / "wide.tiff")
    message = "a picture of 32-bit numbers; needed: 8 or 16 bits for each colour"
    assert outcome(tmp_path / "wide.tiff") == ("refused", message)


@pytest.mark.parametrize("most", [1023, 65535])
def test_grey_of_16_bits_is_read_as_displayed(most: int, tmp_path: Path) -> None:
    """Netpbm's format defines the value of white."""
    levels = (PIXELS[:, :, 0] * (most / 255)).round().astype(">u2")
    (tmp_path / "grey.pgm").write_bytes(b"P5 40 30 %d\n" % most + levels.tobytes())
    found = pictures.read_grey(tmp_path / "grey.pgm")
    assert np.abs(found.astype(int) - PIXELS[:, :, 0]).max() <= 1


@pytest.mark.parametrize("form", MODES)
def test_a_truncated_picture_is_named(form: str, tmp_path: Path) -> None:
    """Truncates it at many lengths; the picture may be read if no pixel is missing."""
    content, path = written(form), tmp_path / "cut"
    path.write_bytes(content)
    whole = pictures.read_grey(path)
    for end in range(0, len(content), 1 if LONG else 97):
        path.write_bytes(content[:end])
        try:
            assert np.array_equal(pictures.read_grey(path), whole), end
        except InputError as error:
            assert str(error) == f"{path}: {UNREADABLE}"  # noqa: PT017 # either outcome is right


@pytest.mark.parametrize("form", ["EPS", "TGA", "ICO", "PCX", "SGI", "IM", "JPEG2000"])
def test_an_unsupported_format_is_named_and_starts_no_program(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow would start Ghostscript for EPS."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert outcome(tmp_path / "some.png", written(form))[1] == UNREADABLE
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_only_regular_files_are_opened(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "some.png")
    assert outcome(tmp_path / "some.png")[1] == NO_FILE


@pytest.mark.parametrize("side", [8001, 10_000, 15_000, 60_000])
def test_a_picture_with_too_many_pixels_is_rejected(side: int, tmp_path: Path) -> None:
    """Slightly more pixels than allowed, enough for a warning from Pillow, and more than Pillow unpacks."""
    header = f"P4\n{side} {side}\n".encode()  # the pixels need not be there
    assert outcome(tmp_path / "bomb.ppm", header)[1] == "too large a picture; allowed: at most 64,000,000 pixels"


@pytest.mark.parametrize("mode", ["RGB", "LA"])
def test_a_picture_as_large_as_allowed_is_read_within_bounds(mode: str, tmp_path: Path) -> None:
    picture = Image.new(mode, (8000, 8000 if LONG else 2000))
    picture.paste(Image.fromarray(PIXELS).convert(mode), (3000, 1000))
    picture.save(tmp_path / "large.png", compress_level=1)
    assert outcome(tmp_path / "large.png")[0] == "as_asked"


@pytest.mark.parametrize("size", ["0 0", "0 5", "5 0", "-1 5", "5", "99999999999 1", "1 99999999999"])
def test_a_picture_without_pixels_is_named(size: str, tmp_path: Path) -> None:
    assert outcome(tmp_path / "none.ppm", f"P5\n{size}\n255\n".encode())[0] == "refused"


NAMES = {  # of files, each with its form in the table
    **{name: name for name in ("a,b.png", 'a"b.png', "a=b.png", " =.png")},
    **{name: f"./{name}" for name in ("=cmd().png", "+1.png", "-1.png", "@sum.png")},
    **{"\t=1.png": r"\t=1.png", "\r=1.png": r"\r=1.png", "a\n=1.png": r"a\n=1.png", "a\r\n=1.png": r"a\r\n=1.png"},
    os.fsdecode(b"\xff.png"): r"\udcff.png",
}


@pytest.mark.slow
def test_a_folder_gives_a_table_whatever_its_files_are_named(tmp_path: Path) -> None:
    """No name becomes a formula, names that are not UTF-8 are escaped, and files that are not pictures are skipped."""
    architecture = Architecture("DeepNeuralNet", [784, [4], 10])
    settings, normalisation = {"epochs": 1}, Normalisation(mean=0.1, std=0.3)
    content = checkpoints.to_bytes(build(architecture), architecture, "mnist", 0, settings, normalisation)
    (tmp_path / "network.safetensors").write_bytes(content)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(written("PNG"))
    os.mkfifo(folder / "pipe.png")
    (folder / "link.png").symlink_to("nowhere")
    done = subprocess.run(
        [sys.executable, "-m", "tools.predict", tmp_path / "pictures", "--model", tmp_path / "network.safetensors"],
        cwd=ROOT,
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    found = [row[0] for row in csv.reader(io.StringIO(done.stdout.decode(), newline=""))][1:]
    assert sorted(found) == sorted(NAMES.values())
    assert sorted(done.stderr.decode().splitlines()) == [
        f"skipped {folder}/pipe.png: {NO_FILE}",
        f"skipped [Errno 2] No such file or directory: '{folder}/link.png'",
    ]


def test_any_picture_is_read_or_rejected(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("pictures") / "some.png"
    found: Counter[str] = Counter()
    whole = {form: written(form) for form in MODES}

    @tries(50, 1000)
    @given(form=st.sampled_from([*MODES]), seed=st.integers(0, 2**32), count=st.integers(1, 30), first=st.booleans())
    def once(form: str, seed: int, count: int, first: bool) -> None:
        """Changes some bytes; if `first`, only among the first 200, where headers are."""
        content, chosen = bytearray(whole[form]), random.Random(seed)
        for _ in range(count):
            content[chosen.randrange(200 if first else len(content))] = chosen.choice([0, 1, 127, 128, 255, seed % 256])
        found[outcome(path, bytes(content))[0]] += 1

    once()
    record("pictures with bytes changed", found.total(), **found)
