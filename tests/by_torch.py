"""An independent engine for deep networks on images, written from the description in docs/reproducibility.md.

It shares no code with mlp/exact.py: matrix products are torch's in float64, the forward and backward passes are written
by hand, and exp computes each entry of its tables with decimal on demand. It is slow and only for comparison.
"""

import math
from collections.abc import Sequence
from decimal import Context, Decimal
from functools import cache

import numpy as np
import torch
from torch import Tensor

DIGITS = Context(prec=50)


@cache
def power_of_e(numerator: int, denominator: int) -> float:
    return float(DIGITS.exp(Decimal(numerator) / denominator))


def exp(x: float) -> float:
    """Returns e^x for x from -700 to 0."""
    steps = round(x * 4096)
    rest = x - steps / 4096
    polynomial = rest * (rest * (rest / 6 + 0.5) + 1) + 1
    return power_of_e(steps // 4096, 1) * power_of_e(steps % 4096, 4096) * polynomial


def to_grid(t: Tensor, bits: int) -> Tensor:
    """Rounds to a grid by division, whereas mlp/on_numpy.py adds and subtracts a number."""
    exponent = max(math.frexp(t.abs().max().item())[1], -100)
    step = 2.0 ** (exponent - bits)
    return (t.double() / step).round() * step


def train(
    weights: Sequence[Tensor],
    pixels: Tensor,
    labels: Tensor,
    statistics: tuple[float, float],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    order: torch.Generator,
) -> list[Tensor]:
    """Returns the trained parameters, float32: matrices and vectors alternately, like the initial ones in `weights`."""
    parameters = [each.clone() for each in weights]
    first, second = ([torch.zeros_like(each) for each in parameters] for _ in range(2))
    shift, divisor = round(statistics[0] * 255 * 64) / 64, statistics[1] * 255
    layers, powers = len(parameters) // 2, [1.0, 1.0]
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(labels), generator=order), batch_size):
            inputs, gridded, positive, bits = [pixels[chosen].double() - shift], [], [], []
            for layer in range(layers):
                matrix, vector = parameters[2 * layer : 2 * layer + 2]
                bits.append(min(22, (53 - max(*matrix.shape, len(chosen)).bit_length()) // 2))
                gridded.append(to_grid(matrix, bits[-1]))
                positive.append(inputs[-1] > 0)
                if layer:
                    inputs[-1] = to_grid(inputs[-1].clamp(min=0), bits[-1])
                outputs = inputs[-1] @ gridded[-1].T
                inputs.append((outputs if layer else outputs / divisor) + vector)

            rows = []
            for logits, label in zip(inputs[-1].tolist(), labels[chosen].tolist(), strict=True):
                powers_of_e = [exp(each - max(logits)) for each in logits]
                step = 2.0 ** (1 - (53 - len(logits).bit_length()))
                total = math.fsum(round(each / step) * step for each in powers_of_e)
                rows.append([each / total - (index == label) for index, each in enumerate(powers_of_e)])
            slope = torch.tensor(rows, dtype=torch.float64) * (1.0 / len(chosen))
            slopes: list[Tensor] = []
            for layer in reversed(range(layers)):
                slope = to_grid(slope if layer else slope / divisor, bits[layer])
                total_slope = slope.sum(dim=0)
                slopes = [slope.T @ inputs[layer], total_slope if layer else total_slope * divisor, *slopes]
                if layer:
                    slope = (slope @ gridded[layer]) * positive[layer]

            powers = [powers[0] * 0.9, powers[1] * 0.999]
            scale = math.sqrt((1 - powers[1]) / (1 - 0.999))
            rate, epsilon = learning_rate * (1 - 0.9) / (1 - powers[0]) * scale, 1e-8 * scale
            for parameter, a, b, each in zip(parameters, first, second, slopes, strict=True):
                gradient = each.float()
                a.copy_(a * 0.9 + gradient)
                b.copy_(b * 0.999 + gradient * gradient)
                root = torch.from_numpy(np.sqrt(b.numpy()))  # torch's sqrt is not correctly rounded
                parameter.copy_(parameter - a / (root + epsilon) * rate)
    return parameters
