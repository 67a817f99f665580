"""Errors that the user can fix."""

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(Exception):
    """Invalid input. The message is whole lines: the file or key, the value, and what would be valid."""


class DivergedError(InputError):
    """A loss, parameter or second moment is no longer finite in training."""

    def __init__(self, network: str, seed: int, epoch: int, learning_rate: float) -> None:
        super().__init__(network, seed, epoch, learning_rate)
        self.network, self.seed, self.epoch, self.learning_rate = network, seed, epoch, learning_rate

    def __str__(self) -> str:
        return (
            f"{self.network}, seed {self.seed}: loss or weights are not finite after epoch {self.epoch}, "
            f"at learning rate {self.learning_rate}"
        )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Wraps code that reads a file written by a stage: raises InputError if the file is missing or damaged.

    The wrapped code raises ValueError for invalid content.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing; run `dvc repro`") from error
    except Exception as error:  # on damaged files, parsers raise exceptions of any class
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):  # too many open files
            raise
        reason = shortened((isinstance(error, OSError) and error.strerror) or str(error), 300)
        raise InputError(f"{path}: not as a stage wrote it ({reason}); delete it and run `dvc repro`") from error


def shortened(text: str, most: int = 100) -> str:
    """Returns external text for use in one line of a message: printable, without line breaks, truncated if long."""
    visible = "".join(letter if letter.isprintable() else " " for letter in text[:most])
    return " ".join(visible.split()) + ("..." if len(text) > most else "")


def require_file(path: Path) -> None:
    """Raises InputError for a folder, and for a pipe or device, which may never end; OSError if it is missing."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{path}: not a regular file; needed: one, and no folder, pipe or device")
