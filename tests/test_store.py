"""Checks that a network's key in the store covers all that determines its bytes, and nothing else."""

import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from conftest import ROOT
from mlp.spec import Architecture, Settings
from pipeline import imports, store
from pipeline.store import Store, key
from pipeline.training import File, Job

TRAINING = File("data/train", "0" * 64)
JOB = Job(
    "images",
    [TRAINING],
    File("data/validation", "1" * 64),
    "mnist",
    None,
    Architecture("DeepNeuralNet", [784, [80, 40, 20], 10]),
    Settings(10, 256, 0.001),
    0,
)


@pytest.fixture(autouse=True)
def no_cached_code() -> None:
    store.code.cache_clear()


@pytest.mark.parametrize(
    "other",
    [
        JOB._replace(training=[TRAINING._replace(sha256="2" * 64)]),
        JOB._replace(training=[TRAINING, TRAINING]),
        JOB._replace(validation=None),
        JOB._replace(validation=File("data/validation", "2" * 64)),
        JOB._replace(dataset="fashion_mnist"),
        JOB._replace(images={"classes": ["a", "b"], "height": 28, "width": 28}),
        JOB._replace(architecture=Architecture("DeepNeuralNet", [784, [80, 40], 10])),
        JOB._replace(architecture=Architecture("ShallowNeuralNet", [784, [80, 40, 20], 10])),
        *(JOB._replace(settings=Settings(**JOB.settings._asdict() | {name: 0.5})) for name in Settings._fields),
        JOB._replace(seed=1),
        JOB._replace(kind="binary"),
    ],
)
def test_everything_that_determines_a_network_is_in_its_key(other: Job) -> None:
    assert key(other) != key(JOB)


def test_paths_and_the_number_of_workers_are_not_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(JOB)
    for name, value in {"MLP_WORKERS": "7", "MLP_STORE": "elsewhere", "MLP_DEVICE": "cuda"}.items():
        monkeypatch.setenv(name, value)
    assert key(JOB._replace(training=[TRAINING._replace(path="elsewhere")])) == before


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Returns a function that adds a line to a file in a copy of the code."""
    for folder in ("mlp", "pipeline", "stages"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for module in (imports, store):
        monkeypatch.setattr(module, "ROOT", tmp_path)

    def add(path: str) -> None:
        with (tmp_path / path).open("a") as file:
            file.write("# one line\n")
        store.code.cache_clear()

    return add


@pytest.mark.parametrize("path", ["mlp/training.py", "mlp/on_numpy.py", "mlp/images.py", "pipeline/training/images.py"])
def test_changing_the_training_code_changes_the_key(path: str, edit: Callable[[str], None]) -> None:
    before = key(JOB)
    edit(path)
    assert key(JOB) != before


@pytest.mark.parametrize("path", ["mlp/ames.py", "mlp/comparison.py", "stages/train_deep.py", "pipeline/jobs.py"])
def test_changing_other_code_does_not(path: str, edit: Callable[[str], None]) -> None:
    before = key(JOB)
    edit(path)
    assert key(JOB) == before


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_version_of_a_library_is_in_the_key(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, installed = key(JOB), metadata.version
    store.code.cache_clear()
    monkeypatch.setattr(store, "version", lambda name: "0" if name == library else installed(name))
    assert key(JOB) != before


def test_an_experiment_from_the_queue_shares_the_store_of_its_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC runs it in a folder below .dvc/tmp/exps."""
    monkeypatch.delenv("MLP_STORE", raising=False)
    name = key(JOB)
    for folder, found in ((tmp_path, None), (tmp_path / ".dvc/tmp/exps/tmp123", b"network")):
        folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(folder)
        shared = Store()
        assert shared.get(name) == found
        assert shared.claim(name)
        shared.put(name, b"network")
