"""The errors that are the user's to mend."""

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

    What is not fit for use is told with a ValueError.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing; run `dvc repro`") from error
    except Exception as error:  # on a damaged file, parsers raise whatever they do
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())[:300]
        raise InputError(f"{path}: not as a stage wrote it ({reason}); delete it and run `dvc repro`") from error
