"""Real data and working copies of the repository for the tests."""

import gc
import hashlib
import importlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import psutil
import pytest
import torch
import yaml
from filelock import FileLock

from mlp import on_numpy
from mlp.images import read_idx, write_idx
from pipeline import jobs
from pipeline.params import load
from pipeline.stage import exit_on_user_error
from stages.download import download

ROOT = Path(__file__).parents[1]
# this Python's commands come first, including `dvc`; one network at a time, since tests run in parallel
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "MLP_WORKERS": "1",
    "PYTHONPATH": str(ROOT / "tests/faster"),
}
# stages by data set, in the order in which DVC runs them; check_params, lecture, plots_page and report concern both, or
# neither
IMAGES = [
    "download",
    "preprocess",
    "train_shallow",
    "train_deep",
    "evaluate",
    "compare_sizes",
    "compare_learning_rates",
]
HOUSES = ["preprocess_prices", "train_prices", "evaluate_prices", "train_binary"]
PAGES = ["lecture", "report"]  # have outputs in git that DVC does not cache, so switching back runs them again
ALONE = ">/dev/null 2>&1"  # else reading the output of `dvc queue start` also waits for its worker to exit
MAX_SECONDS = 10  # of CPU time in this process, for a command run by `refusal`
torch.set_num_threads(1)
# the same examples in every run, and none too slow on a busy machine
hypothesis.settings.register_profile("reproducible", derandomize=True, deadline=None)
hypothesis.settings.load_profile("reproducible")


SLOW = {"raw", "houses_template", "small", "browser", "made"}  # fixtures that compute or wait; others use them
LONGEST = [  # files that take minutes
    *("test_pipeline", "test_kills"),  # build what others wait for
    *("test_jobs", "test_engines"),  # do not wait
    *("test_readme", "test_verify", "test_side_by_side", "test_sharing", "test_image_folder"),
]


def pytest_xdist_auto_num_workers() -> int:
    """Returns one more than the number of cores, as some tests only wait, but at most 4 to limit memory."""
    return min((os.cpu_count() or 1) + 1, 4)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests that use a slow fixture as slow too, and starts the longest files first."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))
    for item in items:
        if SLOW & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Excludes imported objects from garbage collection, which would take a fifth of the fast tests' time."""
    gc.freeze()


class WorkingCopy:
    """A clone of this repository, with uncommitted changes, in which commands really run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def copied(self, path: Path) -> "WorkingCopy":
        """Returns a copy at `path`, with the outputs, caches and networks that git ignores."""
        return WorkingCopy(shutil.copytree(self.path, path, symlinks=True))

    def run(self, command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a shell command in the clone with this Python first on the path."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.path,
            env=ENVIRONMENT | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 or not check, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def stages_run_by(self, command: str) -> list[str]:
        """Returns the stages that a DVC command ran, in order, without those restored from a cache.

        Excludes `check_params`, which runs after every change of params.yaml.
        """
        return re.findall(r"^Running stage '(?!check_params)(\w+)'", self.run(command).stdout, re.MULTILINE)

    def status(self) -> str:
        return self.run("git status --porcelain").stdout

    def params(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((self.path / "params.yaml").read_text())
        return found

    def edit_params(self, **values: object) -> None:
        (self.path / "params.yaml").write_text(yaml.safe_dump(self.params() | values, sort_keys=False))

    def commit(self, message: str) -> None:
        author = "-c user.name=test -c user.email=test@localhost"
        self.run(f"git add -A && git {author} commit -q --allow-empty -m '{message}'")


def clone(path: Path) -> WorkingCopy:
    """Clones the repository and commits its files as they are on disk, except those that git ignores."""
    subprocess.run(["git", "clone", "-q", ROOT, path], check=True)
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    copy = WorkingCopy(path)
    copy.run("git rm -rq .")
    for name in files.stdout.split("\0"):
        if name and (ROOT / name).exists():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, path / name)
    copy.commit("As on disk")
    return copy


def keep_stages(copy: WorkingCopy, names: Iterable[str]) -> None:
    """Removes all other stages from a copy's pipeline, which makes DVC faster."""
    for file, rest in (("dvc.yaml", {}), ("dvc.lock", {"schema": "2.0"})):
        stages = yaml.safe_load((copy.path / file).read_text())["stages"]
        (copy.path / file).write_text(yaml.safe_dump(rest | {"stages": {name: stages[name] for name in names}}))


def with_environment(copy: WorkingCopy) -> None:
    """Links the environment that runs these tests into a copy, as if its Makefile had created it."""
    (copy.path / ".venv").mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (copy.path / ".venv" / part).symlink_to(Path(sys.prefix, part))
    for name, suffix in {"run": "", "dev": "-dev", "remotes": "-remotes", "bench": "-bench"}.items():
        copy.run(f"touch .venv/{name}-$(git hash-object requirements{suffix}.lock)")


def workers_of(pid: int) -> list[psutil.Process]:
    """Returns the training processes of a stage, given its PID or that of a process that started it."""
    return descendants(pid, "spawn_main")


def trains(worker: psutil.Process) -> bool:
    """Returns whether a training process has finished its imports, or nearly: safetensors is among the last."""
    with suppress(psutil.NoSuchProcess):
        if not hasattr(worker, "memory_maps"):  # on macOS
            return worker.cpu_times().user > 3
        return any("safetensors" in each.path for each in worker.memory_maps())
    return False


@contextmanager
def no_memory_for_large_networks(pid: int) -> Iterator[None]:
    """Kills each training process that uses more than a gigabyte, as the system does when memory runs out."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            for worker in workers_of(pid):
                with suppress(psutil.NoSuchProcess):
                    if worker.memory_info().rss > 1e9:
                        worker.kill()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def descendants(pid: int, part: str) -> list[psutil.Process]:
    """Returns the descendants of a process whose command lines contain `part`."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # also raised for a zombie
            if part in " ".join(child.cmdline()):
                found.append(child)
    return found


def at_work(copy: WorkingCopy, part: str = "") -> list[psutil.Process]:
    """Returns the processes that run inside a copy and whose command lines contain `part`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(copy.path) and part in " ".join(process.cmdline()):
                found.append(process)
    return found


def finish_queue(copy: WorkingCopy) -> None:
    """Runs all queued experiments, and restarts queue workers that crash, as docs/recovery.md describes.

    The race condition that crashes them can also hit `dvc queue status`.
    """
    while "Queued" in (said := copy.run("dvc queue status || echo Queued", check=False).stdout) or "Running" in said:
        if not at_work(copy, "queue-worker"):
            copy.run(f"dvc queue start {ALONE}")
        psutil.wait_procs(at_work(copy, "queue-worker"))


def kill(process: subprocess.Popen[Any]) -> None:
    """Kills a process and all its descendants with SIGKILL, as a power cut would."""
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.kill()
    process.wait()


def refusal(command: Callable[[], None]) -> str | None:
    """Runs a command in this process and returns its one-line error, or None if it succeeds.

    Propagates any other exception: users would see its traceback. Fails after more than MAX_SECONDS of CPU time.
    """
    start = time.process_time()
    try:
        exit_on_user_error(command)
    except SystemExit as end:
        line = end.code
    else:
        return None
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        assert time.process_time() - start < MAX_SECONDS
    assert isinstance(line, str)  # exit status 1
    assert "\n" not in line
    assert len(line) < 1000
    return line


def refusal_of_stage(stage: str) -> str | None:
    """Returns the `refusal` of a stage run in the working folder."""
    module = importlib.import_module(f"stages.{stage}")
    return refusal(lambda: module.main(load(module.Params)))


def train_here(patch: pytest.MonkeyPatch) -> None:
    """Makes jobs run in this process, where torch is imported already."""
    patch.setattr(jobs, "_in_process", lambda function, *arguments: function(*arguments))
    patch.setenv("MLP_WORKERS", "1")
    jobs._pool.cache_clear()


def set_byte_products(patch: pytest.MonkeyPatch, enabled: bool) -> None:
    """Makes the NumPy engine multiply bytes or not, also on a processor without instructions for that."""
    if enabled and not on_numpy._has_exact_byte_products():
        patch.setattr(torch, "_int_mm", lambda one, other: one.int() @ other.int())
    patch.setattr(on_numpy, "_has_exact_byte_products", lambda: enabled)


def run_here(copy: WorkingCopy, stages: Iterable[str], patch: pytest.MonkeyPatch) -> None:
    """Runs stages on a copy without DVC and without other processes."""
    patch.chdir(copy.path)
    train_here(patch)
    for stage in stages:
        assert refusal_of_stage(stage) is None


def missing(name: str) -> NoReturn:
    """Skips the test, or fails it in continuous integration, which should have installed everything."""
    if "CI" in os.environ:
        pytest.fail(f"{name} is not installed")
    pytest.skip(f"{name} is not installed")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def different(before: Mapping[Any, bytes], after: Mapping[Any, bytes]) -> list[str]:
    """Returns the names whose contents differ; pytest would take minutes to show the bytes."""
    return sorted(str(name) for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def outputs(copy: WorkingCopy) -> dict[str, bytes]:
    """Returns the content of all files that stages write, by path."""
    return {
        str(file.relative_to(copy.path)): file.read_bytes()
        for folder in ("data/prices", "data/processed", "docs", "models", "plots", "metrics")
        for file in (copy.path / folder).rglob("*")
        if file.is_file()
    }


def stored(folder: Path = Path()) -> dict[str, int]:
    """Returns the names of all networks in a clone's store with their modification times in nanoseconds."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("store/??/*") if not path.suffix}


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that returns the folder of a data set's four real files, downloaded if this checkout has none."""
    folder = tmp_path_factory.mktemp("raw")

    def get(dataset: str) -> Path:
        if not (folder / dataset).exists():
            (folder / dataset).mkdir()
            declared = json.loads((ROOT / "data/manual" / dataset / "dataset.json").read_text())
            download(dataset, declared["sha256"], declared["mirrors"], folder / dataset, ROOT / "data/raw" / dataset)
        return folder / dataset

    return get


@pytest.fixture(scope="session")
def mnist_raw(raw: Callable[[str], Path]) -> Path:
    return raw("mnist")


@pytest.fixture(scope="session")
def subset_template(raw: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """The pipeline on the first 2000 training and 500 test images of both data sets, run once and committed."""
    return made_once(tmp_path_factory, "subset", partial(make_subset, raw))


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], WorkingCopy]) -> WorkingCopy:
    """Returns the working copy that `make` creates at a given path, shared by all processes that run tests."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(folder / f"{name}.lock"):
        if not (folder / name).exists():
            copy = make(folder / f"unfinished_{name}")
            copy.run("git gc -q")  # each test copies it
            copy.path.rename(folder / name)
    return WorkingCopy(folder / name)


def make_subset(raw: Callable[[str], Path], path: Path) -> WorkingCopy:
    """Runs the pipeline in a clone, with the smaller files and their SHA-256 in data/manual."""
    copy = clone(path)
    for dataset in ("mnist", "fashion_mnist"):
        folder = copy.path / "data/manual" / dataset
        declared = json.loads((folder / "dataset.json").read_text())
        for name in declared["sha256"]:
            write_idx(read_idx(raw(dataset) / name)[: 2000 if name.startswith("train") else 500], folder / name)
            declared["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        (folder / "dataset.json").write_text(json.dumps(declared))
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    copy.edit_params(
        seeds=[0, 1],
        preprocess=params["preprocess"] | {"validation_size": 200},
        train_shallow=params["train_shallow"] | {"epochs": 1},
        train_deep=params["train_deep"] | {"epochs": 2},
        compare_sizes=params["compare_sizes"] | {"architectures": [[20], [8, 8]], "epochs": 1, "batch_size": 50},
        compare_learning_rates=params["compare_learning_rates"] | {"seeds": [0, 1], "epochs": 1, "batch_size": 32},
        train_prices=params["train_prices"] | {"epochs": 2},
        train_binary=params["train_binary"] | {"epochs": 2, "l1_penalties": [0, 0.01]},
    )
    (copy.path / "dvc.lock").unlink(missing_ok=True)
    copy.run("dvc repro")
    copy.commit("The pipeline on a subset")
    return copy


@pytest.fixture
def subset(subset_template: WorkingCopy, tmp_path: Path) -> WorkingCopy:
    """A copy of `subset_template` that the test may change."""
    return subset_template.copied(tmp_path / "copy")


@pytest.fixture(scope="session")
def houses_template(tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """A pipeline of house prices only, run once with one seed and two epochs and committed."""
    return made_once(tmp_path_factory, "houses", make_houses)


def make_houses(path: Path) -> WorkingCopy:
    copy = clone(path)
    with_environment(copy)
    keep_stages(copy, ["check_params", "preprocess_prices", "train_prices", "evaluate_prices"])
    copy.edit_params(seeds=[0], train_prices=copy.params()["train_prices"] | {"epochs": 2})
    (copy.path / "dvc.lock").unlink()
    copy.run("dvc repro")
    copy.commit("House prices")
    return copy


@pytest.fixture
def houses(houses_template: WorkingCopy, tmp_path: Path) -> WorkingCopy:
    """A copy of `houses_template` that the test may change."""
    return houses_template.copied(tmp_path / "copy")
