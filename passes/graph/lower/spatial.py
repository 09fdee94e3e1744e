"""Windows over spatial axes: what convolution and pooling share."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from ....dialects.elements import shape_of
from ....isa.frozen import frozen
from ...builder import Builder
from .conditions import attribute_is
from .lowering import Lowering

auto_pad_known = attribute_is("auto_pad", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


@frozen
class Geometry:
    """Where the windows of a kernel lie, per spatial axis. `high` includes what `ceil_mode` needs beyond
    `given_high`, the padding that the node itself asks for.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    given_high: tuple[int, ...]

    def windows(self, build: Builder, value: SSAValue, fill: SSAValue | float) -> SSAValue:
        """`[N, C, spatial...]` padded with `fill`, as `[N, C, out..., kernel...]`."""
        padded = build.pad(value, (0, 0, *self.low), (0, 0, *self.high), fill)
        return build.windows(padded, self.kernel, self.strides, self.dilations)

    def windowed_shape(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """The extents of a padded input of these spatial extents."""
        return tuple(a + b + c for a, b, c in zip(self.low, spatial, self.high, strict=True))


def geometry(rule: Lowering, spatial: Sequence[int], kernel: Sequence[int], out: Sequence[int]) -> Geometry:
    """The windows that a node asks for over `spatial` extents, giving `out` of them along each axis."""
    rank = len(spatial)
    strides = rule.integers("strides", (1,) * rank)
    dilations = rule.integers("dilations", (1,) * rank)
    reach = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    mode = rule.attribute("auto_pad", str, "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        low, high = list[int](), list[int]()
        for extent, stride, span in zip(spatial, strides, reach, strict=True):
            total = max((-(-extent // stride) - 1) * stride + span - extent, 0)
            smaller = total // 2
            low.append(smaller if mode == "SAME_UPPER" else total - smaller)
            high.append(total - low[-1])
    else:
        pads = rule.integers("pads", (0,) * (2 * rank)) if mode == "NOTSET" else (0,) * (2 * rank)
        low, high = list(pads[:rank]), list(pads[rank:])
    needed = [
        (count - 1) * stride + span - extent - before
        for count, stride, span, extent, before in zip(out, strides, reach, spatial, low, strict=True)
    ]
    return Geometry(
        tuple(kernel),
        strides,
        dilations,
        tuple(low),
        tuple(max(given, more) for given, more in zip(high, needed, strict=True)),
        tuple(high),
    )


def spatial_of(value: SSAValue) -> tuple[int, ...]:
    """The extents behind batch and channels."""
    return shape_of(value)[2:]
