"""The vector engine's element functions and reductions, each declared once: name, code, kinds, values.

Everything that names a lane function (the `nn.map` operation, the lane programs of `vx.program`, the manual)
takes it from `LANE_FUNCTIONS`. How each computes stands in `lane_values`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from . import lane_values as values
from .errors import UsageError
from .formats import KIND_DTYPES, Array, Kind, kind_of_dtype
from .frozen import frozen
from .lane_values import Evaluate

Kinds = tuple[Kind, ...]


@frozen
class LaneFunction:
    """One element function of the vector engine.

    name: how text calls it. code: 7 bits in `vx.program`, never 0. arity: 1 to 3. signatures: operand kinds
    to result kind. implementations: by operand kinds, functions that write to their last argument, which may
    be one of the operands. transcendental: uses the one table-driven unit of a pass. doc: meaning, for the
    manual.
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
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        result = np.empty(shape, KIND_DTYPES[self.result_kind(kinds)])
        with np.errstate(all="ignore"):
            self.implementations[kinds](*map(np.atleast_1d, arrays), np.atleast_1d(result))
        return result


@frozen
class Reduction:
    """A reduction of a pass: `signatures` from kind to kind; `accumulates` if the old value may join in.

    reduce(values, axis, result) of a 2-D lane array writes the 1-D result; combine(old, new) joins two, into
    a third argument if there is one.
    """

    name: str
    code: int
    signatures: Mapping[Kind, Kind]
    accumulates: bool
    reduce: Callable[[Array, int, Array], None]
    combine: Evaluate | None
    doc: str

    def evaluate(self, values: Array, axis: int) -> Array:
        """The reduction of a 2-D float32, int32 or bool array over an axis, as new 1-D float32 or int32."""
        kind = self.signatures[kind_of_dtype(values.dtype)]
        result = np.empty(values.shape[1 - axis], KIND_DTYPES[kind])
        with np.errstate(all="ignore"):
            self.reduce(values, axis, result)
        return result


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
        (_float(np.divide, 2), _int(values.filled(values.integer_divide), 2)),
    ),
    (
        "mod",
        5,
        True,
        "a - b * floor(a / b), the sign of b; by integer 0 is 0",
        (_float(np.remainder, 2), _int(values.filled(values.integer_modulo), 2)),
    ),
    (
        "fmod",
        6,
        True,
        "remainder with the sign of a; by integer 0 is 0",
        (_float(np.fmod, 2), _int(values.filled(values.integer_fmod), 2)),
    ),
    (
        "min",
        7,
        False,
        "the smaller; NaN if either is NaN",
        (_float(values.minimum, 2), _int(values.minimum, 2)),
    ),
    (
        "max",
        8,
        False,
        "the larger; NaN if either is NaN",
        (_float(values.maximum, 2), _int(values.maximum, 2)),
    ),
    (
        "pow",
        9,
        True,
        "a to the power b; integers wrap, a negative exponent gives 1 / a**-b truncated (0 for a = 0)",
        (_float(np.power, 2), _int(values.filled(values.integer_power), 2)),
    ),
    ("neg", 10, False, "-a", (_float(np.negative), _int(np.negative))),
    ("abs", 11, False, "magnitude of a", (_float(np.abs), _int(np.abs))),
    ("sign", 12, False, "-1, 0 or 1 by the sign of a; NaN for NaN", (_float(np.sign), _int(np.sign))),
    ("floor", 13, False, "largest whole number not above a", (_float(np.floor),)),
    ("ceil", 14, False, "smallest whole number not below a", (_float(np.ceil),)),
    ("rint", 15, False, "nearest whole number, half to even", (_float(np.rint),)),
    ("trunc", 16, False, "a without its fraction", (_float(np.trunc),)),
    ("sqrt", 17, True, "square root", (_float(np.sqrt),)),
    ("rsqrt", 18, True, "1 / sqrt(a)", (_float(values.reciprocal_square_root),)),
    ("reciprocal", 19, True, "1 / a", (_float(values.reciprocal),)),
    ("exp", 20, True, "e to the power a", (_float(np.exp),)),
    ("log", 21, True, "natural logarithm", (_float(np.log),)),
    ("erf", 22, True, "error function", (_float(values.in_pieces(values.filled(values.erf))),)),
    ("tanh", 23, True, "hyperbolic tangent", (_float(np.tanh),)),
    ("sigmoid", 24, True, "1 / (1 + exp(-a))", (_float(values.sigmoid),)),
    ("gelu", 25, True, "0.5 * a * (1 + erf(a / sqrt(2)))", (_float(values.gelu),)),
    (
        "gelu_tanh",
        26,
        True,
        "0.5 * a * (1 + tanh(sqrt(2 / pi) * (a + 0.044715 * a**3)))",
        (_float(values.gelu_tanh),),
    ),
    ("silu", 27, True, "a * sigmoid(a)", (_float(values.silu),)),
    ("softplus", 28, True, "log(1 + exp(a)), without overflow", (_float(values.softplus),)),
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
    ("shift_left", 53, False, "a << b; 0 for b outside 0..31", (_int(values.filled(values.shift_left), 2),)),
    (
        "shift_right",
        54,
        False,
        "a >> b, the sign moves in; above 31 as 31, below 0 gives 0",
        (_int(values.filled(values.shift_right), 2),),
    ),
    (
        "select",
        55,
        False,
        "a where the condition (first operand) holds, else b",
        (
            (_B + _F + _F, "float", values.filled(values.select)),
            (_B + _I + _I, "int", values.filled(values.select)),
            (_B + _B + _B, "bool", values.filled(values.select)),
        ),
    ),
    ("is_nan", 56, False, "whether a is NaN", ((_F, "bool", np.isnan),)),
    ("is_inf", 57, False, "whether a is infinite", ((_F, "bool", np.isinf),)),
    (
        "to_float",
        58,
        False,
        "as float; true is 1.0",
        ((_F, "float", values.identity), (_I, "float", values.to_float), (_B, "float", values.to_float)),
    ),
    (
        "to_int",
        59,
        False,
        "as int: toward zero, saturated, NaN is 0; true is 1",
        ((_F, "int", values.float_to_int), (_I, "int", values.identity), (_B, "int", values.to_int)),
    ),
    (
        "to_bool",
        60,
        False,
        "a != 0",
        ((_F, "bool", values.is_not_zero), (_I, "bool", values.is_not_zero), (_B, "bool", values.identity)),
    ),
    ("bit_not", 61, False, "every bit turned over", (_int(np.invert),)),
    (
        "above",
        62,
        False,
        "a > b; a fault where they are equal or either is NaN: the one bit of a sign has no zero",
        (_compare(values.strictly_above, _F), _compare(values.strictly_above, _I)),
    ),
    ("prune", 63, False, "a, but 0 where its magnitude is not above b", (_float(values.filled(values.prune), 2),)),
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
        Reduction("sum", 1, _KEPT, True, values.reduce_sum, np.add, "sum; of bool, the count of true"),
        Reduction("max", 2, _KEPT, True, values.reduce_max, values.maximum, "largest; NaN if any is NaN"),
        Reduction("min", 3, _KEPT, True, values.reduce_min, values.minimum, "smallest; NaN if any is NaN"),
        Reduction("mean", 4, _AS_FLOAT, False, values.reduce_mean, None, "sum / count"),
        Reduction(
            "variance",
            5,
            _AS_FLOAT,
            False,
            values.reduce_variance,
            None,
            "mean of (a - mean)**2: the population variance with the values of the two-pass formula",
        ),
    )
}
"""Every reduction of a pass by name."""

REDUCTIONS_BY_CODE: Mapping[int, Reduction] = {item.code: item for item in REDUCTIONS.values()}
"""Every reduction by its 3-bit code."""
