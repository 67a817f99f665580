"""The binary network on house prices."""

from pipeline.params import Betas, Penalties, Training, Units


class TrainBinary(Training):
    hidden: Units
    betas: Betas
    l1_penalties: Penalties
