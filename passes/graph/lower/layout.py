"""Rules for operators that only move elements: order of axes, shapes, joining and cutting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from ....dialects.elements import shape_of
from ...refusal import RefusalError
from .conditions import attribute_is, condition, constant_operand
from .lowering import Lowering, Rules


class Transpose(Lowering):
    """`transpose`; without `perm` the axes are reversed."""

    operators = ("Transpose",)

    def lower(self) -> SSAValue:
        """One transposition, none if it moves nothing."""
        rank = len(self.shape("data"))
        return self.build.transpose(self.operand("data"), self.integers("perm", tuple(reversed(range(rank)))))


class Reshape(Lowering):
    """`reshape` to the inferred shape of the result."""

    operators = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
    conditions = (constant_operand("shape", "axes"),)

    def lower(self) -> SSAValue:
        """One reshape, none if the shape stays."""
        return self.build.reshape(self.operand(0), self.result_shape())


class Forward(Lowering):
    """Nothing: the result is the operand."""

    operators = ("Identity",)

    def lower(self) -> SSAValue:
        """The operand itself."""
        return self.operand("input")


@condition(remedy="export the model for inference")
def not_training(rule: Lowering) -> bool:
    """`training_mode` is absent, a constant false, or `ratio` is a constant 0"""
    if not rule.has("training_mode"):
        return True
    if rule.is_constant("training_mode") and not rule.constant("training_mode").any():
        return True
    return rule.has("ratio") and rule.is_constant("ratio") and not rule.constant("ratio").any()


class Dropout(Lowering):
    """Nothing, as in inference: the result is the operand, and the mask is all true."""

    operators = ("Dropout",)
    conditions = (not_training,)

    def lower(self) -> Sequence[SSAValue | None]:
        """The operand itself."""
        mask = None
        if self.wants("mask"):
            mask = self.build.filled(self.shape("data"), 1, self.result_element("mask"))
        return self.operand("data"), mask


class Concat(Lowering):
    """`concat`."""

    operators = ("Concat",)

    def lower(self) -> SSAValue:
        """One concatenation."""
        return self.build.concat(self.operands(0), self.axis(len(self.result_shape())))


class Split(Lowering):
    """`slice` for each part."""

    operators = ("Split",)
    conditions = (constant_operand("split"),)

    def lower(self) -> Sequence[SSAValue | None]:
        """Slices at the running sums of the parts' inferred extents."""
        value, axis = self.operand("input"), self.axis(len(self.shape("input")), 0)
        start, parts = 0, list[SSAValue | None]()
        for index in range(self.result_count):
            extent = self.result_shape(index)[axis]
            parts.append(self.build.slice_axis(value, axis, start, extent) if self.wants(index) else None)
            start += extent
        return parts


class Slice(Lowering):
    """`slice`; starts and ends clamp to the extent, steps may be negative."""

    operators = ("Slice",)
    conditions = (constant_operand("starts", "ends", "axes", "steps"),)

    def lower(self) -> SSAValue:
        """One slice of all axes."""
        shape = self.shape("data")
        sizes, starts, steps = list(shape), [0] * len(shape), [1] * len(shape)
        given = self.constant("starts").reshape(-1).tolist()
        ends = self.constant("ends").reshape(-1).tolist()
        axes = self.constant("axes").reshape(-1).tolist() if self.has("axes") else range(len(given))
        strides = self.constant("steps").reshape(-1).tolist() if self.has("steps") else [1] * len(given)
        for axis, start, end, step in zip(axes, given, ends, strides, strict=True):
            chosen = range(shape[axis])[int(start) : int(end) : int(step)]
            starts[axis], sizes[axis], steps[axis] = (
                chosen.start if len(chosen) else 0,
                len(chosen),
                int(step),
            )
        return self.build.slice(self.operand("data"), starts, sizes, steps)


class Expand(Lowering):
    """`broadcast`."""

    operators = ("Expand",)
    conditions = (constant_operand("shape"),)

    def lower(self) -> SSAValue:
        """One broadcast, none if the shape stays."""
        return self.build.broadcast(self.operand("input"), self.result_shape())


class Tile(Lowering):
    """`reshape` to axes of extent 1 between, `broadcast`, `reshape`."""

    operators = ("Tile",)
    conditions = (constant_operand("repeats"),)

    def lower(self) -> SSAValue:
        """A broadcast over a new axis before each repeated one."""
        repeats = [int(count) for count in self.constant("repeats").reshape(-1)]
        return repeat(self, self.operand("input"), repeats)


def repeat(rule: Lowering, value: SSAValue, repeats: Sequence[int]) -> SSAValue:
    """`numpy.tile` with as many repeats as there are axes."""
    build, shape = rule.build, shape_of(value)
    narrow, wide = list[int](), list[int]()
    for extent, count in zip(shape, repeats, strict=True):
        narrow += [1, extent] if count != 1 else [extent]
        wide += [count, extent] if count != 1 else [extent]
    tiled = [extent * count for extent, count in zip(shape, repeats, strict=True)]
    return build.reshape(build.broadcast(build.reshape(value, narrow), wide), tiled)


@condition(remedy="use a mode of ONNX")
def pad_mode_known(rule: Lowering) -> bool:
    """`mode` is constant, edge, reflect or wrap"""
    return rule.raw_attribute("mode", "constant") in ("constant", "edge", "reflect", "wrap")


class Pad(Lowering):
    """`pad`, or `concat` of slices for edge, reflect and wrap; negative pads are slices."""

    operators = ("Pad",)
    conditions = (constant_operand("pads", "axes"), pad_mode_known)

    def lower(self) -> SSAValue:
        """First what is cut, then what is added."""
        build, value = self.build, self.operand("data")
        shape = shape_of(value)
        low, high = self.borders(len(shape))
        starts = [max(-amount, 0) for amount in low]
        sizes = [extent - start - max(-amount, 0) for extent, start, amount in zip(shape, starts, high, strict=True)]
        value = build.slice(value, starts, sizes)
        low, high = [max(amount, 0) for amount in low], [max(amount, 0) for amount in high]
        mode = self.attribute("mode", str, "constant")
        if mode == "constant":
            fill = build.reshape(self.operand("constant_value"), ()) if self.has("constant_value") else 0
            return build.pad(value, low, high, fill)
        for axis, (before, after) in enumerate(zip(low, high, strict=True)):
            value = self.extend(value, axis, before, after, mode)
        return value

    def borders(self, rank: int) -> tuple[list[int], list[int]]:
        """Pads before and after every axis, negative ones included."""
        pads = [int(amount) for amount in self.constant("pads").reshape(-1)]
        axes = self.constant("axes").reshape(-1).tolist() if self.has("axes") else list(range(rank))
        low, high = [0] * rank, [0] * rank
        for place, axis in enumerate(axes):
            low[axis], high[axis] = pads[place], pads[place + len(axes)]
        return low, high

    def extend(self, value: SSAValue, axis: int, before: int, after: int, mode: str) -> SSAValue:
        """One axis continued on both sides."""
        build, extent = self.build, shape_of(value)[axis]
        if before == after == 0:
            return value
        if extent == 0:
            raise RefusalError(f"axis {axis} is empty and cannot be continued by mode {mode}", "use mode constant")
        places = continued(extent, before, after, mode)
        pieces = [build.slice_axis(value, axis, start, count, step) for start, count, step in runs(places)]
        return build.concat(pieces, axis)


def continued(extent: int, before: int, after: int, mode: str) -> list[int]:
    """The places of an axis of `extent` that stand at -before to extent + after when it is continued."""
    places = np.arange(-before, extent + after)
    if mode == "edge":
        return np.clip(places, 0, extent - 1).tolist()
    if mode == "wrap":
        return (places % extent).tolist()
    period = max(2 * (extent - 1), 1)
    folded = places % period
    return np.where(folded < extent, folded, period - folded).tolist()


def runs(indices: Sequence[int]) -> list[tuple[int, int, int]]:
    """A list of indices as runs (start, count, step) of constant non-zero step; equal neighbours are runs of
    one.
    """
    found = list[tuple[int, int, int]]()
    place = 0
    while place < len(indices):
        step = indices[place + 1] - indices[place] if place + 1 < len(indices) else 1
        end = place + 1
        while step in (1, -1) and end < len(indices) and indices[end] - indices[end - 1] == step:
            end += 1
        found.append((indices[place], end - place, step if end - place > 1 else 1))
        place = end
    return found


class DepthToSpace(Lowering):
    """`reshape`, `transpose`, `reshape`."""

    operators = ("DepthToSpace",)
    conditions = (attribute_is("mode", "DCR", "CRD"),)

    def lower(self) -> SSAValue:
        """Blocks of channels become blocks of rows and columns."""
        build, size = self.build, self.attribute("blocksize", int, 1)
        batch, depth, height, width = self.shape("input")
        channels = depth // size**2
        if self.attribute("mode", str, "DCR") == "DCR":
            blocks = build.reshape(self.operand("input"), (batch, size, size, channels, height, width))
            moved = build.transpose(blocks, (0, 3, 4, 1, 5, 2))
        else:
            blocks = build.reshape(self.operand("input"), (batch, channels, size, size, height, width))
            moved = build.transpose(blocks, (0, 1, 4, 2, 5, 3))
        return build.reshape(moved, self.result_shape())


class SpaceToDepth(Lowering):
    """`reshape`, `transpose`, `reshape`."""

    operators = ("SpaceToDepth",)
    conditions = (attribute_is("mode", "DCR", "CRD"),)

    def lower(self) -> SSAValue:
        """Blocks of rows and columns become blocks of channels."""
        build, size = self.build, self.attribute("blocksize", int, 1)
        batch, channels, height, width = self.shape("input")
        split = (batch, channels, height // size, size, width // size, size)
        order = (0, 3, 5, 1, 2, 4) if self.attribute("mode", str, "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
        return build.reshape(build.transpose(build.reshape(self.operand("input"), split), order), self.result_shape())


RULES: Rules = (
    Transpose,
    Reshape,
    Forward,
    Dropout,
    Concat,
    Split,
    Slice,
    Expand,
    Tile,
    Pad,
    DepthToSpace,
    SpaceToDepth,
)
