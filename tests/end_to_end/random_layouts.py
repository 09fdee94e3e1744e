"""Random graphs of layout operators, indexing, comparisons and integer arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from .model_builder import Builder, Value

MOST = 6000
"""Elements of a value at most."""

KINDS: tuple[np.dtype[Any], ...] = tuple(np.dtype(t) for t in (np.float32, np.int64, np.int32, np.bool_))


class Grower:
    """Adds one drawn operator after another to a pool of values."""

    def __init__(self, b: Builder) -> None:
        self.b = b
        self.values: list[Value] = []

    def start(self) -> None:
        """A few inputs."""
        for _ in range(self.b.between(1, 3)):
            shape = [self.b.pick(1, 2, 3, self.b.between(1, 37)) for _ in range(self.b.between(1, 4))]
            while np.prod(shape) > MOST:
                shape[int(np.argmax(shape))] = 2
            self.values.append(self.b.input(self.draw(shape, self.b.pick(*KINDS))))

    def draw(self, shape: list[int] | tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """Values of a type: floats about one, integers that do not overflow soon."""
        if dtype.kind == "f":
            return self.b.normal(*shape)
        if dtype.kind == "b":
            return self.b.rng.random(shape) < 0.5
        return self.b.rng.integers(-20, 21, shape).astype(dtype)

    def step(self) -> None:
        """Add one operator; a draw that does not fit adds none."""
        b, value = self.b, self.b.pick(*self.values[-5:])
        rules = [*LAYOUT, *LAYOUT]
        rules += {"f": FLOAT, "i": INTEGER, "b": LOGICAL}[value.dtype.kind]
        made = b.pick(*rules)(self, value)
        if made is not None and 0 < np.prod(made.shape) <= MOST and len(made.shape) <= 6:
            self.values.append(made)

    def partner(self, value: Value) -> Value:
        """A value that broadcasts with another, from the pool or new."""
        fits = [
            other
            for other in self.values
            if other.dtype == value.dtype
            and all(x == y or 1 in (x, y) for x, y in zip(other.shape[::-1], value.shape[::-1], strict=False))
        ]
        if self.b.chance() and fits:
            return self.b.pick(*fits)
        shape = [self.b.pick(1, extent) for extent in value.shape][self.b.between(0, len(value.shape)) :]
        return self.b.constant(self.draw(shape, value.dtype))

    def axis(self, value: Value) -> int:
        """An axis, counted from either end."""
        rank = len(value.shape)
        return self.b.between(-rank, rank - 1)


Rule = Callable[[Grower, Value], Value | None]


def _transpose(g: Grower, v: Value) -> Value | None:
    return g.b("Transpose", v, perm=[int(x) for x in g.b.rng.permutation(len(v.shape))]) if v.shape else None


def _reshape(g: Grower, v: Value) -> Value | None:
    rest, shape = int(np.prod(v.shape)), []
    while rest > 1 and len(shape) < 4:
        factors = [d for d in range(2, rest + 1) if rest % d == 0]
        shape.append(g.b.pick(*factors))
        rest //= shape[-1]
    shape.append(rest)
    if g.b.chance(0.3):
        shape[g.b.between(0, len(shape) - 1)] = -1
    return g.b("Reshape", v, shape)


def _flatten(g: Grower, v: Value) -> Value | None:
    return g.b("Flatten", v, axis=g.axis(v)) if v.shape else None


def _unsqueeze(g: Grower, v: Value) -> Value | None:
    return g.b.unsqueeze(v, [g.b.between(0, len(v.shape))])


def _squeeze(g: Grower, v: Value) -> Value | None:
    ones = [axis for axis, extent in enumerate(v.shape) if extent == 1]
    return g.b.squeeze(v, [g.b.pick(*ones)]) if ones else None


def _slice(g: Grower, v: Value) -> Value | None:
    if not v.shape:
        return None
    axes = sorted({g.axis(v) % len(v.shape) for _ in range(g.b.between(1, 3))})
    starts, ends, steps = [], [], []
    for axis in axes:
        extent = v.shape[axis]
        step = g.b.pick(1, 1, 2, -1, -3)
        low, high = sorted((g.b.between(0, extent - 1), g.b.between(0, extent - 1)))
        if step > 0:
            starts.append(g.b.pick(low, low - extent))
            ends.append(g.b.pick(high + 1, 2**63 - 1, extent + 7))
        else:
            starts.append(g.b.pick(high, high - extent, -1))
            ends.append(g.b.pick(low - 1 if low else -(2**62), -(2**63)))
        steps.append(step)
    return g.b("Slice", v, starts, ends, axes, steps)


def _concat(g: Grower, v: Value) -> Value | None:
    if not v.shape:
        return None
    axis = g.axis(v)
    place = axis % len(v.shape)
    shape = list(v.shape)
    shape[place] = g.b.between(1, 5)
    parts = [v, g.b.constant(g.draw(shape, v.dtype))]
    parts += [
        other
        for other in g.values
        if other.dtype == v.dtype
        and len(other.shape) == len(v.shape)
        and all(i == place or x == y for i, (x, y) in enumerate(zip(other.shape, v.shape, strict=True)))
    ][:2]
    return g.b("Concat", *[parts[int(i)] for i in g.b.rng.permutation(len(parts))], axis=axis)


def _split(g: Grower, v: Value) -> Value | None:
    axes = [axis for axis, extent in enumerate(v.shape) if extent > 1]
    if not axes:
        return None
    axis = g.b.pick(*axes)
    cut = g.b.between(1, v.shape[axis] - 1)
    parts = g.b.split(v, axis, [cut, v.shape[axis] - cut])
    g.values.append(parts[0])
    return parts[1]


def _pad(g: Grower, v: Value) -> Value | None:
    if v.dtype.kind == "b" or not v.shape or (g.b.opset < 13 and v.dtype.kind != "f"):
        return None
    mode = g.b.pick("constant", "constant", "reflect", "edge")
    widths = [g.b.between(0, min(2, extent - 1)) for _ in range(2) for extent in v.shape]
    fill = [g.b.constant(g.draw((), v.dtype))] if mode == "constant" else []
    return g.b("Pad", v, widths, *fill, mode=mode)


def _expand(g: Grower, v: Value) -> Value | None:
    return g.b("Expand", v, [g.b.pick(1, g.b.between(1, 5)) if e == 1 else g.b.pick(e, 1) for e in v.shape])


def _tile(g: Grower, v: Value) -> Value | None:
    return g.b("Tile", v, [g.b.pick(1, 1, 2, 3) for _ in v.shape]) if v.shape else None


def _indices(g: Grower, shape: list[int] | tuple[int, ...], extent: int) -> Value:
    drawn = g.b.rng.integers(-extent, extent, shape).astype(g.b.pick(np.int64, np.int32))
    return g.b.pick(g.b.input, g.b.constant)(drawn)


def _gather(g: Grower, v: Value) -> Value | None:
    if not v.shape:
        return None
    axis = g.axis(v)
    shape = [g.b.between(1, 4) for _ in range(g.b.between(0, 2))]
    return g.b("Gather", v, _indices(g, shape, v.shape[axis]), axis=axis)


def _gather_elements(g: Grower, v: Value) -> Value | None:
    if not v.shape:
        return None
    axis = g.axis(v)
    shape = [g.b.between(1, extent) for extent in v.shape]
    return g.b("GatherElements", v, _indices(g, shape, v.shape[axis]), axis=axis)


def _gather_nd(g: Grower, v: Value) -> Value | None:
    if not v.shape:
        return None
    depth = g.b.between(1, len(v.shape))
    lead = [g.b.between(1, 4) for _ in range(g.b.between(1, 2))]
    drawn = np.stack([g.b.rng.integers(-e, e, lead) for e in v.shape[:depth]], axis=-1).astype(np.int64)
    return g.b("GatherND", v, g.b.pick(g.b.input, g.b.constant)(drawn))


def _where(g: Grower, v: Value) -> Value | None:
    if v.dtype.kind == "b":
        return None
    other = g.partner(v)
    drawn = g.b.rng.random(g.b.pick(v.shape, other.shape)) < 0.5
    condition = g.b.pick(g.b.input, g.b.constant)(drawn)
    return g.b("Where", condition, *g.b.pick((v, other), (other, v)))


def _trilu(g: Grower, v: Value) -> Value | None:
    if len(v.shape) < 2 or g.b.opset < 14:
        return None
    return g.b("Trilu", v, np.array(g.b.between(-3, 3), np.int64), upper=g.b.pick(0, 1))


def _space_to_depth(g: Grower, v: Value) -> Value | None:
    if len(v.shape) != 4 or v.dtype.kind != "f" or v.shape[2] % 2 or v.shape[3] % 2:
        return None
    return g.b("SpaceToDepth", v, blocksize=2)


def _cast(g: Grower, v: Value) -> Value | None:
    kinds = [TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32]
    # An integer input that is cast to bool is a mask: the program takes 0 and 1 for it, nothing else.
    return g.b("Cast", v, to=g.b.pick(*kinds, *([TensorProto.BOOL] if v.dtype.kind != "i" else [])))


def _compare(g: Grower, v: Value) -> Value | None:
    names = ["Equal"]
    if v.dtype.kind != "b":
        names += ["Less", "Greater"] + (["LessOrEqual", "GreaterOrEqual"] if g.b.opset >= 12 else [])
    return g.b(g.b.pick(*names), v, g.partner(v))


def _unary(*names: str) -> Rule:
    return lambda g, v: g.b(g.b.pick(*names), v)


def _binary(*names: str) -> Rule:
    def rule(g: Grower, v: Value) -> Value | None:
        name = g.b.pick(*names)
        if name in ("Min", "Max") and g.b.opset < 12 and v.dtype.kind != "f":
            return None
        operands = [v, g.partner(v)]
        return g.b(name, *(operands if g.b.chance() else operands[::-1]))

    return rule


def _reduce(*kinds: str) -> Rule:
    def rule(g: Grower, v: Value) -> Value | None:
        if not v.shape:
            return None
        axes = sorted({g.axis(v) % len(v.shape) for _ in range(g.b.between(1, 3))})
        return g.b.reduce(g.b.pick(*kinds), v, axes, keepdims=g.b.pick(0, 1))

    return rule


def _cumsum(g: Grower, v: Value) -> Value | None:
    if not v.shape:
        return None
    flags = {"exclusive": g.b.pick(0, 1), "reverse": g.b.pick(0, 1)}
    return g.b("CumSum", v, np.array(g.axis(v), np.int64), **flags)


def _divide(g: Grower, v: Value) -> Value | None:
    divisor = g.b.rng.integers(1, 9, [g.b.pick(1, e) for e in v.shape]) * g.b.rng.choice([-1, 1])
    return g.b("Div", v, divisor.astype(v.dtype))


def _modulo(g: Grower, v: Value) -> Value | None:
    divisor = g.b.rng.integers(1, 9, [g.b.pick(1, e) for e in v.shape]) * g.b.rng.choice([-1, 1])
    return g.b("Mod", v, divisor.astype(v.dtype), fmod=g.b.pick(0, 1))


def _bounded(g: Grower, v: Value) -> Value | None:
    if g.b.opset < 12:
        return None
    return g.b("Clip", v, np.array(-15, v.dtype), np.array(12, v.dtype))


def _normalized(g: Grower, v: Value) -> Value | None:
    if not v.shape:
        return None
    return g.b(g.b.pick("Softmax", "LogSoftmax"), v, axis=g.axis(v))


def _product(g: Grower, v: Value) -> Value | None:
    if len(v.shape) < 2:
        return None
    return g.b("MatMul", v, g.b.weight(v.shape[-1], g.b.between(1, 9)))


def _power(g: Grower, v: Value) -> Value | None:
    return g.b("Pow", v, g.b.pick(2.0, 3.0))


def _one_hot(g: Grower, v: Value) -> Value | None:
    if v.dtype != np.int64 or not v.shape:
        return None
    depth = g.b.between(2, 5)
    limits = g.b.pick(np.array([0, 1], np.float32), np.array([-2, 3], np.int64))
    return g.b("OneHot", v, np.array(depth, np.int64), limits, axis=g.b.pick(-1, 0))


LAYOUT: tuple[Rule, ...] = (
    _transpose,
    _reshape,
    _flatten,
    _unsqueeze,
    _squeeze,
    _slice,
    _slice,
    _concat,
    _split,
    _pad,
    _expand,
    _tile,
    _gather,
    _gather_elements,
    _gather_nd,
    _where,
    _trilu,
    _cast,
    _compare,
)
FLOAT: tuple[Rule, ...] = (
    _unary("Neg", "Abs", "Floor", "Ceil", "Round", "Sigmoid", "Tanh", "Erf", "Relu", "Softplus", "Sin", "Sign"),
    _unary("Elu", "Selu", "Softsign", "ThresholdedRelu", "HardSigmoid", "Atan"),
    _binary("Add", "Sub", "Mul", "Min", "Max"),
    _reduce("Mean", "Sum", "Max", "Min", "L1", "L2", "SumSquare", "LogSumExp"),
    _cumsum,
    _normalized,
    _product,
    _power,
    _space_to_depth,
)
INTEGER: tuple[Rule, ...] = (
    _unary("Neg", "Abs", "Sign"),
    _binary("Add", "Sub", "Min", "Max"),
    _binary("Add", "Sub", "Mul", "Min", "Max"),
    _reduce("Sum", "Max", "Min"),
    _cumsum,
    _divide,
    _modulo,
    _bounded,
    _one_hot,
)
LOGICAL: tuple[Rule, ...] = (_unary("Not"), _binary("And", "Or", "Xor"))


def layouts(seed: int, opset: int) -> Builder:
    """A graph of five to twenty operators; the last values are its outputs."""
    b = Builder(seed, opset)
    grower = Grower(b)
    grower.start()
    for _ in range(b.between(5, 20)):
        grower.step()
    for value in grower.values[-3:]:
        b.output(value)
    return b
