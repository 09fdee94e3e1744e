"""Rules for pooling: windows of the input, and a reduction of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.elements import dtype_of, is_float, shape_of
from .lowering import Lowering, Rules
from .spatial import Geometry, auto_pad_known, geometry, spatial_of


class Pooling(Lowering):
    """What the pooling rules share."""

    conditions = (auto_pad_known,)

    def geometry(self) -> Geometry:
        """The node's windows."""
        return geometry(self, self.shape("X")[2:], self.integers("kernel_shape", ()), self.result_shape()[2:])

    def reduced(self, kind: str, windows: SSAValue) -> SSAValue:
        """A reduction over the kernel's axes, in the shape of the result."""
        rank = len(shape_of(windows))
        total = self.build.reduce(kind, windows, range(rank - (rank - 2) // 2, rank))
        return self.build.reshape(total, self.result_shape())


def windowed(places: Array, windows: Geometry, outside: int) -> Array:
    """Known values of `[spatial...]` as `[out..., kernel...]`, with `outside` in the padding."""
    padded = np.pad(places, list(zip(windows.low, windows.high, strict=True)), constant_values=outside)
    reach = [d * (k - 1) + 1 for d, k in zip(windows.dilations, windows.kernel, strict=True)]
    every = tuple(slice(None, None, step) for step in (*windows.strides, *windows.dilations))
    return sliding_window_view(padded, reach)[every]


class MaxPool(Pooling):
    """`pad` with the least value, `windows`, `reduce max`; indices by `map` of `eq` and `reduce min` of
    places.
    """

    operators = ("MaxPool",)

    def lower(self) -> Sequence[SSAValue | None]:
        """The greatest value and, where wanted, the first place that has it."""
        build, value = self.build, self.operand("X")
        windows = self.geometry()
        dtype = dtype_of(self.element("X"))
        least = -np.inf if is_float(self.element("X")) else np.iinfo(dtype).min
        taken = windows.windows(build, value, least)
        greatest = self.reduced("max", taken)
        return greatest, self.indices(windows, taken, greatest) if self.wants("Indices") else None

    def indices(self, windows: Geometry, taken: SSAValue, greatest: SSAValue) -> SSAValue:
        """Places in the flattened input, of rows or, with `storage_order` = 1, of columns."""
        build = self.build
        batch, channels, *spatial = self.shape("X")
        size = prod(spatial)
        places = windowed(np.arange(size).reshape(spatial), windows, size)
        narrow = (*self.result_shape(), *(1 for _ in spatial))
        found = build.map("eq", taken, build.reshape(greatest, narrow))
        candidates = build.map("select", found, build.constant(places), size, to=i32)
        place = self.reduced("min", candidates)
        if self.attribute("storage_order", int, 0):
            place = self.by_columns(place, spatial)
        planes = np.arange(batch * channels).reshape(batch, channels, *(1 for _ in spatial)) * size
        return build.map("add", place, build.constant(planes))

    def by_columns(self, place: SSAValue, spatial: Sequence[int]) -> SSAValue:
        """A place counted along rows, counted along columns instead."""
        build = self.build
        total: SSAValue | None = None
        for axis, extent in enumerate(spatial):
            index = build.map("div", place, prod(spatial[axis + 1 :]))
            term = build.map("mul", build.map("mod", index, extent), prod(spatial[:axis]))
            total = term if total is None else build.map("add", total, term)
        assert total is not None
        return total


class AveragePool(Pooling):
    """`pad`, `windows`, `reduce sum`, `map` of `div` by the number of elements."""

    operators = ("AveragePool",)

    def lower(self) -> SSAValue:
        """The number counts the padding if `count_include_pad`, never what `ceil_mode` adds."""
        build, windows = self.build, self.geometry()
        total = self.reduced("sum", windows.windows(build, self.wide("X"), 0))
        counted = np.ones(self.shape("X")[2:], np.float32)
        if self.attribute("count_include_pad", int, 0):
            counted = np.pad(counted, list(zip(windows.low, windows.given_high, strict=True)), constant_values=1)
            extra = [a - b for a, b in zip(windows.high, windows.given_high, strict=True)]
            windows = Geometry(
                windows.kernel,
                windows.strides,
                windows.dilations,
                (0,) * len(extra),
                tuple(extra),
                tuple(extra),
            )
        rank = counted.ndim
        counts = windowed(counted, windows, 0).sum(axis=tuple(range(rank, 2 * rank)))
        count = float(counts.flat[0])
        if (counts == count).all():
            return build.map("div", total, count)
        return build.map("div", total, build.constant(counts.astype(np.float32)))


class LpPool(Pooling):
    """`map` of the power, `pad`, `windows`, `reduce sum`, `map` of the root."""

    operators = ("LpPool", "GlobalLpPool")

    def lower(self) -> SSAValue:
        """(sum(|x| ** p)) ** (1 / p)."""
        build, power = self.build, self.attribute("p", int, 2)
        value = build.map("abs", self.wide("X"))
        if power == 2:
            value = build.map("mul", value, value)
        elif power != 1:
            value = build.map("pow", value, float(power))
        if self.node.operator == "GlobalLpPool":
            total = build.reduce("sum", value, range(2, len(shape_of(value))))
        else:
            total = self.reduced("sum", self.geometry().windows(build, value, 0))
        if power == 2:
            return build.map("sqrt", total)
        return total if power == 1 else build.map("pow", total, 1 / power)


class GlobalPool(Lowering):
    """`reduce` over the spatial axes."""

    functions: ClassVar[Mapping[str, str]] = {"GlobalAveragePool": "mean", "GlobalMaxPool": "max"}
    operators = tuple(functions)

    def lower(self) -> SSAValue:
        """One reduction."""
        value = self.operand("X")
        axes = range(2, 2 + len(spatial_of(value)))
        return self.build.reduce(self.functions[self.node.operator], value, axes)


RULES: Rules = (MaxPool, AveragePool, LpPool, GlobalPool)
