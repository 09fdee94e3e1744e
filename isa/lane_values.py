"""How the vector engine's functions compute: numpy on lane arrays, the last argument being written.

An element function takes its operands and the array for its result, as numpy's own do: that one has the
operands' common shape and the result's kind, and may be one of the operands. A reduction takes a 2-D array,
the axis that goes, and the 1-D array for its result. Float values are float32; integers are int32 and wrap.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import numpy as np

from .errors import Fault
from .formats import Array, Format, assign, narrowing

Evaluate = Callable[..., Any]


def _constant(value: float) -> Array:
    # Ufuncs take arrays without dimensions faster than numbers.
    return np.array(value, dtype=np.float32)


def _constants(*values: float) -> tuple[Array, ...]:
    return tuple(_constant(value) for value in values)


_PIECE = 16384
"""Elements of a piece."""

_HALF = _constant(0.5)
_ONE = _constant(1.0)
_GELU_CUBE = _constant(0.044715)
_SQRT_2_OVER_PI = _constant(np.sqrt(2.0 / np.pi))

# Minimax fits made for this file (weighted least squares in double, then rounded): erf(x)/x - 1 in x*x below
# 0.95, and -log(1 - erf(t)) in t above; together within 2 units in the last place of float32.
_ERF_SMALL = _constants(
    0.12837913632392883,
    -0.37612447142601013,
    0.11281321942806244,
    -0.02674889750778675,
    0.004967543296515942,
    -0.0005862226826138794,
)
_ERF_LARGE = _constants(
    -0.00018246004765387625,
    1.1295520067214966,
    0.6332724094390869,
    0.10836154967546463,
    -0.025171808898448944,
    0.004190856125205755,
    -0.00043852999806404114,
    2.144557402061764e-05,
)
_ERF_SPLIT = _constant(0.95)
_ERF_SATURATED = _constant(4.0)

# Another: log(1 - erf(h * sqrt(2))) / h in h, up to where its exponential is 0 in float32.
_GELU_TAIL = _constants(
    -1.5957770347595215,
    -1.2730512619018555,
    -0.29214176535606384,
    0.08172898739576340,
    -0.008703752420842648,
    -0.0032527132425457239,
    0.0012786446604877710,
    -0.00011846494453493506,
)
_GELU_SATURATED = _constant(7.15)


def strictly_above(left: Array, right: Array, out: Array) -> None:
    """a > b. Raises Fault at the first element where neither is greater."""
    np.greater(left, right, out)
    undecided = np.less(left, right)
    np.logical_or(undecided, out, undecided)
    if undecided.all():
        return
    place = np.unravel_index(np.argmin(undecided), undecided.shape)
    first = (np.broadcast_to(side, undecided.shape)[place] for side in (left, right))
    here = ", ".join(map(str, place))
    raise Fault(
        "element [{}] is {:g}, neither above nor below {:g}: no bit holds the zero of Sign; `--sign ternary` keeps it, "
        "`--sign assume-nonzero` takes it for +1".format(here, *first)
    )


def filled(function: Evaluate) -> Evaluate:
    """The element function that writes what `function` of the operands gives as a new array."""

    def evaluate(*arguments: Array) -> None:
        *operands, out = arguments
        out[...] = function(*operands)

    return evaluate


def in_pieces(function: Evaluate) -> Evaluate:
    """`function` of one operand, on a few rows after another, so that what it keeps meanwhile stays in the cache."""

    def evaluate(x: Array, out: Array) -> None:
        while len(x) == 1 < x.ndim:
            x, out = x[0], out[0]
        rows = max(1, _PIECE * len(x) // max(1, x.size))
        for start in range(0, len(x), rows):
            function(x[start : start + rows], out[start : start + rows])

    return update_wrapper(evaluate, function)


def identity(x: Array, out: Array) -> None:
    """The operand itself; a lane program makes no copy for it."""
    out[...] = x


to_float = assign
"""int32 or bool as float32."""

to_int = assign
"""bool as int32."""

float_to_int = narrowing("float", Format.I32)
"""float32 as int32: toward zero, saturated, NaN to 0."""


def minimum(a: Array, b: Array, out: Array | None = None) -> Array:
    """The smaller; NaN if either is NaN."""
    return np.minimum(a, b, out=out)


def maximum(a: Array, b: Array, out: Array | None = None) -> Array:
    """The larger; NaN if either is NaN."""
    return np.maximum(a, b, out=out)


def is_not_zero(x: Array, out: Array) -> None:
    """Whether x is anything but 0."""
    np.not_equal(x, 0, out)


def _polynomial(x: Array, coefficients: tuple[Array, ...]) -> Array:
    result = np.multiply(x, coefficients[-1])
    for coefficient in coefficients[-2:0:-1]:
        result += coefficient
        result *= x
    result += coefficients[0]
    return result


def erf(x: Array) -> Array:
    """The error function of float32 `x`, within 2 units in the last place; NaN stays NaN."""
    x = np.asarray(x, dtype=np.float32)
    small = x + x * _polynomial(x * x, _ERF_SMALL)
    magnitude = np.minimum(np.abs(x), _ERF_SATURATED)
    large = np.copysign(_ONE - np.exp(-_polynomial(magnitude, _ERF_LARGE)), x)
    return np.where(magnitude < _ERF_SPLIT, small, large)


@in_pieces
def gelu(x: Array, out: Array) -> None:
    """0.5 * x * (1 + erf(x / sqrt(2))), as h + |h| - |h| * (1 - erf(|h| * sqrt(2))) for h = x / 2.

    Nothing cancels in that form; the absolute error is below 3e-7.
    """
    half = np.multiply(x, _HALF)
    total = np.abs(half)
    magnitude = np.minimum(total, _GELU_SATURATED)
    tail = np.multiply(magnitude, _GELU_TAIL[-1])
    for coefficient in _GELU_TAIL[-2::-1]:
        tail += coefficient
        tail *= magnitude
    np.exp(tail, tail)
    tail *= magnitude
    total += half
    np.subtract(total, tail, out)


@in_pieces
def gelu_tanh(x: Array, out: Array) -> None:
    """0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))."""
    inner = np.multiply(x, _GELU_CUBE)
    inner *= x
    inner *= x
    inner += x
    inner *= _SQRT_2_OVER_PI
    np.tanh(inner, inner)
    inner += _ONE
    np.multiply(x, _HALF, out)
    out *= inner


def sigmoid(x: Array, out: Array) -> None:
    """1 / (1 + exp(-x))."""
    np.negative(x, out)
    np.exp(out, out)
    out += _ONE
    np.divide(_ONE, out, out)


def silu(x: Array, out: Array) -> None:
    """x * sigmoid(x)."""
    share = np.empty_like(x)
    sigmoid(x, share)
    np.multiply(x, share, out)


def softplus(x: Array, out: Array) -> None:
    """log(1 + exp(x)), without overflow."""
    np.logaddexp(_constant(0.0), x, out)


def reciprocal_square_root(x: Array, out: Array) -> None:
    """1 / sqrt(x)."""
    np.sqrt(x, out)
    np.divide(_ONE, out, out)


def reciprocal(x: Array, out: Array) -> None:
    """1 / x."""
    np.divide(_ONE, x, out)


def select(condition: Array, a: Array, b: Array) -> Array:
    """a where the condition holds, else b."""
    return np.where(condition, a, b)


def prune(a: Array, b: Array) -> Array:
    """a, but 0 where its magnitude is not above b; NaN stays."""
    return np.where(np.abs(a) <= b, np.float32(0), a)


def integer_divide(a: Array, b: Array) -> Array:
    """a / b truncated toward zero; anything by 0 is 0."""
    wide_a, wide_b = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    quotient = np.abs(wide_a) // np.where(wide_b == 0, 1, np.abs(wide_b))
    signed = np.where((wide_a < 0) != (wide_b < 0), -quotient, quotient)
    return np.where(wide_b == 0, 0, signed).astype(np.int32)


def integer_modulo(a: Array, b: Array) -> Array:
    """a - b * floor(a / b); by 0 it is 0."""
    return np.where(b == 0, np.int32(0), np.remainder(a, np.where(b == 0, np.int32(1), b)))


def integer_fmod(a: Array, b: Array) -> Array:
    """The remainder with the sign of a; by 0 it is 0."""
    return np.where(b == 0, np.int32(0), np.fmod(a, np.where(b == 0, np.int32(1), b)))


def integer_power(a: Array, b: Array) -> Array:
    """a to the power b, wrapping; a negative exponent gives 1 / a**-b truncated (0 for a = 0)."""
    positive = np.power(a, np.maximum(b, np.int32(0)), dtype=np.int32)
    # A negative exponent is one over the power, truncated: only 1 and -1 have anything left.
    inverse = np.where(a == 1, 1, np.where(a == -1, np.where((b & 1) == 0, 1, -1), 0)).astype(np.int32)
    return np.where(b < 0, inverse, positive)


def shift_left(a: Array, b: Array) -> Array:
    """a << b; 0 for b outside 0..31."""
    amount = np.clip(b, 0, 31)
    shifted = np.left_shift(np.asarray(a).view(np.uint32), amount.astype(np.uint32)).view(np.int32)
    return np.where((b < 0) | (b > 31), np.int32(0), shifted)


def shift_right(a: Array, b: Array) -> Array:
    """a >> b, the sign moves in; above 31 as 31, below 0 gives 0."""
    shifted = np.right_shift(a, np.clip(b, 0, 31))
    return np.where(b < 0, np.int32(0), shifted)


# The reductions of ufuncs: (values, axis, dtype, out, keepdims).
_sum: Evaluate = np.add.reduce
_maximum: Evaluate = np.maximum.reduce
_minimum: Evaluate = np.minimum.reduce


def reduce_sum(values: Array, axis: int, out: Array) -> None:
    """Sum; of bool, the count of true."""
    _sum(values, axis, out.dtype, out)


def reduce_max(values: Array, axis: int, out: Array) -> None:
    """Largest; NaN if any is NaN."""
    _maximum(values, axis, out.dtype, out)


def reduce_min(values: Array, axis: int, out: Array) -> None:
    """Smallest; NaN if any is NaN."""
    _minimum(values, axis, out.dtype, out)


def reduce_mean(values: Array, axis: int, out: Array) -> None:
    """Sum over count, in float32."""
    _sum(values, axis, out.dtype, out)
    out /= values.shape[axis]


def reduce_variance(values: Array, axis: int, out: Array) -> None:
    """The population variance with the values of the two-pass formula."""
    mean: Array = _sum(values, axis, out.dtype, None, True)
    mean /= values.shape[axis]
    centred = values - mean
    centred *= centred
    _sum(centred, axis, out.dtype, out)
    out /= values.shape[axis]
