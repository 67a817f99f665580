"""Follows docs/sharing.md with a real folder, a real SSH server and a real S3 server, all on this machine."""

import hashlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import pytest
import yaml

from conftest import ENVIRONMENT, ROOT, WorkingCopy, free_port, kill, missing, with_environment

DOCUMENT = (ROOT / "docs/sharing.md").read_text()
COMMANDS: dict[str, str] = dict(
    re.findall(r"^## ([^\n]*)\n(?:(?!^## ).)*?^```sh\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
)
PUSH, PULL = COMMANDS["Push"], COMMANDS["Pull"].splitlines()[0]
USER = pwd.getpwuid(os.geteuid()).pw_name
LARGE = 128 * 2**20  # bytes, so that a push takes long enough to be interrupted


class Server:
    """A program that listens on a port of this machine."""

    def __init__(self, *command: str | Path, port: int, log: Path, **environment: str) -> None:
        self.command, self.port, self.log, self.environment = command, port, log, environment
        self.start()

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self.command, env=os.environ | self.environment, stdout=log, stderr=log)
        while True:
            assert self.process.poll() is None, self.log.read_text()
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.01)


class Remote(NamedTuple):
    recipe: str  # the document's commands, with the local server's address
    home: Path  # of the user who runs them
    files: Any  # the remote's file system, accessed without DVC
    root: str  # path of DVC's files in it
    disk: Path  # local folder in which their bytes are stored
    server: Server | None = None
    key: str = ""
    wrong_key: str = ""
    refusal: str = ""  # error message for the wrong key


def program(name: str) -> str:
    return shutil.which(name, path=f"{ENVIRONMENT['PATH']}{os.pathsep}/usr/sbin") or missing(name)


def commands_here(heading: str, places: dict[str, str]) -> str:
    """Returns the commands below a heading of the document, with the example's places replaced by local ones."""
    commands = COMMANDS[heading]
    for example, place in places.items():
        assert example in commands
        commands = commands.replace(example, place)
    return commands


def folder(home: Path) -> Remote:
    disk = home / "dvc-shared"
    return Remote(COMMANDS["A folder"], home, fsspec.filesystem("file"), str(disk), disk)


def ssh(home: Path) -> Remote:
    sshd, keygen = program("sshd"), program("ssh-keygen")
    if find_spec("dvc_ssh") is None:
        missing("dvc-ssh")
    (home / ".ssh").mkdir()
    for key in ["host", "id_ed25519", "wrong"]:
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", home / ".ssh" / key], check=True)
    port, disk, is_root = free_port(), home / "store", os.geteuid() == 0
    # StrictModes would reject keys below /tmp, which is world-writable.
    # Without PAM, sshd treats an account as locked if it may not read its password.
    (home / "sshd_config").write_text(f"""
        ListenAddress 127.0.0.1
        Port {port}
        PidFile none
        HostKey {home}/.ssh/host
        AuthorizedKeysFile {home}/.ssh/id_ed25519.pub
        PasswordAuthentication no
        UsePAM {"no" if is_root else "yes"}
        StrictModes no
        Subsystem sftp internal-sftp
        LogLevel DEBUG
    """)
    if is_root:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd needs it to run as root; Debian creates it at boot
    server = Server(sshd, "-D", "-e", "-f", home / "sshd_config", port=port, log=home / "sshd.log")
    recipe = commands_here(
        "A machine that you reach by SSH",
        {"you@storage.example.org:22/srv/dvc": f"{USER}@127.0.0.1:{port}{disk}"},
    )
    key, wrong_key = "~/.ssh/id_ed25519", "~/.ssh/wrong"
    local = fsspec.filesystem("file")
    return Remote(recipe, home, local, str(disk), disk, server, key, wrong_key, "Permission denied")


def s3(home: Path) -> Remote:
    juicefs = program("juicefs")
    if find_spec("dvc_s3") is None:
        missing("dvc-s3")
    port, disk, volume = free_port(), home / "store", f"sqlite3://{home}/volume.db"
    subprocess.run(
        [juicefs, "format", "--storage", "file", "--bucket", f"{disk}/", volume, "bucket"],
        check=True,
        capture_output=True,
    )
    server = Server(
        *[juicefs, "gateway", volume, f"127.0.0.1:{port}", "--metrics", f"127.0.0.1:{free_port()}"],
        *["--cache-dir", f"{home}/cache", "--no-usage-report"],
        port=port,
        log=home / "juicefs.log",
        MINIO_ROOT_USER="your-key",
        MINIO_ROOT_PASSWORD="your-secret",
    )
    endpoint = f"http://127.0.0.1:{port}"
    recipe = commands_here("An S3 bucket", {"https://s3.example.org": endpoint})
    files = fsspec.filesystem(
        "s3", key="your-key", secret="your-secret", endpoint_url=endpoint, use_listings_cache=False
    )
    return Remote(recipe, home, files, "bucket/dvc", disk, server, "your-secret", "not-your-secret", "Forbidden")


KINDS: dict[str, Callable[[Path], Remote]] = {"folder": folder, "ssh": ssh, "s3": s3}


@pytest.fixture(params=KINDS)
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Remote]:
    home = tmp_path / "home"
    home.mkdir()
    remote = KINDS[request.param](home)
    yield remote
    if remote.server:
        kill(remote.server.process)


@pytest.fixture
def shared(subset: WorkingCopy, remote: Remote) -> WorkingCopy:
    """A working copy that has pushed everything."""
    join(subset, remote)
    subset.run(PUSH, HOME=str(remote.home))
    return subset


def join(copy: WorkingCopy, remote: Remote) -> None:
    with_environment(copy)
    copy.run(f"set -e\n{remote.recipe}", HOME=str(remote.home))


def clone(copy: WorkingCopy, remote: Remote) -> WorkingCopy:
    """Returns a fresh clone with the remote configured."""
    copy.run(f"git clone -q . {remote.home / 'clone'}")
    other = WorkingCopy(remote.home / "clone")
    join(other, remote)
    return other


def hash_of(copy: WorkingCopy, path: str) -> str:
    """Returns the hash of an output in dvc.lock."""
    stages = yaml.safe_load((copy.path / "dvc.lock").read_text())["stages"].values()
    [md5] = [out["md5"] for stage in stages for out in stage.get("outs", []) if out["path"] == path]
    return str(md5)


def has_everything(copy: WorkingCopy, remote: Remote) -> bool:
    copy.run(PULL, HOME=str(remote.home))
    return copy.stages_run_by("dvc repro") == [] and copy.status() == ""


def objects(remote: Remote) -> list[str]:
    """Returns the files on a remote that are named after their hash, without those still being written.

    An S3 server that was killed between creating a folder and its first file lists the folder, with a trailing "/".
    """
    found = remote.files.find(f"{remote.root}/files/md5")
    return [name for name in found if not name.endswith((".tmp", "/"))]


def is_whole(remote: Remote, name: str) -> bool:
    folder, _, file = name.removesuffix(".dir").rpartition("/")
    return bool(hashlib.md5(remote.files.cat_file(name)).hexdigest() == folder[-2:] + file)


def flip(remote: Remote, md5: str, position: Callable[[bytes], int]) -> None:
    """Flips one bit of an object and changes nothing else."""
    name = f"{remote.root}/files/md5/{md5[:2]}/{md5[2:]}"
    content = bytearray(remote.files.cat_file(name))
    content[position(bytes(content))] ^= 1
    remote.files.rm_file(name)
    remote.files.pipe_file(name, bytes(content))
    if Path(name).exists():
        Path(name).chmod(0o444)  # as set by DVC, which checks the hash only if the mode differs


def stored(folder: Path) -> int:
    """Returns the total size in bytes of a folder's files, some of which may be renamed meanwhile."""
    total = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def test_every_command_of_the_document_is_tested_here() -> None:
    assert len(COMMANDS) == DOCUMENT.count("```sh")


def test_after_a_pull_a_fresh_clone_runs_nothing(shared: WorkingCopy, remote: Remote) -> None:
    assert has_everything(clone(shared, remote), remote)


def test_a_flipped_bit_is_rejected_until_the_remote_is_rebuilt(shared: WorkingCopy, remote: Remote) -> None:
    flip(remote, hash_of(shared, "data/processed/train.safetensors"), lambda content: len(content) // 2)
    flip(remote, hash_of(shared, "models/shallow"), lambda listing: listing.index(b"seed-0"))
    other = clone(shared, remote)
    pull = other.run(PULL, check=False, HOME=str(remote.home))
    assert pull.returncode != 0
    assert {"data/processed/train.safetensors", "models/shallow"} <= set(pull.stderr.splitlines())
    assert not (other.path / "data/processed/train.safetensors").exists()
    assert not (other.path / "models/shallow").exists()
    shared.run(PUSH, HOME=str(remote.home))
    assert [is_whole(remote, name) for name in objects(remote)].count(False) == 2
    for name in objects(remote):
        remote.files.rm_file(name)
    shared.run(PUSH, HOME=str(remote.home))
    assert has_everything(other, remote)


@pytest.mark.parametrize("remote", ["ssh", "s3"], indirect=True)  # a folder has no key, and root ignores permissions
def test_a_wrong_key_is_rejected(subset: WorkingCopy, remote: Remote) -> None:
    join(subset, remote._replace(recipe=remote.recipe.replace(remote.key, remote.wrong_key)))
    for command in [PUSH, PULL]:
        done = subset.run(command, check=False, HOME=str(remote.home))
        assert done.returncode != 0
        assert remote.refusal in done.stderr
    assert objects(remote) == []


def test_an_interrupted_push_loses_nothing_and_the_next_completes_it(subset: WorkingCopy, remote: Remote) -> None:
    """Kills the server, or DVC itself for a folder, which has no server."""
    subset.run(f"yes | head -c {LARGE} > data/large && dvc add data/large")
    subset.commit("A file that takes its time")
    join(subset, remote)
    state = "find .dvc/cache -type f -exec md5sum {} + | sort; git status --porcelain"
    before = subset.run(state).stdout
    push = subprocess.Popen(
        ["bash", "-c", PUSH],
        cwd=subset.path,
        env=ENVIRONMENT | {"HOME": str(remote.home), "AWS_MAX_ATTEMPTS": "1"},  # else S3's client retries for long
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while stored(remote.disk) < LARGE // 8:
        assert push.poll() is None
    kill(remote.server.process if remote.server else push)
    assert push.wait() != 0
    if remote.server:
        remote.server.start()
    assert subset.run(state).stdout == before
    [large] = yaml.safe_load((subset.path / "data/large.dvc").read_text())["outs"]
    assert not any(name.endswith(large["md5"][2:]) for name in objects(remote))
    assert all(is_whole(remote, name) for name in objects(remote))
    subset.run(PUSH, HOME=str(remote.home))
    assert has_everything(clone(subset, remote), remote)


@pytest.mark.parametrize("remote", ["folder"], indirect=True)
def test_with_a_default_remote_a_modified_list_of_files_is_accepted(shared: WorkingCopy, remote: Remote) -> None:
    flip(remote, hash_of(shared, "models/shallow"), lambda listing: listing.index(b"seed-0"))
    other = clone(shared, remote)
    other.run("dvc remote default --local shared && dvc pull", HOME=str(remote.home))
    assert (other.path / "models/shallow/reed-0.safetensors").exists()


@pytest.mark.parametrize("remote", ["folder"], indirect=True)
def test_a_forged_run_cache_entry_is_accepted(shared: WorkingCopy, remote: Remote) -> None:
    other = clone(shared, remote)
    lock = yaml.safe_load((shared.path / "dvc.lock").read_text())
    shared.edit_params(preprocess={"validation_size": 200, "seed": 1})
    shared.run("dvc repro preprocess")
    shared.run(PUSH, HOME=str(remote.home))
    [answer] = [file for file in (remote.disk / "runs").glob("*/*/*") if "preprocess.seed: 1" in file.read_text()]
    forged = yaml.safe_load(answer.read_text()) | {"outs": lock["stages"]["preprocess"]["outs"]}
    answer.write_text(yaml.safe_dump(forged))

    other.run(PULL.replace("--run-cache", ""), HOME=str(remote.home))
    assert other.stages_run_by("dvc repro") == []
    other.run(PULL, HOME=str(remote.home))
    other.edit_params(preprocess={"validation_size": 200, "seed": 1})
    assert other.stages_run_by("dvc repro preprocess") == []
    assert hash_of(other, "data/processed/train.safetensors") != hash_of(shared, "data/processed/train.safetensors")
    other.run("git checkout dvc.lock")
    assert other.stages_run_by("dvc repro --no-run-cache preprocess") == ["preprocess"]
    assert hash_of(other, "data/processed/train.safetensors") == hash_of(shared, "data/processed/train.safetensors")


@pytest.mark.parametrize("remote", ["ssh"], indirect=True)
def test_ssh_verifies_the_servers_key_and_dvc_does_not(shared: WorkingCopy, remote: Remote) -> None:
    assert remote.server
    port, tunnel = remote.server.port, free_port()
    ssh_config, known_hosts = remote.home / "ssh_config", remote.home / ".ssh/known_hosts"
    other = clone(shared, remote)
    ssh_config.write_text(f"""
        HostName 127.0.0.1
        Port {port}
        HostKeyAlias storage.example.org
        UserKnownHostsFile {known_hosts}
        StrictHostKeyChecking yes
        IdentityFile {remote.home}/.ssh/id_ed25519
    """)
    commands = commands_here(
        "SSH over a network that you do not trust",
        {
            "ssh -f": f"ssh -F {ssh_config} -f",
            "2222:localhost:22": f"{tunnel}:127.0.0.1:{port}",
            "localhost:2222/srv/dvc": f"127.0.0.1:{tunnel}{remote.root}",
            "you@": f"{USER}@",
        },
    )

    def known(key: str) -> None:
        public = (remote.home / f".ssh/{key}.pub").read_text()
        known_hosts.write_text(f"storage.example.org {public}[127.0.0.1]:{port} {public}")

    known("wrong")
    other.run(PULL, HOME=str(remote.home))
    assert "Host key verification failed" in other.run(f"set -e\n{commands}", check=False).stderr
    known("host")
    shutil.rmtree(other.path / ".dvc/cache")
    other.run(f"set -e\n{commands}")
    assert has_everything(other, remote)


@pytest.mark.parametrize("remote", ["ssh"], indirect=True)
def test_dvc_forwards_the_ssh_agent_unless_it_is_hidden(subset: WorkingCopy, remote: Remote) -> None:
    assert remote.server
    with_environment(subset)
    for commands, lent in [(remote.recipe + PUSH, False), (PUSH, True)]:
        (subset.path / "commands").write_text(f"set -e\n{commands}")
        subset.run("ssh-agent bash commands", HOME=str(remote.home))
        assert ("auth-agent-req" in remote.server.log.read_text()) == lent
