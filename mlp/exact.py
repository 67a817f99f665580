"""Arithmetic whose every bit follows from IEEE 754: docs/reproducibility.md has the proof.

Within `Exact` a network's own `forward` and a loss of torch.nn.functional run on `Value`s in place of tensors, and
`backward` gives the gradient: matrix products of numbers on grids, which no order of summation can change, and
otherwise only operations that IEEE 754 rounds correctly, one at a time. What is not in OPERATIONS is refused.
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
from mlp.tables import FIRST, LEAST, LOG_2, MOST, PARTS, STEPS

Array = Any  # what an engine computes with: an array of NumPy or a tensor
Backward = Callable[[Array], None]

POSSIBLE = "supported: nn.Linear, ReLU, sigmoid, nn.Dropout, sums of their results, and losses without options"
LAYERS = (nn.Linear, nn.ReLU, nn.Sigmoid, nn.Dropout, nn.Flatten, nn.Identity)
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class Value:
    """What a tensor is in PyTorch: numbers in the course of a computation, and their gradient once it is known.

    A batch is [examples, columns]. Where networks are stacked, all shapes begin with their number.
    """

    __slots__ = ("data", "divisor", "grad", "wanted")

    def __init__(self, data: Array, wanted: bool = True, divisor: Array | None = None) -> None:
        """`wanted`: whether its gradient is; that of an input is not. The numbers are `data`, or `data` / `divisor`.

        Such data are bytes less a multiple of 1/64: on a grid of 14 bits as they are, and `product_bits` gives no
        fewer for sizes below 2^25.
        """
        self.data, self.wanted, self.divisor = data, wanted, divisor
        self.grad: Array | None = None

    def add_grad(self, grad: Array) -> None:
        self.grad = grad if self.grad is None else self.grad + grad

    def plain(self) -> "Value":
        """Without a divisor."""
        return self if self.divisor is None else Value(self.data / self.divisor, wanted=False)

    @classmethod
    def __torch_function__(cls, function: Any, *_: Any) -> Any:
        raise TypeError(f"{resolve_name(function)} on a Value outside of `Exact`")

    # torch's functions find their way to `Exact`
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
        """A batch has its examples in rows already."""
        return self if (start_dim, end_dim) == (1, -1) else torch.flatten(self, start_dim, end_dim)  # type: ignore[arg-type]

    def view(self, *shape: int) -> "Value":
        """A batch has its examples in rows already."""
        rows, columns = self.shape
        if shape not in ((rows, columns), (rows, -1), (-1, columns)):
            raise TypeError(f"'Value' of {rows} rows and {columns} columns viewed as {shape}")
        return self

    reshape = view

    @property
    def shape(self) -> tuple[int, int]:
        """Examples and columns."""
        rows, columns = self.data.shape[-2:]
        return rows, columns

    def size(self, dim: int) -> int:
        return self.shape[dim]

    def type_as(self, _: Tensor) -> "Value":
        """Numbers here have the precision that they need."""
        return self


class Mean(Value):
    """A mean over the examples of a batch, computed when it is asked for: training asks once an epoch for all.

    It is that of `terms(*operands)`, whose last dimension is that of the examples, as it is of the operands.
    """

    __slots__ = ("arrays", "operands", "terms")

    def __init__(self, arrays: Any, terms: Callable[..., Array], *operands: Array) -> None:
        self.arrays, self.terms, self.operands = arrays, terms, operands
        self.grad, self.wanted, self.divisor = None, True, None

    @property
    def data(self) -> Array:
        return mean(self.arrays, self.terms(self.arrays, *self.operands))


def mean_of_all(losses: Sequence[Value], sizes: Sequence[int], arrays: Any) -> Array:
    """Of the losses of several batches, over all their examples."""
    means = [loss for loss in losses if isinstance(loss, Mean)]
    if len(means) == len(losses):
        operands = (arrays.concatenate(each) for each in zip(*(loss.operands for loss in means), strict=True))
        return Mean(arrays, means[0].terms, *operands).data
    return sum(loss.data * size for loss, size in zip(losses, sizes, strict=True)) / arrays.divisor(sum(sizes))


class Operand(NamedTuple):
    """Stands for a value in a program: the input, the targets, the parameters, then each result, in this order."""

    number: int


class Call(NamedTuple):
    function: Any  # of OPERATIONS
    arguments: list[Any]
    options: dict[str, Any]


class Program(NamedTuple):
    """What a network and its loss do with a batch, whatever is in it."""

    calls: list[Call]
    loss: Operand


class Exact(TorchFunctionMode):
    """A computation with one network, or with several of the same class and shape that are stacked.

    `arrays` is the engine. In training the examples of a batch share a grid; in prediction each has its own, so that
    what a network says of an example does not depend on the others. `masks` are the generators of dropout.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        arrays: Any = None,
        training: bool = False,
        masks: Sequence[torch.Generator] = (),
    ) -> None:
        super().__init__()
        self.networks, self.arrays, self.training, self.masks = networks, arrays or OnNumpy(), training, masks
        self.flat = self.arrays.stack([nn.utils.parameters_to_vector(each.parameters()).float() for each in networks])
        self.values: dict[int, Value] = {}  # by id of the first network's parameters: views of `flat`, float32
        self.slices: list[slice] = []
        self.tape: list[tuple[Value, Backward]] = []
        self.calls: list[Call] = []  # of the program that is traced
        self.known: list[Value] = []  # its values, by their numbers
        end = 0
        for parameter in networks[0].parameters():
            start, end = end, end + parameter.numel()
            view = self.flat[..., start:end].reshape(*self.flat.shape[:-1], *parameter.shape)
            self.values[id(parameter)] = Value(view)
            self.slices.append(slice(start, end))

    def __torch_function__(self, function: Any, _: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if function not in OPERATIONS:
            if function in METADATA:
                return function(*args)
            raise self.refusal(resolve_name(function) or repr(function))
        given = [self.values.get(id(each), each) for each in args]
        if any(isinstance(each, Tensor) for each in given):
            raise self.refusal(f"{resolve_name(function)} of a tensor that is not a parameter")
        options = {key: value for key, value in (kwargs or {}).items() if DEFAULTS.get(key, ...) != value}
        try:
            result = self.compute(function, given, options)
        except (AttributeError, IndexError, TypeError) as error:  # of what the operation does not know
            which = ", ".join(options) or "these arguments"
            raise self.refusal(f"{resolve_name(function)} with {which}") from error
        if self.known:
            self.calls.append(Call(function, [self.operand(each) for each in given], options))
            self.known.append(result)
        return result

    def compute(self, function: Any, given: Sequence[Any], options: dict[str, Any]) -> Value:
        if function not in PRODUCTS:
            given = [each.plain() if isinstance(each, Value) else each for each in given]
        return OPERATIONS[function](self, *given, **options)

    def trace(self, loss: Callable[..., Any], x: Value, targets: Value) -> tuple[Value, Program]:
        """The loss of a batch, and the program that computes it."""
        self.calls, self.known = [], [x, targets, *self.values.values()]
        with self:
            value = loss(self.networks[0], x, targets)
        program = Program(self.calls, self.operand(value))
        if not isinstance(program.loss, Operand):
            raise self.refusal("a loss that does not come from the network's outputs")
        self.known = []
        return value, program

    def replay(self, program: Program, x: Value, targets: Value) -> Value:
        """The loss of another batch of the same size. To ask the network again would take a fifth of a short step."""
        values = [x, targets, *self.values.values()]
        for function, arguments, options in program.calls:
            given = [values[each.number] if type(each) is Operand else each for each in arguments]
            values.append(self.compute(function, given, options))
        return values[program.loss.number]

    def operand(self, argument: Any) -> Any:
        """That of a value, its last where a result was an argument, too. Anything else stands for itself."""
        found = [number for number, value in enumerate(self.known) if value is argument]
        return Operand(found[-1]) if found else argument

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        super().__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]
        if isinstance(error, AttributeError | TypeError) and "'Value'" in str(error):
            raise self.refusal(f"an operation on a tensor ({error})") from error

    def refusal(self, what: str) -> InputError:
        return InputError(f"{type(self.networks[0]).__name__}: {what} cannot be computed exactly; {POSSIBLE}")

    def check_shapes(self, outputs: Array, targets: Array, classes: bool = False) -> None:
        """Raises InputError where the outputs and targets of a loss would be broadcast, or are not one per example.

        With `classes` the outputs have a last dimension more, and a target is the number of a class.
        """
        expected = outputs.shape[:-1] if classes else outputs.shape
        if targets.shape != expected or targets.ndim != self.flat.ndim:
            shapes = [list(each.shape[self.flat.ndim - 1 :]) for each in (outputs, targets)]
            needed = "[n, classes] and [n], which are numbers of classes" if classes else "[n] and [n]"
            raise InputError(
                f"{type(self.networks[0]).__name__}: a loss of outputs {shapes[0]} and targets {shapes[1]}; "
                f"needed: {needed}"
            )

    def input(self, rows: Array, examples: Examples) -> Value:
        data = self.arrays.float64(rows)
        if examples.divisor is None:
            return Value(data, wanted=False)
        data -= examples.shift
        return Value(data, wanted=False, divisor=self.arrays.divisor(examples.divisor))

    def value(self, data: Array, backward: Backward) -> Value:
        """The result of an operation. `backward` gets its gradient, and adds to those of the operands."""
        return self.record(Value(data), backward)

    def record(self, result: Value, backward: Backward) -> Value:
        if self.training:
            self.tape.append((result, backward))
        return result

    def backward(self, loss: Value, gradient: Array) -> None:
        """Writes the gradient of a loss by all parameters into `gradient`, like `flat`. Forgets the computation."""
        loss.grad = 1.0
        for result, backward in reversed(self.tape):
            if result.grad is not None:
                backward(result.grad)
        self.tape.clear()
        for part, value in zip(self.slices, self.values.values(), strict=True):
            gradient[..., part] = 0 if value.grad is None else value.grad.reshape(*self.flat.shape[:-1], -1)
            value.grad = None

    def write_back(self) -> None:
        """Gives the networks the parameters that were computed."""
        for network, vector in zip(self.networks, self.arrays.unstack(self.flat), strict=True):
            nn.utils.vector_to_parameters(vector.clone(), network.parameters())


def check(network: nn.Module) -> None:
    """Raises InputError where a layer of torch's cannot be computed exactly, or a parameter is frozen or missing."""
    if next(network.parameters(), None) is None:
        raise InputError(f"{type(network).__name__}: it has no parameters; needed: at least one, to be trained")
    for name, layer in network.named_modules():
        known = type(layer) in LAYERS + CONTAINERS or not type(layer).__module__.startswith("torch.")
        if not known or getattr(layer, "inplace", False):
            raise InputError(
                f"{type(network).__name__}: its layer {name}, {layer}, cannot be trained exactly; {POSSIBLE}"
            )
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            raise InputError(f"{type(network).__name__}: its parameter {name} is frozen; needed: requires_grad=True")


# grids


def product_bits(*sizes: int) -> int:
    """The bits of both operands of a product, so that no sum of as many products as the largest of `sizes` rounds.

    Twice that and the bit length of the size are at most 53 together; float32 can be rounded to 22.
    """
    return min((53 - max(sizes).bit_length()) // 2, 22)


def sum_bits(size: int) -> int:
    """The bits of numbers of which no sum of so many rounds; 51 is what float64 can be rounded to."""
    return min(53 - size.bit_length(), 51)


def mean(arrays: Any, numbers: Array) -> Array:
    """Of [..., examples], each network's own."""
    size = numbers.shape[-1]
    total = arrays.sum(arrays.grid(numbers, sum_bits(size)), axis=-1)
    return total / arrays.divisor(size) + 0.0  # which makes a zero positive


# functions of numbers

ROOT = 0.7071067811865476  # about the root of 1/2


def exp(arrays: Any, x: Array) -> Array:
    """e^x, float64, within 4 units in the last place: two entries of tables, and a polynomial for what is left."""
    x = arrays.minimum(arrays.maximum(x, LEAST), MOST)
    steps = arrays.rint(x * PARTS)
    rest = x - steps / PARTS  # exact
    number = arrays.integers(steps)
    power = arrays.take(arrays.exp, (number >> 12) - LEAST) * arrays.take(arrays.exp_part, number & (PARTS - 1))
    return power * (((rest / arrays.divisor(6) + 0.5) * rest + 1) * rest + 1)


def log(arrays: Any, x: Array) -> Array:
    """ln x of finite numbers, float64, within 4 units in the last place: a table, and 2 artanh of what is left."""
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
    """1 / (1 + e^-x), without an overflow."""
    power = exp(arrays, -arrays.absolute(x))
    return arrays.where(x >= 0, 1.0, power) / (1 + power)


def softmax(arrays: Any, logits: Array) -> tuple[Array, Array, Array]:
    """Probabilities; the logits less the largest; and the totals of their exponentials, without classes."""
    shifted = logits - arrays.row_max(logits)
    powers = exp(arrays, shifted)
    magic = 1.5 * 2.0 ** (53 - sum_bits(logits.shape[-1]))  # the grid of numbers up to 1, as `grid` has it
    totals = arrays.sum((powers + magic) - magic, axis=-1)
    return powers / totals[..., None], shifted, totals


# losses of examples in nats, in terms of what the operations below make of networks' outputs


def cross_entropies(arrays: Any, totals: Array, shifted: Array) -> Array:
    """From two results of `softmax`: the totals, and the logits of the right classes, less the largest."""
    return log(arrays, totals) - shifted


def squares(_: Any, errors: Array) -> Array:
    return errors * errors


def binary_cross_entropies(arrays: Any, probabilities: Array, labels: Array) -> Array:
    """From the probabilities of class 1. As in torch no logarithm is below -100."""
    logs = [arrays.maximum(log(arrays, each), -100.0) for each in (probabilities, 1 - probabilities)]
    return -(labels * logs[0] + (1 - labels) * logs[1])


# operations of networks


def _linear(run: Exact, x: Value, weight: Value, bias: Value | None = None, transposed: bool = True) -> Value:
    """x W^T + b, with W [outputs, inputs], or else x W. All three products take the same operands, of as many bits."""
    arrays, training = run.arrays, run.training
    bits = product_bits(*weight.data.shape[-2:], *x.data.shape[-2:-1] if training else ())
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
        if x.wanted:
            x.add_grad(arrays.matmul(upstream, weights.swapaxes(-1, -2)))
        if transposed:
            weight.add_grad(arrays.matmul(upstream.swapaxes(-1, -2), inputs))
        else:
            weight.add_grad(arrays.matmul(inputs.swapaxes(-1, -2), upstream))

    return run.value(outputs, backward)


def _add(run: Exact, one: Value, other: Value) -> Value:
    """Of the same shape, or a batch and a bias."""
    if one.data.ndim < other.data.ndim:
        one, other = other, one
    if one.data.ndim == other.data.ndim:
        if one.data.shape != other.data.shape:
            raise TypeError

        def backward(grad: Array) -> None:
            one.add_grad(grad)
            other.add_grad(grad)

        return run.value(one.data + other.data, backward)

    def backward_of_bias(grad: Array) -> None:
        one.add_grad(grad)
        other.add_grad(run.arrays.sum(run.arrays.grid(grad, sum_bits(grad.shape[-2])), axis=-2))

    return run.value(one.data + other.data[..., None, :], backward_of_bias)


def _multiply(run: Exact, value: Value, factor: float) -> Value:
    if isinstance(value, int | float):
        value, factor = factor, value
    if not isinstance(factor, int | float):
        raise TypeError
    return run.value(value.data * factor, lambda grad: value.add_grad(grad * factor))


def _relu(run: Exact, x: Value) -> Value:
    return run.value(run.arrays.maximum(x.data, 0.0), lambda grad: x.add_grad(grad * (x.data > 0)))


def _sigmoid(run: Exact, x: Value) -> Value:
    result = logistic(run.arrays, x.data)
    return run.value(result, lambda grad: x.add_grad(grad * (result * (1 - result))))


def _dropout(run: Exact, x: Value, p: float = 0.5, training: bool = True) -> Value:
    if not training or not run.training or p == 0:
        return x
    kept = run.arrays.stack([torch.rand(x.data.shape[-2:], generator=each) >= p for each in run.masks])
    factor = 1 / (1 - p) if p < 1 else 0.0
    return run.value(x.data * kept * factor, lambda grad: x.add_grad(grad * kept * factor))


def _flatten(_: Exact, x: Value, start_dim: int = 1, end_dim: int = -1) -> Value:
    if (start_dim, end_dim) != (1, -1):
        raise TypeError
    return x  # a batch has its examples in rows already


def _squeeze(run: Exact, x: Value, dim: int) -> Value:
    """[examples, 1] to [examples]."""
    if dim not in (1, -1) or x.data.shape[-1] != 1:
        raise TypeError
    return run.value(x.data[..., 0], lambda grad: x.add_grad(grad[..., None]))


def _absolute(run: Exact, parameter: Value) -> Value:
    return run.value(
        run.arrays.absolute(parameter.data), lambda grad: parameter.add_grad(run.arrays.sign(parameter.data) * grad)
    )


def _sum(run: Exact, value: Value) -> Value:
    """Of all numbers of a matrix."""
    size = value.data.shape[-1] * value.data.shape[-2]
    rounded = run.arrays.grid(value.data, sum_bits(size))
    return run.value(run.arrays.sum(rounded, axis=(-2, -1)), value.add_grad)


def _cross_entropy(run: Exact, logits: Value, targets: Value) -> Value:
    arrays, labels = run.arrays, targets.data
    run.check_shapes(logits.data, labels, classes=True)
    probabilities, shifted, totals = softmax(arrays, logits.data)

    def backward(grad: float) -> None:
        hot = arrays.one_hot(labels, probabilities)
        logits.add_grad((probabilities - hot) * (grad / labels.shape[-1]))

    return run.record(Mean(arrays, cross_entropies, totals, arrays.pick(shifted, labels)), backward)


def _mse_loss(run: Exact, outputs: Value, targets: Value) -> Value:
    run.check_shapes(outputs.data, targets.data)
    errors = outputs.data - targets.data
    return run.record(
        Mean(run.arrays, squares, errors), lambda grad: outputs.add_grad(errors * (2 * grad / errors.shape[-1]))
    )


def _binary_cross_entropy(run: Exact, probabilities: Value, targets: Value) -> Value:
    p, labels = probabilities.data, targets.data
    run.check_shapes(p, labels)

    def backward(grad: float) -> None:
        slope = (p - labels) / run.arrays.maximum((1 - p) * p, 1e-12)
        probabilities.add_grad(slope * (grad / labels.shape[-1]))

    return run.record(Mean(run.arrays, binary_cross_entropies, p, labels), backward)


OPERATIONS: dict[Any, Callable[..., Value]] = {
    functional.linear: _linear,
    torch.matmul: partial(_linear, transposed=False),
    torch.add: _add,
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
PRODUCTS = (functional.linear, torch.matmul)
METADATA = {getattr(torch.Tensor, name).__get__ for name in ("dtype", "shape", "ndim", "device")}
DEFAULTS: dict[str, Any] = {  # of torch's options, which change nothing
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
    """A function that takes a loss and moves the parameters one step of Adam (Kingma and Ba, 2015), in float32.

    Gives the second moments too: where one overflows, its parameter never moves again.

    The moments lack their factors of 1 - beta, which the step and epsilon have instead.
    """
    arrays, (beta1, beta2) = run.arrays, betas
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
