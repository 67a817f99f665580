"""The errors that are the user's to mend."""

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(Exception):
    """Something from outside is wrong. Its text is whole lines: the file or key, the value, and what would be right."""


class DivergedError(InputError):
    """A training whose loss or parameters are not finite any more."""

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
    """Around the reading of a file that a stage wrote: raises InputError where it is missing, or not as it was written.

    The block raises ValueError for what is not fit for use.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing; run `dvc repro`") from error
    except Exception as error:  # on a damaged file, parsers raise whatever they do
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):  # too many open files
            raise
        reason = shortened((isinstance(error, OSError) and error.strerror) or str(error), 300)
        raise InputError(f"{path}: not as a stage wrote it ({reason}); delete it and run `dvc repro`") from error


def shortened(text: str, most: int = 100) -> str:
    """Text from outside for one line of a message: printable, without line ends, and cut off where it is long."""
    visible = "".join(letter if letter.isprintable() else " " for letter in text[:most])
    return " ".join(visible.split()) + ("..." if len(text) > most else "")


def need_file(path: Path) -> None:
    """Raises InputError for a folder, and for a pipe or device, which may never end. OSError where there is nothing."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{path}: not a regular file; needed: one, and no folder, pipe or device")
