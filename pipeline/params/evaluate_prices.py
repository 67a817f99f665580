"""Ridge regression, a baseline for the networks on house prices."""

from pipeline.params import Group, Penalties


class EvaluatePrices(Group):
    ridge_penalties: Penalties
