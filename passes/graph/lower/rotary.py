"""The rule for rotary position embedding."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ....dialects.elements import shape_of
from ...builder import Builder
from .conditions import condition
from .lowering import Lowering, Rules


@condition(remedy="give `num_heads`")
def heads_known(rule: Lowering) -> bool:
    """the input has four axes, or `num_heads` is given"""
    return len(rule.shape(0)) == 4 or rule.attribute("num_heads", int, 0) > 0


class RotaryEmbedding(Lowering):
    """`gather_rows` of the caches by position, `slice`, `map`, `concat`."""

    operators = ("RotaryEmbedding",)
    conditions = (heads_known,)

    def lower(self) -> SSAValue:
        """Pairs (x1, x2) become (cos * x1 - sin * x2, sin * x1 + cos * x2), in float32."""
        build, value = self.build, self.wide("X")
        three = len(shape_of(value)) == 3
        if three:
            value = split_heads(build, value, self.attribute("num_heads", int, 0))
        width = self.attribute("rotary_embedding_dim", int, 0) or shape_of(value)[3]
        cosine, sine = (self.cache(name, width // 2) for name in ("cos_cache", "sin_cache"))
        result = rotated(build, value, cosine, sine, width, bool(self.attribute("interleaved", int, 0)))
        return join_heads(build, result) if three else result

    def cache(self, name: str, width: int) -> SSAValue:
        """Cosines or sines as `[batch, 1, rows, width]`."""
        build, table = self.build, self.wide(name)
        if self.has("position_ids"):
            table = build.gather_rows(table, build.widen(self.operand("position_ids")))
        shape = shape_of(table)
        return build.reshape(table, (shape[0], 1, shape[1], width))


def split_heads(build: Builder, value: SSAValue, heads: int) -> SSAValue:
    """`[batch, rows, heads * width]` as `[batch, heads, rows, width]`."""
    batch, rows, hidden = shape_of(value)
    return build.transpose(build.reshape(value, (batch, rows, heads, hidden // heads)), (0, 2, 1, 3))


def join_heads(build: Builder, value: SSAValue) -> SSAValue:
    """`[batch, heads, rows, width]` as `[batch, rows, heads * width]`."""
    batch, heads, rows, width = shape_of(value)
    return build.reshape(build.transpose(value, (0, 2, 1, 3)), (batch, rows, heads * width))


def rotated(
    build: Builder, value: SSAValue, cosine: SSAValue, sine: SSAValue, width: int, interleaved: bool
) -> SSAValue:
    """The first `width` elements of each row rotated in pairs: neighbours if `interleaved`, else the two
    halves.
    """
    total = shape_of(value)[3]
    half = width // 2
    if interleaved:
        first = build.slice_axis(value, 3, 0, half, 2)
        second = build.slice_axis(value, 3, 1, half, 2)
    else:
        first = build.slice_axis(value, 3, 0, half)
        second = build.slice_axis(value, 3, half, half)
    real = build.map("sub", build.map("mul", cosine, first), build.map("mul", sine, second))
    imaginary = build.map("add", build.map("mul", sine, first), build.map("mul", cosine, second))
    if interleaved:
        pairs = build.concat((build.unsqueeze(real, 4), build.unsqueeze(imaginary, 4)), 4)
        parts = [build.reshape(pairs, (*shape_of(real)[:3], width))]
    else:
        parts = [real, imaginary]
    if width < total:
        parts.append(build.slice_axis(value, 3, width, total - width))
    return build.concat(parts, 3)


RULES: Rules = (RotaryEmbedding,)
