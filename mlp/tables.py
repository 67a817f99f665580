"""Tables with which mlp/exact.py computes exp and log, each number correctly rounded from sixty digits."""

from decimal import Context, Decimal

import numpy as np
from numpy.typing import NDArray

MIN_EXPONENT, MAX_EXPONENT = -746, 710  # in float64, e^MIN_EXPONENT is 0 and e^MAX_EXPONENT is infinite
PARTS = 4096  # entries of EXP_PART, with exponents from 0 in steps of 1/4096
FIRST, LAST, STEPS = 90, 182, 128  # LOG has the logarithms of 90/128, 91/128, ..., 182/128

_DIGITS = Context(prec=60)


def _powers(base: Decimal, first: int, last: int) -> NDArray[np.float64]:
    powers = [_DIGITS.power(base, first)]
    while len(powers) <= last - first:
        powers.append(_DIGITS.multiply(powers[-1], base))
    return np.array([float(power) for power in powers])


EXP = _powers(_DIGITS.exp(Decimal(1)), MIN_EXPONENT, MAX_EXPONENT)
EXP_PART = _powers(_DIGITS.exp(1 / Decimal(PARTS)), 0, PARTS - 1)
LOG = np.array([float(_DIGITS.ln(Decimal(n) / STEPS)) for n in range(FIRST, LAST + 1)])
LOG_2 = float(_DIGITS.ln(Decimal(2)))
