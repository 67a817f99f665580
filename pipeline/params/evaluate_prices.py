"""What the networks on house prices are compared with."""

from pipeline.params import Group, Penalties


class EvaluatePrices(Group):
    ridge_penalties: Penalties
