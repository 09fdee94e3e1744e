"""Shapes of results, as pure functions of the shapes of operands. Errors are VerifyException, so that
constructors and verifiers say the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from xdsl.utils.exceptions import VerifyException

Shape = tuple[int, ...]


def broadcast(*shapes: Sequence[int]) -> Shape:
    """The shape that numpy broadcasting gives: aligned at the last axis, 1 stretches to any extent."""
    rank = max((len(shape) for shape in shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        for axis, extent in enumerate(shape, rank - len(shape)):
            if extent == 1 or extent == result[axis]:
                continue
            if result[axis] != 1:
                raise VerifyException(f"shapes {', '.join(map(dims, shapes))} do not broadcast")
            result[axis] = extent
    return tuple(result)


def broadcasts_to(shape: Sequence[int], target: Sequence[int]) -> bool:
    """Whether a tensor of `shape` can be stretched to exactly `target`."""
    if len(shape) > len(target):
        return False
    return all(a in (1, b) for a, b in zip(reversed(shape), reversed(target), strict=False))


def dims(shape: Sequence[int]) -> str:
    """A shape as text: `1x17x64`, and `scalar` for rank 0."""
    return "x".join(map(str, shape)) or "scalar"


def reduce(shape: Sequence[int], axes: Sequence[int]) -> Shape:
    """The shape after reducing `axes` (non-negative, each once), which stay as extents of 1."""
    check_axes(len(shape), axes)
    return tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))


def check_axes(rank: int, axes: Sequence[int]) -> None:
    """Refuse axes that are negative, out of range or named twice."""
    for axis in axes:
        if not 0 <= axis < rank:
            raise VerifyException(f"axis {axis} is not one of the {rank} axes")
    if len(set(axes)) != len(axes):
        raise VerifyException(f"an axis is named twice in {list(axes)}")


def matmul(lhs: Sequence[int], rhs: Sequence[int], transpose_rhs: bool = False) -> Shape:
    """`[..., M, K] @ [..., K, N]` (or `[..., N, K]` if `transpose_rhs`) -> `[..., M, N]`, leading axes
    broadcast."""
    if len(lhs) < 2 or len(rhs) < 2:
        raise VerifyException(f"a matrix product needs two axes on each side, got {dims(lhs)} and {dims(rhs)}")
    inner, columns = (rhs[-1], rhs[-2]) if transpose_rhs else (rhs[-2], rhs[-1])
    if lhs[-1] != inner:
        raise VerifyException(f"contracted extents differ: {lhs[-1]} in {dims(lhs)}, {inner} in {dims(rhs)}")
    return (*broadcast(lhs[:-2], rhs[:-2]), lhs[-2], columns)


def transpose(shape: Sequence[int], permutation: Sequence[int]) -> Shape:
    """Axis i of the result is axis `permutation[i]` of the input."""
    if sorted(permutation) != list(range(len(shape))):
        raise VerifyException(f"{list(permutation)} is no permutation of the {len(shape)} axes")
    return tuple(shape[axis] for axis in permutation)


def concat(shapes: Sequence[Sequence[int]], axis: int) -> Shape:
    """Shapes that agree outside `axis`, joined along it."""
    first = list(shapes[0])
    check_axes(len(first), (axis,))
    for shape in shapes[1:]:
        if len(shape) != len(first) or any(
            a != b for i, (a, b) in enumerate(zip(shape, first, strict=True)) if i != axis
        ):
            raise VerifyException(f"{dims(shape)} cannot be joined to {dims(first)} along axis {axis}")
    first[axis] = sum(shape[axis] for shape in shapes)
    return tuple(first)


def pad(shape: Sequence[int], low: Sequence[int], high: Sequence[int]) -> Shape:
    """Extents grown by `low` before and `high` after, both non-negative."""
    if len(low) != len(shape) or len(high) != len(shape):
        raise VerifyException(f"{len(low)} low and {len(high)} high paddings for {len(shape)} axes")
    if min((*low, *high), default=0) < 0:
        raise VerifyException("padding is negative: cut with nn.slice")
    return tuple(extent + a + b for extent, a, b in zip(shape, low, high, strict=True))


def windows(shape: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Shape:
    """`[N, C, spatial...]` -> `[N, C, out..., kernel...]` with out = (extent - dilation * (kernel - 1) - 1)
    // stride + 1."""
    spatial = shape[2:]
    if not len(spatial) == len(kernel) == len(strides) == len(dilations):
        raise VerifyException(f"kernel, strides and dilations must each name {len(spatial)} spatial axes")
    if min((*kernel, *strides, *dilations), default=1) < 1:
        raise VerifyException("kernel, strides and dilations must be positive")
    out = tuple(
        (extent - dilation * (size - 1) - 1) // stride + 1
        for extent, size, stride, dilation in zip(spatial, kernel, strides, dilations, strict=True)
    )
    if min(out, default=1) < 1:
        raise VerifyException(f"kernel {dims(kernel)} does not fit in {dims(spatial)}")
    return (*shape[:2], *out, *kernel)


def check_slice(shape: Sequence[int], starts: Sequence[int], steps: Sequence[int], result: Sequence[int]) -> None:
    """Refuse a slice whose first or last element of an axis lies outside the operand."""
    if not len(shape) == len(starts) == len(steps) == len(result):
        raise VerifyException(f"starts, steps and result must each name {len(shape)} axes")
    for axis, (extent, start, step, size) in enumerate(zip(shape, starts, steps, result, strict=True)):
        if step == 0:
            raise VerifyException(f"step of axis {axis} is zero")
        last = start + (size - 1) * step
        if size and not (0 <= start < extent and 0 <= last < extent):
            raise VerifyException(f"axis {axis}: elements {start} to {last} lie outside an extent of {extent}")


def elements(shape: Sequence[int]) -> int:
    """The number of elements of a shape."""
    return prod(shape)
