"""Follows docs/scaling.md on a Dask cluster of local processes, whose workers have a separate folder."""

import random
import re
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path

import psutil
import pytest

from conftest import (
    ENVIRONMENT,
    ROOT,
    WorkingCopy,
    clone,
    descendants,
    free_port,
    kill,
    missing,
    no_memory_for_large_networks,
    stored,
    workers_of,
)
from faults.record import LONG, record
from mlp.house_features import FEATURES
from mlp.spec import Architecture, Settings
from pipeline import jobs
from pipeline.store import code
from pipeline.training import prices

COMMANDS = re.findall(r"^```sh\n(.*?)\n```$", (ROOT / "docs/scaling.md").read_text(), re.MULTILINE | re.DOTALL)
SCHEDULER, WORKERS, REPRO, CERTIFICATE, TLS = (
    next(command for command in COMMANDS if part in command)
    for part in ("dask scheduler", "dask worker", "DASK_SCHEDULER_ADDRESS", "openssl", "__TLS__")
)
ADDRESS = "tcp://127.0.0.1:8786"  # in the document
AT_ONCE = "export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0"  # a task fails after one dead worker, not four


class Cluster:
    """A scheduler and two workers, started in a clone without data after the commands in `setup`."""

    def __init__(self, clone: WorkingCopy, folder: Path, scheme: str = "tcp", setup: str = "") -> None:
        port = free_port()
        self.address, self.folder, self.log = f"{scheme}://127.0.0.1:{port}", folder, folder / "dask.log"
        self.setup = setup
        self.scheduler = self.start(SCHEDULER.replace("8786", str(port)) + " --no-dashboard", clone.path)
        workers = WORKERS.replace(ADDRESS, self.address)
        self.workers = self.start(f"{workers} --no-dashboard --local-directory {folder}", clone.path)
        self.wait_for(lambda: self.log.read_text().count("Starting worker compute stream") == 2)

    def start(self, command: str, folder: Path) -> subprocess.Popen[bytes]:
        command = f"set -e\n{self.setup}\nexec env {command}"
        with self.log.open("ab") as log:
            return subprocess.Popen(["bash", "-c", command], cwd=folder, env=ENVIRONMENT, stderr=log)

    def close(self) -> None:
        for process in (self.workers, self.scheduler):
            kill(process)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        for _ in range(600):
            if condition():
                return
            time.sleep(0.1)
        pytest.fail(self.log.read_text())


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    if not find_spec("distributed"):
        missing("Dask")
    return clone(tmp_path_factory.mktemp("bare") / "clone")


@pytest.fixture
def cluster(bare: WorkingCopy, tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "dask").mkdir()
    with closing(Cluster(bare, tmp_path / "dask")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """A clone with the networks on house prices, trained one at a time without a store."""
    return trained(tmp_path_factory.mktemp("undisturbed") / "clone", seeds=[0, 1, 2], epochs=30)


def trained(path: Path, seeds: list[int], epochs: int) -> WorkingCopy:
    """Returns a clone in which four networks are trained for each seed."""
    copy = clone(path)
    copy.edit_params(seeds=seeds, train_prices=copy.params()["train_prices"] | {"epochs": epochs})
    (copy.path / "dvc.lock").unlink()
    copy.run("dvc repro train_prices", MLP_WORKERS="1", MLP_STORE="off")
    copy.commit("Trained")
    return copy


@pytest.fixture
def copy(undisturbed: WorkingCopy, tmp_path: Path) -> WorkingCopy:
    return without_networks(undisturbed, tmp_path / "copy")


def without_networks(original: WorkingCopy, path: Path) -> WorkingCopy:
    original.run(f"cp -r . {path}")
    copy = WorkingCopy(path)
    copy.run("rm -rf models store .dvc/cache/runs && dvc gc -wf -q && git checkout -q .")
    return copy


FORCED = "dvc repro -s -f train_prices"


def lock(copy: WorkingCopy) -> str:
    return (copy.path / "dvc.lock").read_text()


def start(copy: WorkingCopy, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["python", "-m", "stages.train_prices"],
        cwd=copy.path,
        env=ENVIRONMENT | {"MLP_STORE": str(copy.path / "store")} | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_all_cores_give_the_same_lock_file_as_one(copy: WorkingCopy, undisturbed: WorkingCopy) -> None:
    copy.run(FORCED, MLP_WORKERS="2", MLP_STORE="off")
    assert lock(copy) == lock(undisturbed)


def test_a_cluster_gives_the_same_lock_file_and_gets_each_file_once(
    copy: WorkingCopy, undisturbed: WorkingCopy, cluster: Cluster
) -> None:
    command = REPRO.replace(ADDRESS, cluster.address).replace("dvc repro", FORCED)
    copy.run(command, MLP_STORE="off")
    assert lock(copy) == lock(undisturbed)
    files = [path.name for path in cluster.folder.rglob("*") if re.fullmatch("[0-9a-f]{64}", path.name)]
    assert len(set(files)) == 2  # with and without large houses
    assert len(files) <= 4  # on two workers


def test_the_rest_of_a_killed_training_runs_on_the_cluster_to_the_same_lock_file(
    copy: WorkingCopy, undisturbed: WorkingCopy, cluster: Cluster
) -> None:
    stage = start(copy, MLP_WORKERS="1")
    cluster.wait_for(lambda: len(stored(copy.path)) >= 3)
    stage.send_signal(signal.SIGKILL)
    stage.communicate()
    half = stored(copy.path)
    assert 3 <= len(half) < 12
    copy.run(FORCED, DASK_SCHEDULER_ADDRESS=cluster.address, MLP_STORE=str(copy.path / "store"))
    assert lock(copy) == lock(undisturbed)
    assert half.items() < stored(copy.path).items()
    assert len(stored(copy.path)) == 12


def test_killed_workers_lose_no_network_and_change_no_byte(
    copy: WorkingCopy, undisturbed: WorkingCopy, cluster: Cluster
) -> None:
    stage = start(copy, DASK_SCHEDULER_ADDRESS=cluster.address)
    for enough in (1, 5):
        cluster.wait_for(lambda enough=enough: len(stored(copy.path)) >= enough)  # type: ignore[misc]
        for process in workers_of(cluster.workers.pid):
            process.kill()
    assert stage.wait() == 0, stage.communicate()
    copy.run(FORCED, MLP_STORE=str(copy.path / "store"))
    assert lock(copy) == lock(undisturbed)


def test_a_network_that_always_kills_its_worker_is_named_and_all_others_are_kept(
    copy: WorkingCopy, bare: WorkingCopy, tmp_path: Path
) -> None:
    copy.edit_params(seeds=[0], train_prices=copy.params()["train_prices"] | {"deep_hidden": [9000, 9000]})
    (tmp_path / "dask").mkdir()
    with (
        closing(Cluster(bare, tmp_path / "dask", setup=AT_ONCE)) as cluster,
        no_memory_for_large_networks(cluster.workers.pid),
    ):
        stage = start(copy, DASK_SCHEDULER_ADDRESS=cluster.address)
        _, said = stage.communicate()
    assert stage.returncode == 1
    assert said.splitlines()[-1] == (
        "train_prices: DeepNeuralNet(16, [9000, 9000], 1), seed 0: its process was killed 3 times, "
        "possibly out of memory; all other networks are kept"
    )
    assert len(stored(copy.path)) == 2  # the shallow ones


def test_a_file_that_a_killed_worker_did_not_get_is_sent_again(
    copy: WorkingCopy, bare: WorkingCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import cluster as dask  # imports Dask

    monkeypatch.chdir(copy.path)
    architecture = Architecture("ShallowNeuralNet", [len(FEATURES), 3, 1])
    (job,) = prices.jobs("all", architecture, Settings(epochs=1, batch_size=64, learning_rate=0.001), [0])
    (tmp_path / "dask").mkdir()
    with closing(Cluster(bare, tmp_path / "dask", setup=AT_ONCE)) as cluster:
        client = dask._client(cluster.address)
        busy = client.map(time.sleep, [1000, 1001])
        cluster.wait_for(lambda: sum(map(len, client.processing().values())) == 2)
        file = dask._shipped(client, job.training[0])
        cluster.wait_for(lambda: sum(map(len, client.processing().values())) == 3)
        for process in workers_of(cluster.workers.pid):
            process.kill()
        cluster.wait_for(lambda: {each.status for each in [file, *busy]} == {"error"})
        there = dask.submit(cluster.address, jobs.train, [job], code(job.kind)).result(timeout=120)
        client.close()
    assert there == jobs.train([job], code(job.kind))


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_scheduler_is_reported_within_30_seconds_and_finished_networks_are_kept(
    copy: WorkingCopy, cluster: Cluster, sign: signal.Signals
) -> None:
    stage = start(copy, DASK_SCHEDULER_ADDRESS=cluster.address)
    cluster.wait_for(lambda: len(stored(copy.path)) >= 1)
    cluster.scheduler.send_signal(sign)
    _, errors = stage.communicate(timeout=30)
    assert stage.returncode == 1
    assert "Traceback" not in errors
    assert re.search(r"Dask .*finished is in the store$", errors.strip().splitlines()[-1]), errors
    assert stored(copy.path)


def test_a_connection_that_breaks_while_a_network_is_fetched_is_reported(copy: WorkingCopy, cluster: Cluster) -> None:
    with disconnected_by(b"\xa2op\xa6gather", cluster.address) as address:
        stage = start(copy, DASK_SCHEDULER_ADDRESS=address)
        _, errors = stage.communicate(timeout=60)
    assert stage.returncode == 1
    assert "Traceback" not in errors
    assert errors.strip().splitlines()[-1] == (
        "train_prices: the Dask cluster has lost its job; what was finished is in the store"
    )
    assert 9 <= len(stored(copy.path)) < 12  # several may be fetched at once


@contextmanager
def disconnected_by(message: bytes, address: str) -> Iterator[str]:
    """Yields an address that forwards to another, and closes the first connection on which the message is sent."""
    port = int(address.rpartition(":")[2])
    cut = threading.Event()

    def forward(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 20):
                if message in data and not cut.is_set():
                    cut.set()
                    break
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)  # so the thread of the other direction ends too

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as there:
                back = threading.Thread(target=forward, args=(there, self.request))
                back.start()
                forward(self.request, there)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forward) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"tcp://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    "address",
    [
        "foo",
        "tcp://",
        "tcp://:::",
        "tcp://..:80",
        "tcp://[::1:80",
        "http://127.0.0.1:80",
        "inproc://",
        "/etc/passwd",
        "tcp://127.0.0.1:abc",
    ],
)
def test_an_invalid_scheduler_address_is_rejected_at_once(address: str, copy: WorkingCopy) -> None:
    stage = start(copy, DASK_SCHEDULER_ADDRESS=address)
    _, errors = stage.communicate(timeout=20)
    assert stage.returncode == 1
    assert f"DASK_SCHEDULER_ADDRESS is '{address}'; allowed: the address of a scheduler, such as tcp://" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        (
            {"DASK_SCHEDULER_ADDRESS": "tls://127.0.0.1:9"},
            "DASK_SCHEDULER_ADDRESS is 'tls://127.0.0.1:9', but Dask is not configured to use a certificate; see docs",
        ),
        (
            {"DASK_SCHEDULER_ADDRESS": "127.0.0.1:9", "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"},
            "DASK_SCHEDULER_ADDRESS is '127.0.0.1:9', but Dask is configured to require encryption; needed: an address",
        ),
        (
            {
                "DASK_SCHEDULER_ADDRESS": "tls://127.0.0.1:9",
                "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": "/missing.pem",
                "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": "/missing.pem",
            },
            "but a certificate of Dask's configuration cannot be read: ",
        ),
    ],
)
def test_encryption_that_does_not_fit_the_address_is_reported_at_once(
    environment: dict[str, str], line: str, copy: WorkingCopy
) -> None:
    stage = start(copy, **environment)
    _, errors = stage.communicate(timeout=20)
    assert stage.returncode == 1
    assert line in errors
    assert "Traceback" not in errors


def test_a_scheduler_that_cannot_be_reached_is_reported_within_30_seconds(copy: WorkingCopy) -> None:
    stage = start(copy, DASK_SCHEDULER_ADDRESS="tcp://127.0.0.1:9")
    _, errors = stage.communicate(timeout=30)
    assert stage.returncode == 1
    assert "DASK_SCHEDULER_ADDRESS is 'tcp://127.0.0.1:9': no scheduler answers there" in errors
    assert "Traceback" not in errors


def test_a_worker_with_different_code_is_rejected(copy: WorkingCopy, cluster: Cluster) -> None:
    with (copy.path / "mlp/training.py").open("a") as file:
        file.write("# changed\n")
    stage = start(copy, DASK_SCHEDULER_ADDRESS=cluster.address)
    _, errors = stage.communicate()
    assert stage.returncode == 1
    assert not stored(copy.path)
    assert "other code or other libraries; needed: the same commit and the same lock file" in errors


SEEDS = list(range(50 if LONG else 8))
KILLS = 40 if LONG else 3


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """Like `undisturbed`, but with more networks, each trained in a moment."""
    return trained(tmp_path_factory.mktemp("many") / "clone", SEEDS, epochs=10)


@pytest.mark.timeout(7200)  # the long form, on a busy machine
@pytest.mark.parametrize("where", ["the pool", "a Dask cluster"])
def test_kills_at_random_moments_lose_repeat_and_change_nothing(
    where: str, many: WorkingCopy, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    copy = without_networks(many, tmp_path / "copy")
    environment = ENVIRONMENT | {"MLP_WORKERS": "2", "MLP_STORE": str(copy.path / "store")}
    cluster: Cluster | None = request.getfixturevalue("cluster") if where == "a Dask cluster" else None
    if cluster:
        environment["DASK_SCHEDULER_ADDRESS"] = cluster.address
    moments, seen = random.Random(0), dict[str, int]()

    def repro() -> psutil.Popen:
        return psutil.Popen(FORCED.split(), cwd=copy.path, env=environment)

    def watch(dvc: psutil.Popen, more: int, seconds: float = 0) -> None:
        """Waits for `more` networks and `seconds`, or until DVC exits; finished networks must not change."""
        count, moment = len(seen) + more, time.monotonic() + seconds
        while dvc.poll() is None and (len(seen) < count or time.monotonic() < moment):
            look()
            time.sleep(0.05)

    def look() -> None:
        found = stored(copy.path)
        assert seen.items() <= found.items()
        seen.update(found)

    dvc = repro()
    for victim in islice(cycle(["worker", "stage", "DVC"]), KILLS):
        if dvc.poll() is not None:
            dvc = repro()
        watch(dvc, moments.randrange(5), moments.random())
        while not (victims := processes(victim, dvc, cluster)):
            assert dvc.poll() is None, "there are too few networks for so many kills"
            time.sleep(0.05)
        started = [dvc, *dvc.children(recursive=True)]
        moments.choice(victims).kill()
        if victim != "worker":
            _, alive = psutil.wait_procs(started, timeout=120)
            assert not alive
    watch(dvc, len(SEEDS) * 4)
    if dvc.wait() != 0:
        dvc = repro()
        watch(dvc, len(SEEDS) * 4)
    assert dvc.wait() == 0
    look()
    assert len(seen) == len(SEEDS) * 4
    assert lock(copy) == lock(many)
    record(f"kill -9 of a worker, a stage or DVC while {len(seen)} networks train on {where}", KILLS, as_asked=KILLS)


def processes(victim: str, dvc: psutil.Popen, cluster: Cluster | None) -> list[psutil.Process]:
    match victim:
        case "DVC":
            return [dvc]
        case "stage":
            return descendants(dvc.pid, "-m stages.train_prices")[:1]  # without its child, which holds a lock
        case _:
            return workers_of(cluster.workers.pid if cluster else dvc.pid)


@pytest.fixture
def encrypted(bare: WorkingCopy, tmp_path: Path) -> Iterator[Cluster]:
    bare.run(CERTIFICATE, HOME=str(tmp_path))
    (tmp_path / "dask").mkdir()
    with closing(Cluster(bare, tmp_path / "dask", "tls", f"HOME={tmp_path}\n{TLS}")) as cluster:
        yield cluster


def test_with_tls_a_cluster_gives_the_same_lock_file_and_rejects_another_certificate(
    copy: WorkingCopy, undisturbed: WorkingCopy, encrypted: Cluster, tmp_path: Path
) -> None:
    repro = REPRO.replace(ADDRESS, encrypted.address).replace("dvc repro", FORCED)
    copy.run(f"{encrypted.setup}\n{repro}", MLP_STORE="off")
    assert lock(copy) == lock(undisturbed)
    assert "tcp://" not in encrypted.log.read_text()
    (tmp_path / "stranger").mkdir()
    start, train = time.monotonic(), f"DASK_SCHEDULER_ADDRESS={encrypted.address} python -m stages.train_prices"
    done = copy.run(f"{CERTIFICATE}\n{TLS}\n{train}", check=False, HOME=str(tmp_path / "stranger"), MLP_STORE="off")
    assert time.monotonic() - start < 30
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"DASK_SCHEDULER_ADDRESS is '{encrypted.address}': no scheduler answers there (")
    assert "Traceback" not in done.stderr


def test_the_benchmark_times_jobs_on_the_pool_and_on_a_cluster(
    undisturbed: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not find_spec("distributed"):
        missing("Dask")
    from benchmarks import jobs as benchmark  # imports Dask

    monkeypatch.chdir(undisturbed.path)
    monkeypatch.setattr(benchmark, "REPEATS", 1)
    for name in ("MLP_WORKERS", "MLP_STORE", "DASK_SCHEDULER_ADDRESS"):  # the benchmark sets these
        monkeypatch.setenv(name, "")
    few = prices.jobs("all", Architecture("ShallowNeuralNet", [len(FEATURES), 8, 1]), Settings(1, 64, 0.001), [0, 1])
    with benchmark.cluster(1) as one, benchmark.cluster(2) as two:
        places = {"the pool": ["", ""], "a Dask cluster": [one.scheduler_address, two.scheduler_address]}
        rows = benchmark.measure("house prices", few, places)
    assert [(what, where) for what, where, *_ in rows] == [("house prices", where) for where in places]
    for _, _, training, overhead, dispatch, efficiency, _ in rows:
        assert min(training, training + overhead, dispatch, efficiency) > 0
