"""Every numerical operation of training and prediction is on a list of exact or correctly rounded ones, with reasons.

Every kind of network trains for some steps while each operation is recorded: NumPy's by a subclass of its arrays,
torch's by a TorchDispatchMode. An operation that is not on the list fails the test, as does a product or a sum whose
actual operands have too many bits.
"""

import ast
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import ROOT
from kinds import Kind, kinds
from mlp.evaluation import probabilities
from mlp.on_numpy import OnNumpy, _has_exact_byte_products
from mlp.on_torch import OnTorch
from mlp.prediction import predict
from mlp.spec import Settings
from mlp.training import fit

SETTINGS = Settings(epochs=2, batch_size=128, learning_rate=0.01)  # the last batch of an epoch is smaller

CORRECTLY_ROUNDED = "an operation of IEEE 754, which gives the number nearest to the true result"
EXACT = "its result is a floating-point number or an integer, so nothing is rounded"
COUNTED = "exact, as the bits of its operands show, which this test counts"
MOVED = "numbers are copied or put in another order, and stay the same"
RANDOM = "integers of the Mersenne Twister, which torch makes float32 without rounding"

NUMPY = {
    **dict.fromkeys(["add", "subtract", "multiply", "divide", "sqrt"], CORRECTLY_ROUNDED),
    **dict.fromkeys(["absolute", "negative", "sign", "maximum", "minimum", "maximum.reduce", "minimum.reduce"], EXACT),
    **dict.fromkeys(["rint", "frexp", "ldexp"], EXACT),
    **dict.fromkeys(["less", "greater", "greater_equal", "equal", "logical_and.reduce"], EXACT),
    **dict.fromkeys(["right_shift", "bitwise_and", "bitwise_xor"], EXACT),
    **dict.fromkeys(["where", "concatenate", "broadcast_to", "copyto"], MOVED),
    **dict.fromkeys(["matmul", "add.reduce"], COUNTED),
}
MOVES = """
    _local_scalar_dense _reshape_alias _unsafe_view alias arange cat clone copy_ detach empty empty_like equal
    expand fill_ full gather index index_select is_same_size lift_fresh masked_fill new_empty new_tensor ones ones_like
    permute reshape scalar_tensor select set_ slice slice_scatter split squeeze stack t transpose unbind
    unsafe_split unsqueeze view where zero_ zeros zeros_like
""".split()  # noqa: SIM905 - a list of this many strings is hard to read
TORCH = {
    **dict.fromkeys(["add", "add_", "sub", "sub_", "rsub", "mul", "mul_", "div", "div_"], CORRECTLY_ROUNDED),
    "sqrt": "correctly rounded on a GPU; on a processor NumPy's takes its place",
    **dict.fromkeys(
        ["abs", "neg", "sgn", "sign", "clamp", "clamp_min", "clamp_max", "amax", "amin", "maximum", "relu"], EXACT
    ),
    **dict.fromkeys(["round", "frexp", "eq", "ne", "gt", "ge", "lt", "isfinite", "all", "bitwise_and"], EXACT),
    **dict.fromkeys(
        ["__rshift__", "__lshift__", "__and__", "bitwise_right_shift", "bitwise_left_shift", "remainder"], EXACT
    ),
    "_to_copy": "from a shorter to a longer type it is exact, to float32 correctly rounded",
    **dict.fromkeys(["bmm", "mm", "_int_mm", "sum"], COUNTED),
    **dict.fromkeys(["rand", "randperm"], RANDOM),
    "uniform_": "the first weights of nn.Linear's own, which others replace",
    **dict.fromkeys(MOVES, MOVED),
}


def bits(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns for each row the least b for which all |numbers| are multiples of some 2^p and at most 2^(p + b)."""
    assert np.isfinite(rows).all()
    mantissas, exponents = np.frexp(rows)
    whole = (mantissas * 2.0**53).astype(np.int64)
    trailing = np.zeros_like(whole)
    for shift in (32, 16, 8, 4, 2, 1):
        even = (whole & ((1 << shift) - 1)) == 0
        whole, trailing = np.where(even, whole >> shift, whole), trailing + even * shift
    nonzero = rows != 0
    lowest = np.where(nonzero, exponents - 53 + trailing, 2**20).min(axis=-1, initial=2**20)
    largest = np.abs(rows).max(axis=-1, initial=0.0)
    mantissa, exponent = np.frexp(largest)
    return np.where(largest > 0, exponent - (mantissa == 0.5) - lowest, 0)


def product_is_exact(a: NDArray[Any], b: NDArray[Any], most: int = 53) -> bool:
    size = math.ceil(math.log2(a.shape[-1]))
    return bool((bits(a).max(initial=0) + bits(b.swapaxes(-1, -2)).max(initial=0) + size) <= most)


def sum_is_exact(rows: NDArray[np.float64]) -> bool:
    return bool((bits(rows) + math.ceil(math.log2(rows.shape[-1])) <= 53).all())


class Recorded(np.ndarray[Any, Any]):
    """An array that records the operations on it."""

    seen: "dict[str, int]" = {}  # noqa: RUF012 - replaced for each test

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        name = ufunc.__name__ + ("" if method == "__call__" else f".{method}")
        Recorded.seen[name] = Recorded.seen.get(name, 0) + 1
        plain = [plainly(each) for each in inputs]
        options = {key: tuple(map(plainly, value)) if key == "out" else value for key, value in options.items()}
        wide = None
        if name in ("add", "subtract", "multiply") and getattr(plain[0], "dtype", None) == np.int32:
            wide = ufunc(plain[0].astype(np.int64), *plain[1:])
        if name == "matmul":
            assert product_is_exact(*plain)
        if name == "add.reduce":
            axes = options["axis"] if isinstance(options["axis"], tuple) else (options["axis"],)
            moved = np.moveaxis(plain[0], axes, range(-len(axes), 0))
            assert sum_is_exact(moved.reshape(*moved.shape[: moved.ndim - len(axes)], -1))
        result = getattr(ufunc, method)(*plain, **options)
        assert wide is None or np.array_equal(result, wide), "an integer overflows"
        return tuple(map(recorded, result)) if isinstance(result, tuple) else recorded(result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        Recorded.seen[function.__name__] = Recorded.seen.get(function.__name__, 0) + 1
        given = [[plainly(each) for each in arg] if isinstance(arg, list | tuple) else plainly(arg) for arg in args]
        return recorded(function(*given, **kwargs))


def plainly(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Recorded) else value


def recorded(value: Any) -> Any:
    return value.view(Recorded) if isinstance(value, np.ndarray) else value


class RecordingNumpy(OnNumpy):
    exp, exp_part, log = map(recorded, (OnNumpy.exp, OnNumpy.exp_part, OnNumpy.log))

    def load(self, tensor: torch.Tensor) -> Any:
        return recorded(super().load(tensor))

    def unstack(self, array: Any) -> list[torch.Tensor]:
        return super().unstack(plainly(array))


class RecordingTorch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: dict[str, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        self.seen[name] = self.seen.get(name, 0) + 1
        options = kwargs or {}
        if name in ("add", "sub", "add_", "sub_", "rsub"):
            assert options.get("alpha", 1) == 1, "a factor may be fused with the sum"
        if name in ("div", "div_") and not isinstance(args[1], torch.Tensor):
            assert math.frexp(args[1])[0] == 0.5, "on a GPU torch multiplies by the reciprocal, which rounds twice"
        if name in ("bmm", "mm"):
            assert product_is_exact(*(each.numpy() for each in args[:2]))
        if name == "_int_mm":
            one, other = (each.double().numpy() for each in args[:2])
            assert product_is_exact(one, other, most=31)
        if name == "sum" and args[0].is_floating_point():
            axes = args[1] if len(args) > 1 else list(range(args[0].ndim))
            moved = np.moveaxis(args[0].double().numpy(), axes, range(-len(axes), 0))
            assert sum_is_exact(moved.reshape(*moved.shape[: moved.ndim - len(axes)], -1))
        return function(*args, **options)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    monkeypatch.setattr(Recorded, "seen", {})
    monkeypatch.setattr("mlp.evaluation.OnNumpy", RecordingNumpy)
    monkeypatch.setattr("mlp.exact.OnNumpy", RecordingNumpy)
    return Recorded.seen


def steps(kind: Kind, arrays: Any, seeds: list[int]) -> None:
    networks = fit(kind.make_network, kind.examples, kind.loss, SETTINGS, seeds, arrays=arrays)
    outputs = predict(networks[0], kind.examples)
    if outputs.ndim == 2:
        probabilities(outputs)


@pytest.mark.parametrize("name", kinds())
@pytest.mark.parametrize("stacked", [False, True], ids=["NumPy", "torch"])
def test_every_operation_is_on_the_list(name: str, stacked: bool, seen: dict[str, int]) -> None:
    kind = kinds()[name]
    multiplies_bytes = _has_exact_byte_products() and name in {"shallow", "deep", "ten hidden layers"}
    with RecordingTorch() as mode:
        steps(kind, OnTorch("cpu") if stacked else RecordingNumpy(), [0, 1] if stacked else [0])
    assert set(seen) <= set(NUMPY)
    assert set(mode.seen) <= set(TORCH)
    products = mode.seen["bmm"] if stacked else seen["matmul"]
    assert products > 20
    assert ("_int_mm" in mode.seen) == multiplies_bytes
    assert not stacked or "sqrt" not in mode.seen


@pytest.mark.usefixtures("seen")
def test_the_audit_sees_an_inexact_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlp.exact.product_bits", lambda *_: 30)
    with pytest.raises(AssertionError):
        steps(kinds()["prices"], RecordingNumpy(), [0])


def test_the_audit_sees_an_operation_that_is_not_on_the_list(seen: dict[str, int]) -> None:
    np.exp(recorded(np.ones(3)))
    assert set(seen) - set(NUMPY) == {"exp"}


@pytest.mark.parametrize("module", ["exact", "on_numpy"])
def test_nothing_else_from_numpy_or_math_is_used(module: str) -> None:
    """Calls with plain numbers are not recorded, so this test reads the source."""
    tree = ast.parse((ROOT / "mlp" / f"{module}.py").read_text())
    named = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("np", "math")
    }
    of_types = {"np.float64", "np.float32", "np.int64", "np.int32", "np.int8"}
    of_types |= {"np.inf", "np.arange", "np.asarray", "np.empty"}
    of_scalars = {
        "math.sqrt",
        "math.frexp",
        "math.ldexp",
        "math.inf",
        "math.nan",
    }  # sqrt is correctly rounded, the rest are exact
    assert named - of_types - of_scalars <= {f"np.{name.partition('.')[0]}" for name in NUMPY}
    powers = [node for node in ast.walk(tree) if isinstance(node, ast.Pow)]
    assert len(powers) == (1 if module == "exact" else 0), "** is the C library's pow: here of 2 with an integer"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([1.0], 0),
        ([3.0], 2),
        ([0.0, 0.0], 0),
        ([0.75, 4.0], 4),
        ([1.0, -(2.0**-52)], 52),
        ([5e-324], 0),
        ([1.5, 0.5], 2),
    ],
)
def test_bits_are_counted(rows: list[float], expected: int) -> None:
    assert bits(np.array([rows])).tolist() == [expected]
