"""Rules for weights of less than 8 bits: they become bytes when compiling, and are scaled where they are used.

Source of the layout: ONNX Runtime's contributed operators, MatMulNBits.
"""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ....dialects import nn
from ....dialects.constants import Array, derived_key
from ....dialects.elements import shape_of
from ....isa.packed import fields_of_bytes
from ...builder import Builder
from .conditions import Condition
from .lowering import Lowering, Rules


def unpacked(stored: Array, bits: int) -> Array:
    """Fields of `bits` of the last axis of bytes, lowest first."""
    return fields_of_bytes(bits)[stored].reshape(*stored.shape[:-1], -1)


class MatMulNBits(Lowering):
    """`matmul` by weights of 2, 4 or 8 bits, each block of the depth less its zero point and scaled by `map`."""

    domain = "com.microsoft"
    operators = ("MatMulNBits",)
    conditions = (
        Condition("`bits` is 2, 4 or 8", lambda rule: rule.attribute("bits", int, 4) in (2, 4, 8), "use one of them"),
        Condition(
            "`B` is a constant and `g_idx` is left out",
            lambda rule: rule.is_constant("B") and not rule.has("g_idx"),
            "quantize blocks of neighbouring columns",
        ),
    )

    def lower(self) -> SSAValue:
        """A @ ((B - zero_points) * scales)', plus bias. Without zero points levels count from the middle."""
        build, bits = self.build, self.attribute("bits", int, 4)
        columns, depth, size = (self.attribute(name, int, 0) for name in ("N", "K", "block_size"))
        blocks = -(-depth // size)
        zero = None if not self.has("zero_points") else self.zero_points(bits, columns, blocks)
        middle = 1 << bits - 1

        def levels(stored: Array) -> Array:
            whole = unpacked(stored.reshape(columns, -1), bits)[:, :depth].astype(np.int16)
            # Levels around the middle fit signed bytes; zero points move with them.
            return (whole - middle).astype(np.int8)

        key = self.key("B")
        name = derived_key("levels_of_bits", key, bits=bits, shape=(columns, depth))
        weight = build.named_constant(
            build.store.derive(name, levels, key, shape=(columns, depth), dtype=np.dtype(np.int8))
        )
        value = build.cast(weight, f32)
        if zero is not None:
            moved = build.map("sub", zero, float(middle))
            value = build.map("sub", value, spread_blocks(build, moved, size, depth))
        scales = build.reshape(self.wide("scales"), (columns, blocks))
        value = build.map("mul", value, spread_blocks(build, scales, size, depth))
        product = build.insert(nn.MatmulOp(self.wide("A"), value, True, f32))
        product = build.reshape(product, self.result_shape())
        return product if not self.has("bias") else build.map("add", product, self.wide("bias"))

    def zero_points(self, bits: int, columns: int, blocks: int) -> SSAValue:
        """One zero point a block, float [columns, blocks]: stored as floats, or packed with each column's at a byte."""
        if self.element("zero_points") == f32 or not self.is_constant("zero_points"):
            return self.build.reshape(self.wide("zero_points"), (columns, blocks))
        stored = self.constant("zero_points")
        if stored.dtype != np.uint8:
            return self.build.constant(stored.astype(np.float32).reshape(columns, blocks))
        whole = unpacked(stored.reshape(columns, -1), bits)[:, :blocks]
        return self.build.constant(whole.astype(np.float32))


def spread_blocks(build: Builder, value: SSAValue, size: int, extent: int) -> SSAValue:
    """[rows, blocks] repeated `size` times along the last axis, cut to `extent`."""
    rows, blocks = shape_of(value)
    wide = build.broadcast(build.unsqueeze(value, 2), (rows, blocks, size))
    return build.slice_axis(build.reshape(wide, (rows, blocks * size)), 1, 0, extent)


RULES: Rules = (MatMulNBits,)
