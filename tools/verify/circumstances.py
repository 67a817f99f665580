"""Computes the pipeline and training runs of many kinds under changed circumstances, and compares every byte.

The last commit is rebuilt from nothing and compared with what git has. Networks are trained with other instructions,
libraries, threads, processors and Pythons, and compared with those of this Python. Prints what was changed and whether
the bytes held, and writes it to docs/verified.csv.
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

CAPABILITIES = ["DEFAULT", "AVX2", "AVX512"]  # instructions that torch knows for x86-64, each with those before it
# the kernels of NumPy's OpenBLAS, and what they need; AMD's Zen has those of Haswell
CORES = {"Nehalem": "DEFAULT", "Sandybridge": "AVX2", "Haswell": "AVX2", "SkylakeX": "AVX512"}
PROCESSORS = ["Nehalem", "Haswell", "EPYC"]  # Intel's of 2008 without AVX and of 2013 with AVX2, AMD's of 2017
MANY, FEW = 256, 80  # images and houses, of which an emulator gets few


class Circumstance(NamedTuple):
    """What is other than usual while everything is rebuilt."""

    name: str
    environment: dict[str, str]
    folder: str = "clone"
    umask: int = -1  # as it is
    one_by_one: bool = False  # each stage with a dvc of its own
    needs: str | None = None  # of CAPABILITIES: an x86-64 processor that has them


class Place(NamedTuple):
    """Where networks are trained."""

    name: str
    command: list[str]  # of a Python
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
    Circumstance("one worker, one thread", {"MLP_WORKERS": "1"} | _threads(1)),
    Circumstance("eight workers, eight threads", {"MLP_WORKERS": "8"} | _threads(8)),
    Circumstance(
        "the instructions of 2008 in torch, MKL, OpenBLAS and NumPy",
        {
            "ATEN_CPU_CAPABILITY": "default",
            "MKL_CBWR": "COMPATIBLE",
            "OPENBLAS_CORETYPE": "Nehalem",
            "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",  # all that it can do without
        },
        needs="DEFAULT",
    ),
    # not in a folder with an umlaut, which DVC itself does not find there
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
# MLP_DEVICE=cpu trains networks together, with products of torch and MKL in place of those of NumPy and OpenBLAS
ENVIRONMENTS = [
    *(
        _with({"MLP_DEVICE": "cpu", "ATEN_CPU_CAPABILITY": capability.lower()} | mkl, capability)
        for capability in CAPABILITIES
        for mkl in ({}, {"MKL_CBWR": "COMPATIBLE"})
    ),
    *(_with({"OPENBLAS_CORETYPE": core}, needs) for core, needs in CORES.items()),
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
    """The commands of a text, separated by commas or line ends."""
    commands = [command.strip() for command in re.split(r"[,\n]", text)]
    places = [shlex.split(command) for command in commands if command]
    return [Place(f"training by further Python {number}", place) for number, place in enumerate(places, start=1)]


def train(repository: Path, places: Sequence[Place], size: int) -> Iterator[Row]:
    """Compares the networks that each place trains on so many images and houses with those of this Python."""
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
    """What this machine's processor has not of what is needed."""
    if capability is None:
        return None
    if platform.machine() not in ("x86_64", "AMD64"):
        return "this processor is not an x86-64"
    if capability not in CAPABILITIES[: CAPABILITIES.index(torch.backends.cpu.get_cpu_capability()) + 1]:
        return f"this processor has no {capability}"
    return None


def rebuild(repository: Path, circumstance: Circumstance) -> Row:
    """Runs all stages of the last commit in a clone with an empty cache. The data comes from the repository's own."""
    if missing := lacking(circumstance.needs):
        return Row(circumstance.name, "not tried", missing)
    with TemporaryDirectory() as scratch:
        clone = Path(scratch, circumstance.folder)
        subprocess.run(["git", "clone", "--quiet", repository, clone], check=True)
        manual = clone / "data/manual"
        for file in (repository / "data/raw").glob("*/*-ubyte"):
            if (manual / file.parent.name).exists():
                (manual / file.parent.name / file.name).symlink_to(file)
        for folder in (repository / "data/manual").iterdir():  # somebody's own data sets are not in git
            if not (manual / folder.name).exists():
                shutil.copytree(folder, manual / folder.name)  # as a link, it would show up in git status
        stages = YAML(typ="safe").load(clone / "dvc.yaml")["stages"]
        # --force and no store: a cache or a store that all projects of a user share is not empty
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
