"""Rebuilds the pipeline and trains networks of many kinds under changed circumstances, and compares every byte.

The last commit is rebuilt from scratch and compared with the files in git. Networks are trained with other instruction
sets, libraries, numbers of threads, processors and Pythons, and compared with those trained by this Python. Prints each
circumstance and whether the bytes are the same, and writes the results to docs/verified.csv.
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from ruamel.yaml import YAML
from tqdm import tqdm

from mlp.errors import InputError
from pipeline.files import write_texts
from pipeline.tables import csv_text
from tools.verify import difference, elsewhere, steps

CAPABILITIES = ["DEFAULT", "AVX2", "AVX512"]  # torch's instruction sets for x86-64, each including those before it
# kernels of NumPy's OpenBLAS, and the instruction set that each needs; AMD's Zen uses Haswell's
CORES = {"Nehalem": "DEFAULT", "Sandybridge": "AVX2", "Haswell": "AVX2", "SkylakeX": "AVX512"}
PROCESSORS = ["Nehalem", "Haswell", "EPYC"]  # Intel 2008 without AVX, Intel 2013 with AVX2, AMD 2017
MANY, FEW = 256, 128  # images and houses to train on; emulators and further Pythons get few


class Circumstance(NamedTuple):
    """A change to the environment in which everything is rebuilt."""

    name: str
    environment: dict[str, str]
    folder: str = "clone"
    umask: int = -1  # unchanged
    one_by_one: bool = False  # a separate `dvc repro` for each stage
    needs: str | None = None  # the one of CAPABILITIES that the x86-64 processor must have


class Place(NamedTuple):
    """A Python that trains networks."""

    name: str
    command: list[str]  # starts the Python
    needs: str | None = None  # as above


class Row(NamedTuple):
    circumstance: str
    result: str  # same bytes | differs | failed | not tried
    remark: str = ""


def _threads(count: int) -> dict[str, str]:
    return {f"{library}_NUM_THREADS": str(count) for library in ("OMP", "MKL", "OPENBLAS")}


def _with(environment: dict[str, str], needs: str | None = None) -> Place:
    settings = [f"{name}={value}" for name, value in environment.items()]
    return Place(f"training with {' '.join(settings)}", ["env", *settings, sys.executable], needs)


CIRCUMSTANCES = [
    # more threads than cores would wait for each other most of the time
    Circumstance("eight workers with one thread each", {"MLP_WORKERS": "8"} | _threads(1)),
    Circumstance("one worker with two threads", {"MLP_WORKERS": "1"} | _threads(2)),
    Circumstance(
        "the instructions of 2008 in torch, oneDNN, MKL, OpenBLAS and NumPy",
        {
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "MKL_CBWR": "COMPATIBLE",
            "OPENBLAS_CORETYPE": "Nehalem",
            "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",  # all that NumPy can do without
        },
        needs="DEFAULT",
    ),
    # no umlaut in the folder's name: in this locale DVC does not find such folders
    Circumstance("a locale without UTF-8", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    Circumstance(
        "another folder with an umlaut, other time zone, language, umask, hash seed and user, one stage at a time",
        {"TZ": "Pacific/Kiritimati", "LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "7"}
        | dict.fromkeys(("USER", "LOGNAME", "USERNAME"), "somebody"),
        folder="Räume und Zeiten",
        umask=0o077,
        one_by_one=True,
    ),
]
# MLP_DEVICE=cpu trains networks together, with matrix products by torch and MKL instead of NumPy and OpenBLAS
ENVIRONMENTS = [
    *(
        _with({"MLP_DEVICE": "cpu", "ATEN_CPU_CAPABILITY": capability.lower()} | mkl, capability)
        for capability in CAPABILITIES
        for mkl in ({}, {"MKL_CBWR": "COMPATIBLE"})
    ),
    *(_with({"OPENBLAS_CORETYPE": core}, needs) for core, needs in CORES.items()),
    _with({"ONEDNN_MAX_CPU_ISA": "AVX2"}, "AVX2"),
    *(_with(_threads(count)) for count in (1, 2, 8)),
    _with({"MLP_DEVICE": "cpu"} | _threads(8)),
]
EMULATED = [
    Place(f"training on an emulated {processor}", ["qemu-x86_64", "-cpu", processor, sys.executable], "DEFAULT")
    for processor in PROCESSORS
]


def main() -> None:
    changed = subprocess.check_output(["git", "status", "--porcelain"], encoding="utf-8").splitlines()
    if changed:
        raise InputError(f"{changed[0][3:]}: not committed; what is rebuilt is the last commit")
    repository, further = Path.cwd(), pythons(os.environ.get("PYTHONS", ""))
    todo = chain(
        (rebuild(repository, circumstance) for circumstance in CIRCUMSTANCES),
        train(repository, ENVIRONMENTS, MANY),
        train(repository, [*EMULATED, *further], FEW),
    )
    total = len(CIRCUMSTANCES) + len(ENVIRONMENTS) + len(EMULATED) + len(further)
    rows = list(tqdm(todo, total=total, desc="verify", unit="circumstance"))
    table = csv_text(["machine", *Row._fields], [(steps.machine(), *row) for row in rows])
    write_texts({"docs/verified.csv": table})
    print(steps.machine())
    width = max(len(row.circumstance) for row in rows)
    for row in rows:
        print(f"{row.circumstance:{width}}  {row.result:10}  {row.remark}".rstrip())
    if {row.result for row in rows} - {"same bytes", "not tried"}:
        sys.exit("not every circumstance gave the same bytes: see the rows that differ or failed")


def pythons(text: str) -> list[Place]:
    """Parses commands that are separated by commas or newlines."""
    commands = [command.strip() for command in re.split(r"[,\n]", text)]
    try:
        places = [shlex.split(command) for command in commands if command]
    except ValueError as error:
        raise InputError(f"PYTHONS is {text!r} ({error}); needed: commands, separated by commas") from error
    return [Place(f"training by further Python {number}", place) for number, place in enumerate(places, start=1)]


def train(repository: Path, places: Sequence[Place], size: int) -> Iterator[Row]:
    """Compares the networks that each place trains on `size` images and houses with those of this Python."""
    if not places:
        return
    program = elsewhere.program(repository, size)
    _, expected = elsewhere.train([sys.executable], program)
    for place in places:
        missing = lacking(place.needs)
        if place in EMULATED and not shutil.which(place.command[0]):
            missing = f"{place.command[0]} is not installed"
        if missing:
            yield Row(place.name, "not tried", missing)
            continue
        try:
            machine, tensors = elsewhere.train(place.command, program)
        except InputError as error:
            yield Row(place.name, "failed", str(error))
            continue
        found = difference.of_tensors(expected, tensors)
        remark = "" if machine == steps.machine() else f"on {machine}"
        if found:
            yield Row(place.name, "differs", f"{found} {remark}".rstrip())
        else:
            yield Row(place.name, "same bytes", remark)


def lacking(capability: str | None) -> str | None:
    """Returns why this machine's processor does not have a capability, or None if it does."""
    if capability is None:
        return None
    if platform.machine() not in ("x86_64", "AMD64"):
        return "this processor is not an x86-64"
    if capability not in CAPABILITIES[: CAPABILITIES.index(torch.backends.cpu.get_cpu_capability()) + 1]:
        return f"this processor has no {capability}"
    return None


def rebuild(repository: Path, circumstance: Circumstance) -> Row:
    """Runs all stages of the last commit in a clone, on the repository's data, and compares the outputs."""
    if missing := lacking(circumstance.needs):
        return Row(circumstance.name, "not tried", missing)
    with TemporaryDirectory() as scratch:
        clone = Path(scratch, circumstance.folder)
        subprocess.run(["git", "clone", "--quiet", repository, clone], check=True)
        manual = clone / "data/manual"
        for file in (repository / "data/raw").glob("*/*-ubyte"):
            if (manual / file.parent.name).exists():
                (manual / file.parent.name / file.name).symlink_to(file)
        for folder in (repository / "data/manual").iterdir():  # the user's own data sets are not in git
            if folder.is_dir() and not (manual / folder.name).exists():
                shutil.copytree(folder, manual / folder.name)  # a link would show up in git status
        stages = YAML(typ="safe").load(clone / "dvc.yaml")["stages"]
        # --force and no store, as a cache or store that all of a user's projects share is not empty
        targets = [["--single-item", stage] for stage in stages] if circumstance.one_by_one else [[]]
        for target in targets:
            done = subprocess.run(
                ["dvc", "repro", "--force", *target],
                cwd=clone,
                env=os.environ | circumstance.environment | {"MLP_STORE": "off"},
                umask=circumstance.umask,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
            )
            if done.returncode:
                return Row(circumstance.name, "failed", " ".join(done.stderr.split())[-500:])
        found = difference.of_builds(repository, clone)
        return Row(circumstance.name, "differs", found) if found else Row(circumstance.name, "same bytes")
