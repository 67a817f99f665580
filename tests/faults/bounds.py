"""What a try may take, whatever it is given."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

SECONDS = 10  # of computing: on a busy machine it takes longer, and what waits for ever has the timeout of all tests
BYTES = 1_000_000_000


@contextmanager
def bounded() -> Iterator[None]:
    """Fails where the block takes longer, or where this process grows further. Only Linux tells the latter."""
    peak = Path("/proc/self/clear_refs")
    if peak.exists():
        peak.write_text("5", encoding="utf-8")  # the highest so far is what it has now
    before, start = psutil.Process().memory_info().rss, time.process_time()
    yield
    assert time.process_time() - start < SECONDS
    if peak.exists():
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        (kilobytes,) = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
        assert int(kilobytes) * 1024 - before < BYTES
