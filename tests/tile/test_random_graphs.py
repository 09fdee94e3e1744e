"""Random graphs of elementwise operations, reductions, views and copies have the values of the nn interpreter."""

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import f32, i8, i32

from attnc.dialects import nn
from attnc.dialects.elements import element_type, is_float, shape_of
from attnc.dialects.shapes import broadcasts_to

EXTENTS = st.sampled_from([1, 1, 2, 3, 4, 6])
UNARY = {True: ["neg", "abs", "tanh", "rint", "sigmoid"], False: ["neg", "abs", "sign"]}
BINARY = {True: ["add", "sub", "mul", "min", "max"], False: ["add", "sub", "mul", "min", "max", "bit_and"]}


class Grower:
    """Grows a graph by drawing one operation after another."""

    def __init__(self, draw: Any, values: list[Any]) -> None:
        self.draw = draw
        self.values = values

    def pick(self, items: list[Any]) -> Any:
        # By place: drawing operations themselves would print whole modules where a test fails.
        return items[self.draw(st.integers(0, len(items) - 1))]

    def grow(self) -> None:
        value = self.pick(self.values[-6:])
        steps = [self.unary, self.binary, self.binary, self.choice, self.reduce, self.normalize, self.cast]
        steps += [self.transpose, self.reshape, self.slice, self.broadcast, self.concat, self.pad, self.cumsum]
        steps += [self.product, self.epilogue]
        made = self.pick(steps)(value)
        if made is not None:
            self.values.append(made.results[0])

    def unary(self, value: Any) -> Any:
        return nn.MapOp(self.pick(UNARY[is_float(element_type(value))]), [value])

    def other(self, value: Any) -> Any:
        fits = [
            v
            for v in self.values
            if element_type(v) == element_type(value)
            and (broadcasts_to(shape_of(v), shape_of(value)) or broadcasts_to(shape_of(value), shape_of(v)))
        ]
        return self.pick(fits)

    def binary(self, value: Any) -> Any:
        operands = [value, self.other(value)]
        if self.draw(st.booleans()):
            operands.reverse()
        return nn.MapOp(self.pick(BINARY[is_float(element_type(value))]), operands)

    def choice(self, value: Any) -> Any:
        left, right = self.other(value), self.other(value)
        shape = shape_of(value)
        if not broadcasts_to(shape_of(left), shape) or not broadcasts_to(shape_of(right), shape):
            return None
        return nn.MapOp("select", [nn.MapOp("lt", [left, right]).result, value, right])

    def reduce(self, value: Any) -> Any:
        rank = len(shape_of(value))
        axes = self.draw(st.lists(st.integers(0, rank - 1), min_size=1, unique=True)) if rank else []
        kinds = ["sum", "max", "min", "mean", "variance"] if is_float(element_type(value)) else ["sum", "max"]
        return nn.ReduceOp(self.pick(kinds), value, axes) if rank else None

    def normalize(self, value: Any) -> Any:
        rank = len(shape_of(value))
        if not rank or not is_float(element_type(value)):
            return None
        axis = self.draw(st.integers(0, rank - 1))
        if self.draw(st.booleans()):
            return nn.SoftmaxOp(value, axis)
        # Statistics of one or two elements make differences of rounding large.
        return nn.RmsNormOp(value, None, axis, 0.5)

    def cast(self, value: Any) -> Any:
        return nn.CastOp(value, self.pick([f32, i32, i8]))

    def product(self, value: Any) -> Any:
        shape = shape_of(value)
        if len(shape) < 2 or element_type(value) == i32:
            return None
        random = np.random.default_rng(self.draw(st.integers(0, 9)))
        weight = random.integers(-2, 3, (shape[-1], self.draw(EXTENTS)))
        dtype = np.int8 if element_type(value) == i8 else np.float32
        return nn.MatmulOp(value, nn.ConstantOp(weight.astype(dtype)).result)

    def epilogue(self, value: Any) -> Any:
        """A product, reshaped, and elementwise work on it."""
        made = self.product(value)
        if made is None:
            return None
        shape = [1, *shape_of(made.result)] if self.draw(st.booleans()) else [int(np.prod(shape_of(made.result)))]
        seen = nn.ReshapeOp(made.result, shape).result
        return nn.MapOp("add", [nn.MapOp("abs", [seen]).result, nn.MapOp("neg", [seen]).result])

    def transpose(self, value: Any) -> Any:
        return nn.TransposeOp(value, self.draw(st.permutations(range(len(shape_of(value))))))

    def reshape(self, value: Any) -> Any:
        rest, shape = int(np.prod(shape_of(value))), []
        while rest > 1:
            shape.append(self.pick([d for d in range(2, rest + 1) if rest % d == 0]))
            rest //= shape[-1]
        return nn.ReshapeOp(value, self.draw(st.permutations([*shape, *([1] if len(shape) < 4 else [])])))

    def slice(self, value: Any) -> Any:
        starts, sizes, steps = [], [], []
        for extent in shape_of(value):
            start = self.draw(st.integers(0, extent - 1))
            step = self.pick([1, 1, 2, -1])
            starts.append(start)
            steps.append(step)
            sizes.append(start + 1 if step < 0 else (extent - start - 1) // step + 1)
        return nn.SliceOp(value, starts, sizes, steps)

    def broadcast(self, value: Any) -> Any:
        shape = [self.draw(EXTENTS) if extent == 1 else extent for extent in shape_of(value)]
        return nn.BroadcastOp(value, shape) if np.prod(shape) < 3000 else None

    def concat(self, value: Any) -> Any:
        shape = shape_of(value)
        if not shape:
            return None
        axis = self.draw(st.integers(0, len(shape) - 1))
        fits = [
            v
            for v in self.values
            if element_type(v) == element_type(value)
            and len(shape_of(v)) == len(shape)
            and all(a == b for i, (a, b) in enumerate(zip(shape_of(v), shape, strict=True)) if i != axis)
        ]
        return nn.ConcatOp([value, self.pick(fits)], axis)

    def pad(self, value: Any) -> Any:
        rank = len(shape_of(value))
        low, high = (self.draw(st.lists(st.integers(0, 2), min_size=rank, max_size=rank)) for _ in range(2))
        dtype = {f32: np.float32, i32: np.int32, i8: np.int8}[element_type(value)]
        return nn.PadOp(value, nn.ConstantOp(dtype(7)).result, low, high)

    def cumsum(self, value: Any) -> Any:
        rank = len(shape_of(value))
        if not rank:
            return None
        axis = self.draw(st.integers(0, rank - 1))
        return nn.CumsumOp(value, axis, self.draw(st.booleans()), self.draw(st.booleans()))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_graphs_keep_their_values(tiling, data) -> None:
    arguments = data.draw(
        st.lists(
            st.tuples(st.sampled_from([f32, f32, i32, i8]), st.lists(EXTENTS, max_size=4).map(tuple)),
            min_size=1,
            max_size=3,
        )
    )

    def body(*inputs: Any) -> list[Any]:
        grower = Grower(data.draw, list(inputs))
        for _ in range(data.draw(st.integers(1, 12))):
            grower.grow()
        last = grower.values[-4:]
        return [grower.pick(last) for _ in range(data.draw(st.integers(1, 3)))]

    module = tiling.module(arguments, body)
    inputs = [np.clip(array, -3, 3) for array in tiling.arrays(module)]
    text = str(module)
    try:
        tiling.check(module, inputs, data.draw(st.sampled_from([None, 8192])), rtol=2e-4, atol=2e-3)
    except Exception as error:
        error.add_note(text)
        raise
