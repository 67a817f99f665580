"""Limits on the CPU time and memory of a single try."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

SECONDS = 10  # of CPU time: elapsed time depends on the load, and pytest's timeout ends a try that hangs
BYTES = 1_000_000_000


@contextmanager
def bounded() -> Iterator[None]:
    """Fails if the block takes more than SECONDS, or this process grows by more than BYTES (checked on Linux only)."""
    peak = Path("/proc/self/clear_refs")
    if peak.exists():
        peak.write_text("5", encoding="utf-8")  # resets the peak to the current memory
    before, start = psutil.Process().memory_info().rss, time.process_time()
    yield
    assert time.process_time() - start < SECONDS
    if peak.exists():
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        (kilobytes,) = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
        assert int(kilobytes) * 1024 - before < BYTES
