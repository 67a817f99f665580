"""Arithmetic whose every bit follows from IEEE 754: docs/reproducibility.md has the proof.

Within `Exact`, a network's own `forward` and a loss of torch.nn.functional run on `Value`s instead of tensors, and
`backward` computes the gradient. Operands of matrix products are on grids, so that the order of summation cannot change
the result; all other operations are correctly rounded by IEEE 754, one at a time. Any not in OPERATIONS is rejected.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode, resolve_name

from mlp.errors import InputError
from mlp.examples import Examples
from mlp.on_numpy import OnNumpy
from mlp.tables import FIRST, LOG_2, MAX_EXPONENT, MIN_EXPONENT, PARTS, STEPS

Array = Any  # depends on the engine: a NumPy array or a tensor
Backward = Callable[[Array], None]

SUPPORTED = "supported: nn.Linear, ReLU, sigmoid, nn.Dropout, sums of their results, and losses without options"
LAYERS = (nn.Linear, nn.ReLU, nn.Sigmoid, nn.Dropout, nn.Flatten, nn.Identity)
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
BACKWARD_HOOKS = ("_backward_hooks", "_backward_pre_hooks", "_post_accumulate_grad_hooks")  # of modules and parameters


class Value:
    """The counterpart of a PyTorch tensor: numbers in a computation, and their gradient once it is computed.

    A batch is [examples, columns]. If networks are stacked, all shapes begin with the number of networks.
    """

    __slots__ = ("data", "divisor", "grad", "needs_grad")

    def __init__(self, data: Array, needs_grad: bool = True, divisor: Array | None = None) -> None:
        """An input does not need its gradient. The numbers are `data`, or `data` / `divisor`, see `Bytes`."""
        self.data, self.needs_grad, self.divisor = data, needs_grad, divisor
        self.grad: Array | None = None

    def add_grad(self, grad: Array) -> None:
        self.grad = grad if self.grad is None else self.grad + grad

    def plain(self) -> "Value":
        """Returns the value with its divisor applied."""
        return self if self.divisor is None else Value(self.data / self.divisor, needs_grad=False)

    @classmethod
    def __torch_function__(cls, function: Any, *_: Any) -> Any:
        raise TypeError(f"{resolve_name(function)} on a Value outside of `Exact`")

    def __eq__(self, _: object) -> bool:
        raise TypeError("== or != of a 'Value'")

    def __bool__(self) -> bool:
        raise TypeError("a 'Value' as a condition")

    # a torch function called on a Value is handled by the active `Exact`
    def __add__(self, other: Any) -> Any:
        return torch.add(self, other)  # type: ignore[call-overload]

    def __mul__(self, other: Any) -> Any:
        return torch.mul(self, other)  # type: ignore[arg-type]

    __radd__, __rmul__ = __add__, __mul__

    def __matmul__(self, other: Any) -> Any:
        return torch.matmul(self, other)  # type: ignore[arg-type]

    def relu(self) -> Any:
        return torch.relu(self)  # type: ignore[arg-type]

    def sigmoid(self) -> Any:
        return torch.sigmoid(self)  # type: ignore[arg-type]

    def sum(self) -> Any:
        return torch.sum(self)  # type: ignore[call-overload]

    def squeeze(self, dim: int) -> Any:
        return torch.squeeze(self, dim)  # type: ignore[call-overload]

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Any:
        return torch.flatten(self, start_dim, end_dim)  # type: ignore[arg-type]

    def view(self, *shape: int) -> "Value":
        """Returns the value unchanged: the examples of a batch are already rows. Raises TypeError for another shape."""
        fits = [given in (size, -1) for given, size in zip(shape, self.shape, strict=False)]
        if len(shape) != len(self.shape) or shape.count(-1) > 1 or not all(fits):
            raise TypeError(f"'Value' of shape {self.shape} viewed as {shape}")
        return self

    reshape = view

    @property
    def shape(self) -> tuple[int, ...]:
        """Without the number of networks, if they are stacked."""
        return _shape(self.data)

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def type_as(self, _: Tensor) -> "Value":
        """Returns the value unchanged: operations choose their precision themselves."""
        return self


class Bytes(Value):
    """A batch of bytes: (`rows` - `shift`) / `divisor`. The shift is a multiple of 1/64.

    Before the division they are on a grid of 14 bits without rounding, and `product_bits` is at least 14 for sizes
    below 2^25.
    """

    __slots__ = ("arrays", "rows", "shift")

    def __init__(self, arrays: Any, rows: Array, shift: float, divisor: Array) -> None:
        self.arrays, self.rows, self.shift = arrays, rows, shift
        self.grad, self.needs_grad, self.divisor = None, False, divisor

    @property
    def data(self) -> Array:
        data = self.arrays.float64(self.rows)
        data -= self.shift
        return data

    @property
    def shape(self) -> tuple[int, ...]:
        return _shape(self.rows)


class Mean(Value):
    """The mean of `terms(arrays, *operands)` over a batch; the last dimension of terms and operands is the examples.

    It is computed lazily, because training computes one mean per epoch instead, see `mean_of_all`.
    """

    __slots__ = ("arrays", "operands", "terms")

    def __init__(self, arrays: Any, terms: Callable[..., Array], *operands: Array) -> None:
        self.arrays, self.terms, self.operands = arrays, terms, operands
        self.grad, self.needs_grad, self.divisor = None, True, None

    @property
    def data(self) -> Array:
        return mean(self.arrays, self.terms(self.arrays, *self.operands))


def _shape(array: Array) -> tuple[int, ...]:
    shape = tuple(array.shape)
    return shape[1:] if isinstance(array, Tensor) else shape  # only stacked networks have tensors


def mean_of_all(losses: Sequence[Value], sizes: Sequence[int], arrays: Any) -> Array:
    """Returns the mean loss over all examples of several batches."""
    means = [loss for loss in losses if isinstance(loss, Mean)]
    if len(means) == len(losses):
        operands = (arrays.concatenate(each) for each in zip(*(loss.operands for loss in means), strict=True))
        return Mean(arrays, means[0].terms, *operands).data
    return sum(loss.data * size for loss, size in zip(losses, sizes, strict=True)) / arrays.divisor(sum(sizes))


class Operand(NamedTuple):
    """Refers to a value in a program by number: the input, the targets, the parameters, then each result, in order."""

    number: int


class Call(NamedTuple):
    function: Any  # a key of OPERATIONS
    arguments: list[Any]
    options: dict[str, Any]


class Program(NamedTuple):
    """The operations of a network and its loss, the same for all batches of a size."""

    calls: list[Call]
    loss: Operand


class Exact(TorchFunctionMode):
    """A computation with one network, or with several stacked networks of the same class and shape.

    `arrays` is the engine. In training, the examples of a batch share a grid; in prediction each has its own, so that
    a prediction does not depend on the rest of the batch. `masks` are the generators for dropout, one per network, and
    `labels` those of all examples.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        arrays: Any = None,
        training: bool = False,
        masks: Sequence[torch.Generator] = (),
        labels: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.networks, self.arrays, self.training = networks, arrays or OnNumpy(), training
        self.masks, self.labels = masks, labels
        vectors = [torch.cat([part.detach().flatten() for part in each.parameters()]).float() for each in networks]
        self.flat = self.arrays.stack(vectors)
        self.values: dict[int, Value] = {}  # by the ids of the first network's parameters; views of `flat`, float32
        self.slices: list[slice] = []
        self.tape: list[tuple[Value, Backward]] = []
        self.calls: list[Call] = []  # of the program being traced
        self.traced: list[Value] = []  # its values, in the order of `Operand.number`; empty if none is traced
        end = 0
        for parameter in networks[0].parameters():
            start, end = end, end + parameter.numel()
            view = self.flat[..., start:end].reshape((*self.flat.shape[:-1], *parameter.shape))
            self.values[id(parameter)] = Value(view)
            self.slices.append(slice(start, end))

    def __torch_function__(self, function: Any, _: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if function not in OPERATIONS:
            if function in METADATA:
                return function(*args)
            raise self.unsupported(resolve_name(function) or repr(function))
        if self.traced and not torch.is_grad_enabled():
            raise self.unsupported(f"{resolve_name(function)} without a gradient or in a torch.autograd.Function")
        given = [self.values.get(id(each), each) for each in args]
        if any(isinstance(each, Tensor) for each in given):
            raise self.unsupported(f"{resolve_name(function)} of a tensor that is not a parameter")
        if any(isinstance(each, Tensor | Value) for each in (kwargs or {}).values()):
            raise self.unsupported(f"{resolve_name(function)} with a tensor as a keyword argument")
        options = {key: value for key, value in (kwargs or {}).items() if DEFAULTS.get(key, ...) != value}
        try:
            result = self.compute(function, given, options)
        except (AttributeError, IndexError, OverflowError, TypeError, ValueError) as error:  # unsupported arguments
            which = ", ".join(options) or "these arguments"
            raise self.unsupported(f"{resolve_name(function)} with {which}") from error
        if self.traced:
            result.needs_grad = any(each.needs_grad for each in given if isinstance(each, Value))
            self.calls.append(Call(function, [self.operand(each) for each in given], options))
            self.traced.append(result)
        return result

    def compute(self, function: Any, given: Sequence[Any], options: dict[str, Any]) -> Value:
        if function not in TAKE_BYTES:
            given = [each.plain() if isinstance(each, Value) else each for each in given]
        return OPERATIONS[function](self, *given, **options)

    def trace(self, loss: Callable[..., Any], x: Value, targets: Value) -> tuple[Value, Program]:
        """Returns the loss of a batch, and the program that computes it."""
        self.calls, self.traced = [], [x, targets, *self.values.values()]
        with torch.enable_grad(), self:
            value = loss(self.networks[0], x, targets)
        program = Program(self.calls, self.operand(value))
        if not isinstance(program.loss, Operand):
            raise self.unsupported("a loss that does not come from the network's outputs")
        if value.shape:
            raise self.unsupported(f"a loss of shape {list(value.shape)} instead of a single number")
        self.traced = []
        return value, program

    def replay(self, program: Program, x: Value, targets: Value) -> Value:
        """Returns the loss of another batch of that size. Calling the network would take a fifth of a short step."""
        values = [x, targets, *self.values.values()]
        for function, arguments, options in program.calls:
            given = [values[each.number] if type(each) is Operand else each for each in arguments]
            values.append(self.compute(function, given, options))
        return values[program.loss.number]

    def operand(self, argument: Any) -> Any:
        """Returns a value's Operand (the last, if an operation returned its argument), or any other object as given."""
        found = [number for number, value in enumerate(self.traced) if value is argument]
        if isinstance(argument, Value) and not found:
            raise self.unsupported("a value of another batch")
        return Operand(found[-1]) if found else argument

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        super().__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]
        if isinstance(error, AttributeError | TypeError) and "Value" in str(error):
            raise self.unsupported(f"an operation on a tensor ({error})") from error

    def unsupported(self, what: str) -> InputError:
        return InputError(f"{type(self.networks[0]).__name__}: {what} cannot be computed exactly; {SUPPORTED}")

    def check_loss(self, outputs: Value, targets: Value, classes: bool = False) -> None:
        """Raises InputError if a loss would broadcast outputs and targets, or if they are not one per example.

        With `classes`, the outputs have an additional last dimension, and a target is the number of a class. Raises
        TypeError if the targets depend on the parameters, as they do when someone swaps them with the outputs, or if
        numbers of classes are computed.
        """
        name, found, given = type(self.networks[0]).__name__, outputs.shape, targets.shape
        if given != (found[:-1] if classes else found) or len(given) != 1:
            needed = "[n, classes] and [n], which are numbers of classes" if classes else "[n] and [n]"
            raise InputError(f"{name}: a loss of outputs {list(found)} and targets {list(given)}; needed: {needed}")
        if self.traced and (targets.needs_grad or (classes and targets is not self.traced[1])):
            raise TypeError
        if self.traced and classes and self.labels is not None:
            least, most, last = self.labels.amin().item(), self.labels.amax().item(), found[-1] - 1
            if self.labels.is_floating_point() or least < 0 or most > last:
                raise InputError(f"{name}: labels from {least} to {most}; needed: integers from 0 to {last}")

    def input(self, rows: Array, examples: Examples) -> Value:
        if examples.divisor is None:
            return Value(self.arrays.float64(rows), needs_grad=False)
        return Bytes(self.arrays, rows, examples.shift, self.arrays.divisor(examples.divisor))

    def value(self, data: Array, backward: Backward) -> Value:
        """Returns the result of an operation. `backward` takes its gradient and adds to those of the operands."""
        return self.record(Value(data), backward)

    def record(self, result: Value, backward: Backward) -> Value:
        if self.training:
            self.tape.append((result, backward))
        return result

    def backward(self, loss: Value, gradient: Array) -> None:
        """Writes the gradient of a loss with respect to `flat` into `gradient`, of the same shape. Clears the tape."""
        loss.grad = 1.0
        for result, backward in reversed(self.tape):
            if result.grad is not None:
                backward(result.grad)
        self.tape.clear()
        if all(value.grad is None for value in self.values.values()):
            raise self.unsupported("a loss that does not depend on the parameters")
        for part, value in zip(self.slices, self.values.values(), strict=True):
            gradient[..., part] = 0 if value.grad is None else value.grad.reshape(*self.flat.shape[:-1], -1)
            value.grad = None

    def write_back(self) -> None:
        """Copies the parameters to the networks."""
        for network, vector in zip(self.networks, self.arrays.unstack(self.flat), strict=True):
            for part, parameter in zip(self.slices, network.parameters(), strict=True):
                parameter.data = vector[part].clone().view_as(parameter)


def check(network: nn.Module) -> None:
    """Raises InputError for layers that cannot be computed exactly, and for parameters that cannot be trained."""
    if next(network.parameters(), None) is None:
        raise InputError(f"{type(network).__name__}: it has no parameters; needed: at least one, to be trained")
    for name, layer in network.named_modules():
        known = type(layer) in LAYERS + CONTAINERS or not type(layer).__module__.startswith("torch.")
        if not known or getattr(layer, "inplace", False):
            raise InputError(
                f"{type(network).__name__}: its layer {name}, {layer}, cannot be trained exactly; {SUPPORTED}"
            )
    for each in (*network.modules(), *network.parameters()):
        if any(getattr(each, hooks, None) for hooks in BACKWARD_HOOKS):
            raise InputError(f"{type(network).__name__}: a hook on its gradients would be ignored; needed: none")
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            raise InputError(f"{type(network).__name__}: its parameter {name} is frozen; needed: requires_grad=True")


# grids


def product_bits(*sizes: int) -> int:
    """Returns the bits for both operands of a matrix product, so that no sum of max(sizes) products rounds.

    Twice the bits plus the bit length of the size is at most 53; float32 can be rounded to at most 22 bits.
    """
    return min((53 - max(sizes).bit_length()) // 2, 22)


def sum_bits(size: int) -> int:
    """Returns the bits for numbers so that no sum of `size` of them rounds; float64 can be rounded to at most 51."""
    return min(53 - size.bit_length(), 51)


def mean(arrays: Any, numbers: Array) -> Array:
    """Returns the mean over examples of [..., examples], separately for each network."""
    size = numbers.shape[-1]
    total = arrays.sum(arrays.grid(numbers, sum_bits(size)), axis=-1)
    return total / arrays.divisor(size) + 0.0  # turns -0 into +0


# elementary functions and softmax

ROOT = 0.7071067811865476  # about the square root of 1/2


def exp(arrays: Any, x: Array) -> Array:
    """Returns e^x, float64, within 4 units in the last place: two table entries times a polynomial in the remainder."""
    x = arrays.minimum(arrays.maximum(x, MIN_EXPONENT), MAX_EXPONENT)
    steps = arrays.rint(x * PARTS)
    rest = x - steps / PARTS  # exact
    number = arrays.integers(steps)
    power = arrays.take(arrays.exp, (number >> 12) - MIN_EXPONENT) * arrays.take(arrays.exp_part, number & (PARTS - 1))
    return power * (((rest / arrays.divisor(6) + 0.5) * rest + 1) * rest + 1)


def log(arrays: Any, x: Array) -> Array:
    """Returns ln x for finite x, float64, within 4 units in the last place: a table entry plus 2 artanh of the rest."""
    mantissa, exponent = arrays.frexp(x)
    low = arrays.float64(mantissa < ROOT)
    mantissa, exponent = mantissa + mantissa * low, exponent - low  # mantissas from ROOT to 2 ROOT
    number = arrays.rint(mantissa * STEPS)
    near = number / STEPS
    rest = (mantissa - near) / (mantissa + near)
    square = rest * rest
    small = rest * (2 + square * (square * 0.4 + 2 / 3))
    result = exponent * LOG_2 + (arrays.take(arrays.log, arrays.integers(number) - FIRST) + small)
    return arrays.where(x > 0, result, arrays.where(x == 0, -math.inf, math.nan))


def logistic(arrays: Any, x: Array) -> Array:
    """Returns 1 / (1 + e^-x) without overflow."""
    power = exp(arrays, -arrays.absolute(x))
    return arrays.where(x >= 0, 1.0, power) / (1 + power)


def softmax(arrays: Any, logits: Array) -> tuple[Array, Array, Array]:
    """Returns probabilities, the logits minus their maximum, and the sums of the latter's exponentials, [..., b]."""
    shifted = logits - arrays.row_max(logits)
    powers = exp(arrays, shifted)
    magic = 1.5 * 2.0 ** (53 - sum_bits(logits.shape[-1]))  # as in `grid`, for numbers up to 1
    totals = arrays.sum((powers + magic) - magic, axis=-1)
    return powers / totals[..., None], shifted, totals


# losses of single examples (cross-entropies in nats), from values that the operations below compute


def cross_entropies(arrays: Any, totals: Array, shifted: Array) -> Array:
    """Returns cross-entropies from results of `softmax`: the totals, and the shifted logits of the correct classes."""
    return log(arrays, totals) - shifted


def squares(_: Any, errors: Array) -> Array:
    return errors * errors


def binary_cross_entropies(arrays: Any, probabilities: Array, labels: Array) -> Array:
    """Takes the probabilities of class 1. As in torch, logarithms are clamped to at least -100."""
    logs = [arrays.maximum(log(arrays, each), -100.0) for each in (probabilities, 1 - probabilities)]
    return -(labels * logs[0] + (1 - labels) * logs[1])


# operations of networks


def _linear(run: Exact, x: Value, weight: Value, bias: Value | None = None, transposed: bool = True) -> Value:
    """Returns x W^T + b, or x W if not `transposed`. All three products use operands of at most `bits` bits."""
    arrays, training, weight = run.arrays, run.training, weight.plain()
    rows, columns = x.shape
    n_y, n_x = weight.shape if transposed else reversed(weight.shape)
    if columns != n_x or (bias is not None and bias.shape != (n_y,)):
        raise TypeError
    bits = product_bits(n_x, n_y, rows if training else 1)
    if isinstance(x, Bytes) and transposed and arrays.multiplies_bytes(rows, columns):
        return _linear_of_bytes(run, x, weight, bias, bits)
    weights = arrays.grid(weight.data, bits)
    if transposed:
        weights = weights.swapaxes(-1, -2)
    if x.divisor is None:
        inputs = arrays.grid(x.data, bits, rows=not training)
        outputs = arrays.matmul(inputs, weights)
    else:
        inputs = x.data
        outputs = arrays.matmul(inputs, weights)
        outputs /= x.divisor
    if bias is not None:
        outputs += arrays.float64(bias.data[..., None, :])

    def backward(grad: Array) -> None:
        upstream = arrays.grid(grad if x.divisor is None else grad / x.divisor, bits)
        if bias is not None:
            total = arrays.sum(upstream, axis=-2)
            bias.add_grad(total if x.divisor is None else total * x.divisor)
        if x.needs_grad:
            x.add_grad(arrays.matmul(upstream, weights.swapaxes(-1, -2)))
        if transposed:
            weight.add_grad(arrays.matmul(upstream.swapaxes(-1, -2), inputs))
        else:
            weight.add_grad(arrays.matmul(inputs.swapaxes(-1, -2), upstream))

    return run.value(outputs, backward)


def _linear_of_bytes(run: Exact, x: Bytes, weight: Value, bias: Value | None, bits: int) -> Value:
    """Returns the same as `_linear`, with products of integers.

    The weights are integers w times a unit, so x W^T is ((rows - 128) w^T + (128 - shift) sum(w)) times that unit.
    """
    arrays: Any = run.arrays
    signed, offset = arrays.signed(x.rows), 128 - x.shift
    numbers, unit = arrays.multiples(weight.data, bits)
    outputs = arrays.byte_product(numbers, signed.T).T
    outputs += arrays.sum(numbers, axis=1) * offset
    outputs *= unit
    outputs /= x.divisor
    if bias is not None:
        outputs += arrays.float64(bias.data)

    def backward(grad: Array) -> None:
        upstream, unit = arrays.multiples(grad / x.divisor, bits)
        totals = arrays.sum(upstream, axis=0)
        if bias is not None:
            bias.add_grad(totals * unit * x.divisor)
        gradient = arrays.byte_product(upstream.T, signed)
        gradient += totals[:, None] * offset
        gradient *= unit
        weight.add_grad(gradient)

    return run.value(outputs, backward)


def _add(run: Exact, one: Value, other: Value) -> Value:
    """Adds values of the same shape, or a batch and a bias. Raises TypeError for others."""
    if len(one.shape) < len(other.shape):
        one, other = other, one
    if one.shape == other.shape:

        def backward(grad: Array) -> None:
            one.add_grad(grad)
            other.add_grad(grad)

        return run.value(one.data + other.data, backward)

    if len(one.shape) != 2 or one.shape[1:] != other.shape:
        raise TypeError

    def backward_of_bias(grad: Array) -> None:
        one.add_grad(grad)
        other.add_grad(run.arrays.sum(run.arrays.grid(grad, sum_bits(grad.shape[-2])), axis=-2))

    return run.value(one.data + other.data[..., None, :], backward_of_bias)


def _multiply(run: Exact, value: Value, factor: float) -> Value:
    if isinstance(value, int | float):
        value, factor = factor, value
    if isinstance(factor, bool) or not isinstance(factor, int | float):
        raise TypeError
    factor = float(factor)  # a NumPy number would change the precision
    return run.value(value.data * factor, lambda grad: value.add_grad(grad * factor))


def _relu(run: Exact, x: Value) -> Value:
    _reject_number(x)
    return run.value(run.arrays.maximum(x.data, 0.0), lambda grad: x.add_grad(grad * (x.data > 0)))


def _sigmoid(run: Exact, x: Value) -> Value:
    _reject_number(x)
    result = logistic(run.arrays, x.data)
    return run.value(result, lambda grad: x.add_grad(grad * (result * (1 - result))))


def _dropout(run: Exact, x: Value, p: float = 0.5, training: bool = True) -> Value:
    if not training or not run.training or p == 0:
        return x
    p = float(p)  # a NumPy number would change the precision
    if len(x.shape) != 2 or not 0 <= p <= 1:
        raise ValueError
    kept = run.arrays.stack([torch.rand(x.shape, generator=each, dtype=torch.float32) >= p for each in run.masks])
    factor = 1 / (1 - p) if p < 1 else 0.0
    return run.value(x.data * kept * factor, lambda grad: x.add_grad(grad * kept * factor))


def _flatten(_: Exact, x: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    if (start_dim, end_dim) != (1, -1):
        raise TypeError
    return x  # the examples of a batch are already rows


def _squeeze(run: Exact, x: Value, dim: int) -> Value:
    """Reshapes [examples, 1] to [examples]."""
    if dim not in (1, -1) or x.shape[1:] != (1,):
        raise TypeError
    return run.value(x.data[..., 0], lambda grad: x.add_grad(grad[..., None]))


def _absolute(run: Exact, parameter: Value) -> Value:
    _reject_number(parameter)
    return run.value(
        run.arrays.absolute(parameter.data), lambda grad: parameter.add_grad(run.arrays.sign(parameter.data) * grad)
    )


def _reject_number(x: Value) -> None:
    """Raises TypeError for a single number, because all networks share the gradients of their losses."""
    if not x.shape:
        raise TypeError


def _sum(run: Exact, value: Value) -> Value:
    """Sums all elements of a matrix."""
    rows, columns = value.shape
    rounded = run.arrays.grid(value.data, sum_bits(rows * columns))
    return run.value(run.arrays.sum(rounded, axis=(-2, -1)), lambda grad: value.add_grad(value.data * 0 + grad))


def _cross_entropy(run: Exact, logits: Value, targets: Value) -> Value:
    arrays, labels = run.arrays, run.arrays.integers(targets.data)
    run.check_loss(logits, targets, classes=True)
    probabilities, shifted, totals = softmax(arrays, logits.data)

    def backward(grad: float) -> None:
        hot = arrays.one_hot(labels, probabilities)
        logits.add_grad((probabilities - hot) * (grad / labels.shape[-1]))

    return run.record(Mean(arrays, cross_entropies, totals, arrays.pick(shifted, labels)), backward)


def _mse_loss(run: Exact, outputs: Value, targets: Value) -> Value:
    run.check_loss(outputs, targets)
    errors = outputs.data - targets.data
    return run.record(
        Mean(run.arrays, squares, errors), lambda grad: outputs.add_grad(errors * (2 * grad / errors.shape[-1]))
    )


def _binary_cross_entropy(run: Exact, probabilities: Value, targets: Value) -> Value:
    run.check_loss(probabilities, targets)
    p, labels = probabilities.data, targets.data

    def backward(grad: float) -> None:
        slope = (p - labels) / run.arrays.maximum((1 - p) * p, 1e-12)
        probabilities.add_grad(slope * (grad / labels.shape[-1]))

    return run.record(Mean(run.arrays, binary_cross_entropies, p, labels), backward)


OPERATIONS: dict[Any, Callable[..., Value]] = {
    functional.linear: _linear,
    torch.matmul: partial(_linear, transposed=False),
    torch.add: _add,
    torch.Tensor.add: _add,
    torch.mul: _multiply,
    torch.relu: _relu,
    functional.relu: _relu,
    torch.sigmoid: _sigmoid,
    functional.dropout: _dropout,
    torch.flatten: _flatten,
    torch.squeeze: _squeeze,
    torch.abs: _absolute,
    torch.Tensor.abs: _absolute,
    torch.sum: _sum,
    functional.cross_entropy: _cross_entropy,
    functional.mse_loss: _mse_loss,
    functional.binary_cross_entropy: _binary_cross_entropy,
}
TAKE_BYTES = (functional.linear, torch.matmul, torch.flatten)
METADATA = {getattr(torch.Tensor, name).__get__ for name in ("dtype", "shape", "ndim", "device")}
DEFAULTS: dict[str, Any] = {  # options of torch's functions that are accepted with these values only
    "weight": None,
    "size_average": None,
    "reduce": None,
    "ignore_index": -100,
    "label_smoothing": 0.0,
    "reduction": "mean",
    "inplace": False,
}


# training and prediction


def adam(run: Exact, learning_rate: float, betas: tuple[float, float]) -> tuple[Callable[[Value], None], Array]:
    """Returns a function that takes a loss and makes one step of Adam (Kingma and Ba, 2015), in float32.

    Also returns the second moments, which the steps update in place: if one overflows, its parameter never moves again.

    The moments omit their factors of 1 - beta; learning rate and epsilon are scaled instead.
    """
    arrays, learning_rate, beta1, beta2 = run.arrays, *map(float, (learning_rate, *betas))  # not numbers of NumPy
    gradient, first, second = (0 * run.flat for _ in range(3))
    power1 = power2 = 1.0

    def step(loss: Value) -> None:
        nonlocal power1, power2, gradient, first, second
        run.backward(loss, gradient)
        power1, power2 = power1 * beta1, power2 * beta2
        scale = math.sqrt((1 - power2) / (1 - beta2))
        epsilon, rate = 1e-8 * scale, learning_rate * (1 - beta1) / (1 - power1) * scale
        first *= beta1
        first += gradient
        gradient *= gradient
        second *= beta2
        second += gradient
        move = arrays.sqrt(second)
        move += epsilon
        move = first / move
        move *= rate
        run.flat -= move

    return step, second
