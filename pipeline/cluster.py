"""Runs jobs on a Dask cluster, whose workers need the project's code and share no folder with this process."""

import asyncio
import re
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import cache, partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from distributed import Client, Security, get_worker
from distributed.comm import CommClosedError

from mlp.errors import InputError
from pipeline.training import File, Job, Locate, file

TIMEOUT = 20  # seconds to wait for an answer from the scheduler

Train = Callable[[list[Job], str, Locate], list[bytes]]


def submit(address: str, train: Train, alike: list[Job], code: str) -> "Future[list[bytes]]":
    """Submits jobs that differ only in their seeds. Raises InputError if the scheduler cannot be used."""
    client = _client(address)
    files = [*alike[0].training, *filter(None, [alike[0].validation])]
    shipped = {each.sha256: _shipped(client, each) for each in files}
    future = client.submit(_train, train, alike, code, shipped, pure=False)
    return asyncio.run_coroutine_threadsafe(_result(future), client.loop.asyncio_loop)


async def _result(future: Awaitable[list[bytes]]) -> list[bytes]:
    """Waits for a job. Unlike Dask's executor, this also ends if the connection breaks while the result is fetched."""
    try:
        return await future
    except CommClosedError as error:
        raise asyncio.CancelledError from error


def cores(address: str) -> int:
    """Returns the number of cores of all workers. Raises InputError if the scheduler no longer answers."""
    client = _client(address)
    try:
        return sum(client.sync(client.scheduler.ncores, callback_timeout=TIMEOUT).values())
    except Exception as error:  # connection errors, and those of a client that has given up
        raise InputError(f"the Dask scheduler at {address} is gone; what was finished is in the store") from error


@cache
def _client(address: str) -> Client:
    given = f"DASK_SCHEDULER_ADDRESS is {address!r}"
    if not re.fullmatch(r"((tcp|tls)://)?([\w-]{1,63}(\.[\w-]{1,63})*|\[[\da-fA-F:.]+\]):\d{1,5}", address):
        raise InputError(f"{given}; allowed: the address of a scheduler, such as tcp://127.0.0.1:8786")
    # checked here, because a client that cannot connect prints a traceback when it is deleted, after two timeouts
    security = Security()  # Dask's configuration
    try:
        certified = security.get_connection_args("client")["ssl_context"] is not None
    except OSError as error:
        raise InputError(f"{given}, but a certificate of Dask's configuration cannot be read: {error}") from error
    if address.startswith("tls:") and not certified:
        raise InputError(f"{given}, but Dask is not configured to use a certificate; see docs/scaling.md")
    if not address.startswith("tls:") and security.require_encryption:
        raise InputError(f"{given}, but Dask is configured to require encryption; needed: an address with tls://")
    try:
        client = Client(address, timeout=TIMEOUT, set_as_default=False)
        client.run_on_scheduler(import_module, __name__)
        return client
    except ImportError as error:
        raise InputError(f"the Dask scheduler at {address} cannot import the project; start it in a clone") from error
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{given}: no scheduler answers there ({reason})") from error


def _shipped(client: Client, each: File) -> Any:
    """Submits a file as a separate task: a worker fetches it once, from another that has it, and it outlives them all.

    Resubmits a task that failed because its worker was killed.
    """
    sent = (_sent(client, each, attempt) for attempt in count())
    return next(future for future in sent if future.status != "error")


@cache
def _sent(client: Client, each: File, attempt: int) -> Any:
    with warnings.catch_warnings(action="ignore"):  # Dask warns about large files
        return client.submit(bytes, Path(each.path).read_bytes(), key=f"file-{each.sha256}-{attempt}")


def _train(train: Train, alike: list[Job], code: str, shipped: dict[str, bytes]) -> list[bytes]:
    import torch  # the submitting process need not wait for it

    torch.set_num_threads(1)
    return train(alike, code, partial(_locate, shipped))


def _locate(shipped: dict[str, bytes], expected: File) -> Path:
    path = Path(get_worker().local_directory, expected.sha256)
    if not path.exists() or file(str(path)).sha256 != expected.sha256:
        path.write_bytes(shipped[expected.sha256])
    return path
