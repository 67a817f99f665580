"""Trains networks with other Pythons: on an emulated processor, on another machine, or in another environment.

The other Python needs torch, NumPy and safetensors. This repository's code and the data are sent to its standard input.
"""

import base64
import io
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as from_bytes
from safetensors.torch import save as to_bytes

import mlp
from mlp import ames, images
from mlp.errors import InputError
from tools.verify import steps

PROGRAM = """
import base64, io, pathlib, sys, tempfile, zipfile
with tempfile.TemporaryDirectory() as folder:
    zipfile.ZipFile(io.BytesIO(base64.b64decode({archive!r}))).extractall(folder)
    sys.path.insert(0, folder)
    from tools.verify import steps
    steps.main(pathlib.Path(folder, "examples.safetensors"))
"""


def program(repository: Path, size: int) -> bytes:
    """Returns a program with tools/verify/steps.py, all that it imports, and a repository's first `size` examples."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("examples.safetensors", _examples(repository, size))
        for package in ("tools", "tools/verify"):  # otherwise an installed package of this name takes precedence
            archive.writestr(f"{package}/__init__.py", "")
        archive.write(steps.__file__, "tools/verify/steps.py")
        for module in Path(mlp.__path__[0]).glob("*.py"):
            archive.write(module, f"mlp/{module.name}")
    return PROGRAM.format(archive=base64.b64encode(content.getvalue())).encode()


def train(command: Sequence[str], program: bytes) -> tuple[str, dict[str, NDArray[Any]]]:
    """Returns the machine's name and the results. Raises InputError if the command fails or its output is invalid."""
    try:
        done = subprocess.run([*command, "-"], input=program, capture_output=True)
    except OSError as error:
        raise InputError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").split("\n")
        raise InputError(next((line for line in reversed(lines) if line.strip()), f"exit status {done.returncode}"))
    machine, _, tensors = done.stdout.partition(b"\n")
    try:
        return machine.decode(), from_bytes(tensors)
    except (SafetensorError, UnicodeDecodeError) as error:
        raise InputError(f"{command[0]} does not answer like a Python: {done.stdout[:80]!r}") from error


def _examples(repository: Path, size: int) -> bytes:
    training = images.load(repository / "data/processed/train.safetensors")
    training = training._replace(images=training.images[:size], labels=training.labels[:size])
    houses = ames.load(repository / "data/prices/all/train.safetensors")
    above_median = (houses.prices > houses.median_price()).double()
    of_houses = {"houses": houses.inputs(), "prices": houses.targets(), "above_median": above_median}
    return to_bytes(training._asdict() | {name: tensor[:size] for name, tensor in of_houses.items()})
