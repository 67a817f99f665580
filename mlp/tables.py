"""Tables from which mlp/exact.py makes exp and log: each number correctly rounded from sixty digits."""

from decimal import Context, Decimal

import numpy as np
from numpy.typing import NDArray

LEAST, MOST = -746, 710  # e to the power of less is 0, to the power of more infinite
PARTS = 4096  # of the finer table of exp, within 1
FIRST, LAST, STEPS = 90, 182, 128  # of the table of log: from 90/128 to 182/128

_DIGITS = Context(prec=60)


def _powers(base: Decimal, first: int, last: int) -> NDArray[np.float64]:
    powers = [_DIGITS.power(base, first)]
    while len(powers) <= last - first:
        powers.append(_DIGITS.multiply(powers[-1], base))
    return np.array([float(power) for power in powers])


EXP = _powers(_DIGITS.exp(Decimal(1)), LEAST, MOST)
EXP_PART = _powers(_DIGITS.exp(1 / Decimal(PARTS)), 0, PARTS - 1)
LOG = np.array([float(_DIGITS.ln(Decimal(n) / STEPS)) for n in range(FIRST, LAST + 1)])
LOG_2 = float(_DIGITS.ln(Decimal(2)))
