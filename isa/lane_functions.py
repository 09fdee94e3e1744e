"""The vector engine's element functions and reductions, each declared once: name, code, kinds, values.

Everything that names a lane function (the `nn.map` operation, the lane programs of `vx.program`, the manual)
takes it from `LANE_FUNCTIONS`. Float values are float32 in and out; integers are int32 and wrap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import UsageError
from .formats import Array, Format, Kind, kind_of_dtype, truncate

Kinds = tuple[Kind, ...]
Evaluate = Callable[..., Any]

_HALF = np.float32(0.5)
_ONE = np.float32(1.0)
_SQRT_HALF = np.float32(np.sqrt(0.5))
_GELU_CUBE = np.float32(0.044715)
_SQRT_2_OVER_PI = np.float32(np.sqrt(2.0 / np.pi))
_INT_MIN = np.int32(-(2**31))

# Minimax fits made for this file (weighted least squares in double, then rounded): erf(x)/x - 1 in x*x below
# 0.95, and -log(1 - erf(t)) in t above; together within 2 units in the last place of float32.
_ERF_SMALL = tuple(
    np.float32(c)
    for c in (
        0.12837913632392883,
        -0.37612447142601013,
        0.11281321942806244,
        -0.02674889750778675,
        0.004967543296515942,
        -0.0005862226826138794,
    )
)
_ERF_LARGE = tuple(
    np.float32(c)
    for c in (
        -0.00018246004765387625,
        1.1295520067214966,
        0.6332724094390869,
        0.10836154967546463,
        -0.025171808898448944,
        0.004190856125205755,
        -0.00043852999806404114,
        2.144557402061764e-05,
    )
)
_ERF_SPLIT = np.float32(0.95)
_ERF_SATURATED = np.float32(4.0)


def _polynomial(x: Array, coefficients: tuple[np.float32, ...]) -> Array:
    result = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result *= x
        result += coefficient
    return result


def erf(x: Array) -> Array:
    """The error function of float32 `x`, within 2 units in the last place; NaN stays NaN."""
    x = np.asarray(x, dtype=np.float32)
    small = x + x * _polynomial(x * x, _ERF_SMALL)
    magnitude = np.minimum(np.abs(x), _ERF_SATURATED)
    large = np.copysign(_ONE - np.exp(-_polynomial(magnitude, _ERF_LARGE)), x)
    return np.where(magnitude < _ERF_SPLIT, small, large)


def _sigmoid(x: Array) -> Array:
    return _ONE / (_ONE + np.exp(-x))


def _silu(x: Array) -> Array:
    return x * _sigmoid(x)


def _gelu(x: Array) -> Array:
    return _HALF * x * (_ONE + erf(x * _SQRT_HALF))


def _gelu_tanh(x: Array) -> Array:
    return _HALF * x * (_ONE + np.tanh(_SQRT_2_OVER_PI * (x + _GELU_CUBE * x * x * x)))


def _integer_divide(a: Array, b: Array) -> Array:
    wide_a, wide_b = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    quotient = np.abs(wide_a) // np.where(wide_b == 0, 1, np.abs(wide_b))
    signed = np.where((wide_a < 0) != (wide_b < 0), -quotient, quotient)
    return np.where(wide_b == 0, 0, signed).astype(np.int32)


def _integer_modulo(a: Array, b: Array) -> Array:
    return np.where(b == 0, np.int32(0), np.remainder(a, np.where(b == 0, np.int32(1), b)))


def _integer_fmod(a: Array, b: Array) -> Array:
    return np.where(b == 0, np.int32(0), np.fmod(a, np.where(b == 0, np.int32(1), b)))


def _integer_power(a: Array, b: Array) -> Array:
    positive = np.power(a, np.maximum(b, np.int32(0)), dtype=np.int32)
    # A negative exponent is one over the power, truncated: only 1 and -1 have anything left.
    inverse = np.where(a == 1, 1, np.where(a == -1, np.where((b & 1) == 0, 1, -1), 0)).astype(np.int32)
    return np.where(b < 0, inverse, positive)


def _shift_left(a: Array, b: Array) -> Array:
    amount = np.clip(b, 0, 31)
    shifted = np.left_shift(np.asarray(a).view(np.uint32), amount.astype(np.uint32)).view(np.int32)
    return np.where((b < 0) | (b > 31), np.int32(0), shifted)


def _shift_right(a: Array, b: Array) -> Array:
    shifted = np.right_shift(a, np.clip(b, 0, 31))
    return np.where(b < 0, np.int32(0), shifted)


def _float_to_int(x: Array) -> Array:
    return truncate(x, Format.I32)


def _to_float(x: Array) -> Array:
    return np.asarray(x).astype(np.float32)


def _to_int(x: Array) -> Array:
    return np.asarray(x).astype(np.int32)


def _is_not_zero(x: Array) -> Array:
    return np.not_equal(x, 0)


def _same(x: Array) -> Array:
    return x


def _sign(x: Array) -> Array:
    # numpy's sign of -0.0 is 0.0 and of NaN is NaN, as ONNX has it.
    return np.sign(x)


def _select(condition: Array, a: Array, b: Array) -> Array:
    return np.where(condition, a, b)


def _softplus(x: Array) -> Array:
    return np.logaddexp(np.float32(0), x)


def _reciprocal_square_root(x: Array) -> Array:
    return _ONE / np.sqrt(x)


def _reciprocal(x: Array) -> Array:
    return _ONE / x


@dataclass(frozen=True)
class LaneFunction:
    """One element function of the vector engine.

    name: how text calls it. code: 7 bits in `vx.program`, never 0. arity: 1 to 3. signatures: operand kinds
    to result kind. transcendental: uses the one table-driven unit of a pass. doc: meaning, for the manual.
    """

    name: str
    code: int
    arity: int
    signatures: Mapping[Kinds, Kind]
    implementations: Mapping[Kinds, Evaluate]
    transcendental: bool
    doc: str

    def result_kind(self, kinds: Kinds) -> Kind:
        """The kind of the result for operands of `kinds`; UsageError when there is no such form."""
        try:
            return self.signatures[kinds]
        except KeyError:
            forms = ", ".join("(" + ", ".join(k) + ")" for k in self.signatures)
            raise UsageError(f"{self.name} has no form for ({', '.join(kinds)})", f"it has {forms}") from None

    def evaluate(self, *operands: Array) -> Array:
        """The function of float32, int32 or bool arrays (numpy broadcasting); same kinds as in the lanes."""
        arrays = [np.asarray(operand) for operand in operands]
        kinds: Kinds = tuple(kind_of_dtype(array.dtype) for array in arrays)
        self.result_kind(kinds)
        with np.errstate(all="ignore"):
            return self.implementations[kinds](*arrays)


@dataclass(frozen=True)
class Reduction:
    """A reduction of a pass: `signatures` from kind to kind; `accumulates` if the old value may join in.

    evaluate(values, axis) of a 2-D lane array gives float32 or int32 without that axis; combine(old, new).
    """

    name: str
    code: int
    signatures: Mapping[Kind, Kind]
    accumulates: bool
    evaluate: Callable[[Array, int], Array]
    combine: Callable[[Array, Array], Array] | None
    doc: str


def _reduce_sum(values: Array, axis: int) -> Array:
    return values.sum(axis=axis, dtype=np.float32 if values.dtype == np.float32 else np.int32)


def _reduce_max(values: Array, axis: int) -> Array:
    result = values.max(axis=axis)
    return result.astype(np.int32) if result.dtype == np.bool_ else result


def _reduce_min(values: Array, axis: int) -> Array:
    result = values.min(axis=axis)
    return result.astype(np.int32) if result.dtype == np.bool_ else result


def _reduce_mean(values: Array, axis: int) -> Array:
    return values.mean(axis=axis, dtype=np.float32)


def _reduce_variance(values: Array, axis: int) -> Array:
    centred = values - values.mean(axis=axis, dtype=np.float32, keepdims=True)
    return (centred * centred).mean(axis=axis, dtype=np.float32)


_F: Kinds = ("float",)
_I: Kinds = ("int",)
_B: Kinds = ("bool",)

_Form = tuple[Kinds, Kind, Evaluate]


def _float(evaluate: Evaluate, arity: int = 1) -> _Form:
    return (_F * arity, "float", evaluate)


def _int(evaluate: Evaluate, arity: int = 1) -> _Form:
    return (_I * arity, "int", evaluate)


def _compare(evaluate: Evaluate, kinds: Kinds) -> _Form:
    return (kinds * 2, "bool", evaluate)


# name, code, transcendental, doc, forms. Codes are part of the encoding: never reused or moved.
_DECLARED: tuple[tuple[str, int, bool, str, tuple[_Form, ...]], ...] = (
    ("add", 1, False, "a + b", (_float(np.add, 2), _int(np.add, 2))),
    ("sub", 2, False, "a - b", (_float(np.subtract, 2), _int(np.subtract, 2))),
    ("mul", 3, False, "a * b", (_float(np.multiply, 2), _int(np.multiply, 2))),
    (
        "div",
        4,
        True,
        "a / b; integers truncate toward zero, anything by integer 0 is 0",
        (_float(np.divide, 2), _int(_integer_divide, 2)),
    ),
    (
        "mod",
        5,
        True,
        "a - b * floor(a / b), the sign of b; by integer 0 is 0",
        (_float(np.remainder, 2), _int(_integer_modulo, 2)),
    ),
    (
        "fmod",
        6,
        True,
        "remainder with the sign of a; by integer 0 is 0",
        (_float(np.fmod, 2), _int(_integer_fmod, 2)),
    ),
    ("min", 7, False, "the smaller; NaN if either is NaN", (_float(np.minimum, 2), _int(np.minimum, 2))),
    ("max", 8, False, "the larger; NaN if either is NaN", (_float(np.maximum, 2), _int(np.maximum, 2))),
    (
        "pow",
        9,
        True,
        "a to the power b; integers wrap, a negative exponent gives 1 / a**-b truncated (0 for a = 0)",
        (_float(np.power, 2), _int(_integer_power, 2)),
    ),
    ("neg", 10, False, "-a", (_float(np.negative), _int(np.negative))),
    ("abs", 11, False, "magnitude of a", (_float(np.abs), _int(np.abs))),
    ("sign", 12, False, "-1, 0 or 1 by the sign of a; NaN for NaN", (_float(_sign), _int(_sign))),
    ("floor", 13, False, "largest whole number not above a", (_float(np.floor),)),
    ("ceil", 14, False, "smallest whole number not below a", (_float(np.ceil),)),
    ("rint", 15, False, "nearest whole number, half to even", (_float(np.rint),)),
    ("trunc", 16, False, "a without its fraction", (_float(np.trunc),)),
    ("sqrt", 17, True, "square root", (_float(np.sqrt),)),
    ("rsqrt", 18, True, "1 / sqrt(a)", (_float(_reciprocal_square_root),)),
    ("reciprocal", 19, True, "1 / a", (_float(_reciprocal),)),
    ("exp", 20, True, "e to the power a", (_float(np.exp),)),
    ("log", 21, True, "natural logarithm", (_float(np.log),)),
    ("erf", 22, True, "error function", (_float(erf),)),
    ("tanh", 23, True, "hyperbolic tangent", (_float(np.tanh),)),
    ("sigmoid", 24, True, "1 / (1 + exp(-a))", (_float(_sigmoid),)),
    ("gelu", 25, True, "0.5 * a * (1 + erf(a / sqrt(2)))", (_float(_gelu),)),
    (
        "gelu_tanh",
        26,
        True,
        "0.5 * a * (1 + tanh(sqrt(2 / pi) * (a + 0.044715 * a**3)))",
        (_float(_gelu_tanh),),
    ),
    ("silu", 27, True, "a * sigmoid(a)", (_float(_silu),)),
    ("softplus", 28, True, "log(1 + exp(a)), without overflow", (_float(_softplus),)),
    ("sin", 29, True, "sine", (_float(np.sin),)),
    ("cos", 30, True, "cosine", (_float(np.cos),)),
    ("tan", 31, True, "tangent", (_float(np.tan),)),
    ("asin", 32, True, "arc sine", (_float(np.arcsin),)),
    ("acos", 33, True, "arc cosine", (_float(np.arccos),)),
    ("atan", 34, True, "arc tangent", (_float(np.arctan),)),
    ("sinh", 35, True, "hyperbolic sine", (_float(np.sinh),)),
    ("cosh", 36, True, "hyperbolic cosine", (_float(np.cosh),)),
    ("asinh", 37, True, "inverse hyperbolic sine", (_float(np.arcsinh),)),
    ("acosh", 38, True, "inverse hyperbolic cosine", (_float(np.arccosh),)),
    ("atanh", 39, True, "inverse hyperbolic tangent", (_float(np.arctanh),)),
    (
        "eq",
        40,
        False,
        "a == b",
        (_compare(np.equal, _F), _compare(np.equal, _I), _compare(np.equal, _B)),
    ),
    (
        "ne",
        41,
        False,
        "a != b",
        (_compare(np.not_equal, _F), _compare(np.not_equal, _I), _compare(np.not_equal, _B)),
    ),
    ("lt", 42, False, "a < b", (_compare(np.less, _F), _compare(np.less, _I))),
    ("le", 43, False, "a <= b", (_compare(np.less_equal, _F), _compare(np.less_equal, _I))),
    ("gt", 44, False, "a > b", (_compare(np.greater, _F), _compare(np.greater, _I))),
    ("ge", 45, False, "a >= b", (_compare(np.greater_equal, _F), _compare(np.greater_equal, _I))),
    ("and", 46, False, "both", (_compare(np.logical_and, _B),)),
    ("or", 47, False, "either", (_compare(np.logical_or, _B),)),
    ("xor", 48, False, "exactly one", (_compare(np.logical_xor, _B),)),
    ("not", 49, False, "the other truth value", ((_B, "bool", np.logical_not),)),
    ("bit_and", 50, False, "bits set in both", (_int(np.bitwise_and, 2),)),
    ("bit_or", 51, False, "bits set in either", (_int(np.bitwise_or, 2),)),
    ("bit_xor", 52, False, "bits set in exactly one", (_int(np.bitwise_xor, 2),)),
    ("shift_left", 53, False, "a << b; 0 for b outside 0..31", (_int(_shift_left, 2),)),
    (
        "shift_right",
        54,
        False,
        "a >> b, the sign moves in; above 31 as 31, below 0 gives 0",
        (_int(_shift_right, 2),),
    ),
    (
        "select",
        55,
        False,
        "a where the condition (first operand) holds, else b",
        (
            (_B + _F + _F, "float", _select),
            (_B + _I + _I, "int", _select),
            (_B + _B + _B, "bool", _select),
        ),
    ),
    ("is_nan", 56, False, "whether a is NaN", ((_F, "bool", np.isnan),)),
    ("is_inf", 57, False, "whether a is infinite", ((_F, "bool", np.isinf),)),
    (
        "to_float",
        58,
        False,
        "as float; true is 1.0",
        ((_F, "float", _same), (_I, "float", _to_float), (_B, "float", _to_float)),
    ),
    (
        "to_int",
        59,
        False,
        "as int: toward zero, saturated, NaN is 0; true is 1",
        ((_F, "int", _float_to_int), (_I, "int", _same), (_B, "int", _to_int)),
    ),
    (
        "to_bool",
        60,
        False,
        "a != 0",
        ((_F, "bool", _is_not_zero), (_I, "bool", _is_not_zero), (_B, "bool", _same)),
    ),
    ("bit_not", 61, False, "every bit turned over", (_int(np.invert),)),
)

LANE_FUNCTIONS: Mapping[str, LaneFunction] = {
    name: LaneFunction(
        name=name,
        code=code,
        arity=len(forms[0][0]),
        signatures={kinds: result for kinds, result, _ in forms},
        implementations={kinds: evaluate for kinds, _, evaluate in forms},
        transcendental=transcendental,
        doc=doc,
    )
    for name, code, transcendental, doc, forms in _DECLARED
}
"""Every lane function by name."""

LANE_FUNCTIONS_BY_CODE: Mapping[int, LaneFunction] = {item.code: item for item in LANE_FUNCTIONS.values()}
"""Every lane function by its 7-bit code."""

_KEPT: Mapping[Kind, Kind] = {"float": "float", "int": "int", "bool": "int"}
_AS_FLOAT: Mapping[Kind, Kind] = {"float": "float", "int": "float"}

REDUCTIONS: Mapping[str, Reduction] = {
    item.name: item
    for item in (
        Reduction("sum", 1, _KEPT, True, _reduce_sum, np.add, "sum; of bool, the count of true"),
        Reduction("max", 2, _KEPT, True, _reduce_max, np.maximum, "largest; NaN if any is NaN"),
        Reduction("min", 3, _KEPT, True, _reduce_min, np.minimum, "smallest; NaN if any is NaN"),
        Reduction("mean", 4, _AS_FLOAT, False, _reduce_mean, None, "sum / count"),
        Reduction(
            "variance",
            5,
            _AS_FLOAT,
            False,
            _reduce_variance,
            None,
            "mean of (a - mean)**2: the population variance with the values of the two-pass formula",
        ),
    )
}
"""Every reduction of a pass by name."""

REDUCTIONS_BY_CODE: Mapping[int, Reduction] = {item.code: item for item in REDUCTIONS.values()}
"""Every reduction by its 3-bit code."""
