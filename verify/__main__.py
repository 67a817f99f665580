"""Rebuilds the last commit from nothing under changed circumstances and compares every byte with what git has.

Prints what was changed and whether the bytes held, and writes it to docs/verified.csv.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
import yaml
from tqdm import tqdm

from mlp.errors import InputError
from mlp.params import Params
from stages import run, write_csv
from verify import difference

CAPABILITIES = ["DEFAULT", "AVX2", "AVX512"]  # instructions that torch knows for x86-64, each with those before it
PROCESSORS = ["Nehalem", "Haswell", "EPYC"]  # Intel's of 2008 without AVX and of 2013 with AVX2, AMD's of 2017


class Circumstance(NamedTuple):
    """What is other than usual while everything is rebuilt."""

    name: str
    environment: dict[str, str]
    folder: str = "clone"
    umask: int = -1  # as it is
    one_by_one: bool = False  # each stage with a dvc of its own
    capability: str = "DEFAULT"  # what the processor must have


class Row(NamedTuple):
    circumstance: str
    result: str  # same bytes | differs | failed | not tried
    remark: str = ""


def _threads(count: int) -> dict[str, str]:
    libraries = ("OMP", "MKL", "OPENBLAS")
    return {"MLP_WORKERS": str(count)} | {f"{library}_NUM_THREADS": str(count) for library in libraries}


CIRCUMSTANCES = [
    Circumstance("one worker, one thread", _threads(1)),
    Circumstance("two workers, two threads", _threads(2)),
    Circumstance("eight workers, eight threads", _threads(8)),
    *(
        Circumstance(
            f"ATEN_CPU_CAPABILITY={capability.lower()}{''.join(f' {k}={v}' for k, v in mkl.items())}",
            {"ATEN_CPU_CAPABILITY": capability.lower()} | mkl,
            capability=capability,
        )
        for capability in CAPABILITIES
        for mkl in ({}, {"MKL_CBWR": "COMPATIBLE"})
    ),
    Circumstance(
        "another folder with an umlaut, other time zone, language, umask, hash seed and user, one stage at a time",
        {"TZ": "Pacific/Kiritimati", "LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "7"}
        | dict.fromkeys(("USER", "LOGNAME", "USERNAME"), "somebody"),
        folder="Räume und Zeiten",
        umask=0o077,
        one_by_one=True,
    ),
]


def main(_: Params) -> None:
    changed = subprocess.check_output(["git", "status", "--porcelain"], text=True).splitlines()
    if changed:
        raise InputError(f"{changed[0][3:]}: not committed; what is rebuilt is the last commit")
    rows = []
    with tqdm(total=len(CIRCUMSTANCES) + len(PROCESSORS), desc="verify", unit="rebuild") as bar:
        for circumstance in CIRCUMSTANCES:
            rows.append(rebuild(Path.cwd(), circumstance))
            bar.update()
        for processor in PROCESSORS:
            rows.append(emulate(processor))
            bar.update()
    instructions, python = torch.backends.cpu.get_cpu_capability(), platform.python_version()
    machine = f"{platform.machine()} with {instructions}, Python {python}, torch {torch.__version__}"
    write_csv(Path("docs/verified.csv"), ["machine", *Row._fields], [(machine, *row) for row in rows])
    print(machine)
    width = max(len(row.circumstance) for row in rows)
    for row in rows:
        print(f"{row.circumstance:{width}}  {row.result:10}  {row.remark}".rstrip())
    if {row.result for row in rows} - {"same bytes", "not tried"}:
        sys.exit("the bytes depend on the circumstances")


def rebuild(repository: Path, circumstance: Circumstance) -> Row:
    """Runs all stages of the last commit in a clone with an empty cache. The data comes from the repository's own."""
    if circumstance.capability not in CAPABILITIES[: CAPABILITIES.index(torch.backends.cpu.get_cpu_capability()) + 1]:
        return Row(circumstance.name, "not tried", f"this processor has no {circumstance.capability}")
    with TemporaryDirectory() as scratch:
        clone = Path(scratch, circumstance.folder)
        subprocess.run(["git", "clone", "--quiet", repository, clone], check=True)
        (clone / "data/manual").mkdir()
        for raw in (repository / "data/raw").glob("*"):
            (clone / "data/manual" / raw.name).symlink_to(raw)
        stages = yaml.safe_load((clone / "dvc.yaml").read_text())["stages"]
        # --force: a cache that is configured for all projects of a user is not empty
        targets = [["--single-item", stage] for stage in stages] if circumstance.one_by_one else [[]]
        for target in targets:
            done = subprocess.run(
                ["dvc", "repro", "--force", *target],
                cwd=clone,
                env=os.environ | circumstance.environment,
                umask=circumstance.umask,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                return Row(circumstance.name, "failed", " ".join(done.stderr.split())[-500:])
        return _row(circumstance.name, difference.of_builds(repository, clone))


def emulate(processor: str) -> Row:
    """Takes a few training steps on an emulated processor and on this one."""
    name, qemu = f"a few training steps on an emulated {processor}", shutil.which("qemu-x86_64")
    if not qemu:
        return Row(name, "not tried", "qemu-x86_64 is not installed")
    with TemporaryDirectory() as scratch:
        emulator = [qemu, "-cpu", processor]
        for command, folder in (([], "here"), (emulator, "emulated")):
            steps = [*command, sys.executable, "-m", "verify.steps", str(Path(scratch, folder))]
            subprocess.run(steps, check=True, stderr=subprocess.DEVNULL)
        return _row(name, difference.of_paths(Path(scratch, "here"), Path(scratch, "emulated")))


def _row(name: str, found: str | None) -> Row:
    return Row(name, "differs", found) if found else Row(name, "same bytes")


if __name__ == "__main__":
    run(main)
