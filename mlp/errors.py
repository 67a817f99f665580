"""The errors that are the user's to mend."""


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
