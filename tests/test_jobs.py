"""Trains networks in parallel in real processes, each once: those already trained come from the store."""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from conftest import ROOT, no_memory_for_large_networks, stored, trains, workers_of
from mlp import ames
from mlp.ames import AmesHousingDataset, Houses
from mlp.errors import InputError
from mlp.spec import Architecture, Settings
from pipeline import jobs as pipeline_jobs
from pipeline.jobs import on_all_cores, train_all
from pipeline.store import code, key
from pipeline.training import Job, KilledError, file

pytestmark = pytest.mark.slow  # each test starts processes that import torch

KEY = "train.learning_rate"
DEEP = Architecture("DeepNeuralNet", [16, [8, 4], 1])
SETTINGS = Settings(2, 64, 0.001)
LONG = Settings(500, 64, 0.001)  # takes a second


@pytest.fixture
def houses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Writes a file to train on, in a temporary working folder that also gets the store, and returns its path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLP_WORKERS", "2")
    monkeypatch.delenv("MLP_STORE", raising=False)
    monkeypatch.delenv("MLP_DEVICE", raising=False)
    dataset = AmesHousingDataset(ROOT / "data/ames/AmesHousing.xlsx")[:200]
    std, logarithms = dataset.features.std(0).clamp(min=1), ames.logarithms(dataset.prices)
    ames.save(
        Houses(dataset.features, dataset.prices, dataset.features.mean(0), std, logarithms.mean(), logarithms.std()),
        tmp_path / "houses",
    )
    return str(tmp_path / "houses")  # absolute, since worker processes outlive a test


def jobs(path: str, seeds: list[int], settings: Settings = SETTINGS) -> list[Job]:
    return [Job("prices", [file(path)], None, "ames/all", None, DEEP, settings, seed) for seed in seeds]


def train(path: str, *seeds: int, settings: Settings = SETTINGS) -> list[bytes]:
    return [each.network for each in train_all("train", jobs(path, list(seeds), settings), KEY)]


def test_results_are_in_the_order_of_the_jobs_and_all_are_counted(
    houses: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(houses, 2, 1) == train(houses, 1, 2)[::-1]
    assert re.search("train:? 100%", capsys.readouterr().err)


def test_a_ninth_seed_trains_one_network_and_the_eight_others_none(houses: str) -> None:
    train(houses, *range(8))
    eight = stored()
    train(houses, *range(9))
    assert len(stored()) == 9
    assert eight.items() < stored().items()
    before = stored()
    train(houses, *range(8))
    assert stored() == before


def test_the_store_does_not_change_a_byte(houses: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = train(houses, 0), train(houses, 0)
    monkeypatch.setenv("MLP_STORE", "off")
    assert first == again == train(houses, 0)


def test_mlp_store_names_another_folder_or_none(houses: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLP_STORE", "off")
    train(houses, 0)
    assert not Path("store").exists()
    monkeypatch.setenv("MLP_STORE", str(tmp_path / "shared/by several"))
    train(houses, 0)
    assert not Path("store").exists()
    assert list((tmp_path / "shared/by several").glob("??/*"))


@pytest.mark.parametrize("damage", ["cut", "flip", "foreign", "empty"])
def test_a_damaged_or_foreign_file_in_the_store_is_reported_and_trained_again(
    houses: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, other = train(houses, 0, 1)
    name = key(jobs(houses, [0])[0])
    path = Path("store", name[:2], name)
    content, foreign = path.read_bytes(), key(jobs(houses, [1])[0])
    flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    changed = {"cut": content[:-1], "flip": flipped, "empty": b""} | {
        "foreign": Path("store", foreign[:2], foreign).read_bytes()
    }
    path.write_bytes(changed[damage])
    assert train(houses, 0, 1) == [first, other]
    assert f"{path.absolute()}: damaged, or not what its name says" in capsys.readouterr().out
    assert path.read_bytes() == content


@pytest.mark.usefixtures("houses")
def test_progress_shows_networks_done_running_and_failed_and_the_time_left() -> None:
    """Two networks train at a time, until fewer are left."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.path.insert(0, sys.argv[1] + '/tests');"
        "from test_jobs import Settings, train; train('houses', 0, 1, 2, 3, settings=Settings(100, 64, 0.001))"
    )
    environment = os.environ | {"TQDM_MININTERVAL": "0"}
    done = subprocess.run([sys.executable, "-c", script, str(ROOT)], env=environment, capture_output=True, text=True)
    line = r"^train +(\d+)% (\d)/4 \[\d\d:\d\d<(\d\d:\d\d|\?), (\d) running, 0 failed\]$"
    shown = re.findall(line, done.stderr, re.MULTILINE)
    assert all(int(percent) == 25 * int(ended) for percent, ended, _, _ in shown), done.stderr
    assert all(int(running) == min(2, 4 - int(ended)) for _, ended, _, running in shown), done.stderr
    assert any(left != "?" and 0 < int(ended) < 4 for _, ended, left, _ in shown), done.stderr
    assert shown[-1][1:] == ("4", "00:00", "0")


@pytest.mark.usefixtures("houses")
def test_two_stages_that_need_the_same_networks_train_each_once() -> None:
    """Each process prints the key of every network that it trains, as it puts it into the shared store."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.path.insert(0, sys.argv[1] + '/tests');"
        "from test_jobs import train, stored; from mlp.spec import Settings; from pipeline import store;"
        "put = store.Store.put; store.Store.put = lambda self, *a: (print('trained', a[0]), put(self, *a));"
        "train('houses', 0, 1, 2, 3, settings=Settings(20, 64, 0.001))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", script, str(ROOT)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    trained = [line for process in both for line in process.communicate()[0].splitlines() if line.startswith("trained")]
    assert all(process.returncode == 0 for process in both)
    assert len(trained) == len(set(trained)) == len(stored()) == 4


def test_a_killed_process_loses_only_its_own_network(houses: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills one worker once, while both train."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.path.insert(0, sys.argv[1] + '/tests');"
        "from test_jobs import LONG, train; train('houses', 0, 1, 2, settings=LONG)"
    )
    stage = subprocess.Popen([sys.executable, "-c", script, str(ROOT)])
    killed = 0
    while stage.poll() is None:
        workers = workers_of(stage.pid)
        if not killed and len(workers) == 2 and all(map(trains, workers)):
            workers[0].send_signal(signal.SIGKILL)
            killed += 1
        time.sleep(0.1)
    assert (killed, stage.returncode) == (1, 0)
    assert len(stored()) == 3
    before, kept = stored(), train(houses, 0, 1, 2, settings=LONG)
    assert stored() == before
    monkeypatch.setenv("MLP_STORE", "off")
    assert train(houses, 0, 1, 2, settings=LONG) == kept


def test_a_network_that_always_kills_its_process_is_named_and_all_others_are_kept(houses: str) -> None:
    small = jobs(houses, [0, 1, 2])
    large = small[0]._replace(architecture=Architecture("DeepNeuralNet", [16, [9000, 9000], 1]))
    with no_memory_for_large_networks(os.getpid()), pytest.raises(InputError) as error:
        train_all("train", [large, *small], KEY)
    assert str(error.value) == (
        "train: DeepNeuralNet(16, [9000, 9000], 1), seed 0: its process was killed 3 times, possibly out of memory; "
        "all other networks are kept"
    )
    assert len(stored()) == 3


def test_a_training_that_diverges_names_the_stage_and_the_key_to_lower(houses: str) -> None:
    with pytest.raises(InputError) as error:
        train(houses, 4, settings=Settings(5, 64, 1e36))
    assert re.fullmatch(
        r"train: DeepNeuralNet, seed 4: loss or weights are not finite after epoch \d, at learning rate 1e\+36; "
        r"lower train\.learning_rate in params\.yaml",
        str(error.value),
    )


@pytest.mark.parametrize("error", [MemoryError("Unable to allocate 149. GiB"), RuntimeError("can't allocate memory")])
def test_a_network_that_exceeds_the_memory_is_named_and_all_others_are_kept(
    error: Exception, houses: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raises the allocation errors of NumPy and torch itself, so that the memory of this machine does not matter."""

    def submit(alike: list[Job], expected: str) -> "Future[list[bytes]]":
        future: Future[list[bytes]] = Future()
        if alike[0].seed == 3:
            future.set_exception(error)
        else:
            future.set_result(pipeline_jobs.train(alike, expected))
        return future

    monkeypatch.setattr("pipeline.jobs._workers", lambda: pipeline_jobs.Workers(submit, lambda: 1, KilledError))
    with pytest.raises(InputError, match=rf"^train: \w+\(.*\), seed 3: {error}; all other networks are kept$"):
        train(houses, 3, 4, 5)
    assert len(stored()) == 2


def test_the_first_of_several_failures_is_reported_and_no_more_jobs_start(houses: str) -> None:
    with pytest.raises(InputError, match="seed 0:"):
        train(houses, *range(30), settings=Settings(5, 64, 1e36))


@pytest.mark.parametrize("workers", ["0", "-1", "1.5", "two", "", "1" * 5000])
def test_an_invalid_number_of_workers_is_rejected_in_one_line(
    workers: str, houses: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLP_WORKERS", workers)
    with pytest.raises(InputError, match=r"^MLP_WORKERS is '.*(?:'|\.\.\.); allowed: an integer from 1 to 9999$"):
        train(houses, 0)


def test_a_device_trains_networks_that_differ_in_seeds_at_once_with_the_same_bytes(
    houses: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = train(houses, 3, 5)
    for name, value in {"MLP_DEVICE": "cpu", "MLP_STORE": "off", "MLP_WORKERS": "1"}.items():  # in a new process
        monkeypatch.setenv(name, value)
    assert train(houses, 3, 5) == alone


def test_a_worker_without_the_device_trains_the_same_networks_one_by_one(
    houses: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster's worker may have another environment than the stage, which groups the jobs."""
    alike = jobs(houses, [3, 5])
    monkeypatch.delenv("MLP_DEVICE", raising=False)
    expected = code(alike[0].kind)
    assert pipeline_jobs.train(alike, expected) == [pipeline_jobs.train([job], expected)[0] for job in alike]


@pytest.mark.parametrize("name", ["/dev/null", "dvc.yaml"])
def test_a_store_that_is_not_a_folder_is_rejected_in_one_line(
    name: str, houses: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("dvc.yaml").touch()
    monkeypatch.setenv("MLP_STORE", name)
    with pytest.raises(InputError, match=rf"^MLP_STORE is '{name}', which is not a folder; allowed: a folder, or off$"):
        train(houses, 0)


def test_a_file_that_changes_during_training_is_rejected(houses: str) -> None:
    old = jobs(houses, [0])
    content = bytearray(Path(houses).read_bytes())
    content[-1] ^= 1
    Path(houses).write_bytes(content)
    with pytest.raises(InputError, match=f"^train: {houses}: changed while networks were"):
        train_all("train", old, KEY)
    assert not stored()


def test_a_stage_exits_silently_however_slowly_its_processes_exit() -> None:
    script = (
        "import math, time, concurrent.futures.process as process\n"
        "def wakeup(self):\n"
        "    if not self._closed:\n"
        "        time.sleep(process._global_shutdown)\n"
        "        self._writer.send_bytes(b'')\n"
        "process._ThreadWakeup.wakeup = wakeup\n"
        "from pipeline.jobs import on_all_cores\n"
        "if __name__ == '__main__': print(on_all_cores(math.sqrt, [(4.0,), (9.0,)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[2.0, 3.0]\n"
    assert "Traceback" not in done.stderr


def test_results_of_other_functions_are_in_order_too() -> None:
    assert on_all_cores(pow, [(number, 2) for number in range(5)]) == [0, 1, 4, 9, 16]
