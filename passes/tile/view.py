"""A strided view of a value's storage: what transposes, slices, reshapes, broadcasts and windows cost nothing as."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from xdsl.ir import SSAValue

from ...dialects.affine_form import Access, AffineForm, Minimum, dense_strides
from ...dialects.elements import element_type, format_of
from ...isa.frozen import frozen


@frozen
class View:
    """Element (i, j, ...) of a tensor lies `offset + i * strides[0] + j * strides[1] + ...` into `root`'s storage.

    Offset and strides count elements; a stride is 0 where a broadcast repeats and negative where a slice goes back.
    """

    root: SSAValue
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @staticmethod
    def dense(root: SSAValue, shape: Sequence[int]) -> View:
        """All of a row-major storage."""
        return View(root, 0, tuple(shape), dense_strides(format_of(element_type(root)).padded(shape)))

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def elements(self) -> int:
        """Number of elements that the view shows."""
        return prod(self.shape)

    @property
    def is_dense(self) -> bool:
        """True where the elements lie side by side in row-major order (axes of extent 1 do not matter)."""
        step = 1
        for extent, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if extent != 1 and stride != step:
                return False
            step *= extent
        return True

    @property
    def in_whole_bytes(self) -> bool:
        """Whether it shows runs of elements side by side that start at bytes, as all do whose elements are bytes."""
        grain = format_of(element_type(self.root)).grain
        steps = [stride for extent, stride in zip(self.shape, self.strides, strict=True) if extent != 1]
        apart = [stride for stride in steps if stride % grain]
        return self.offset % grain == 0 and apart in ([], [1])

    def same_as(self, other: View) -> bool:
        """Whether both, of one shape, show the same elements."""
        steps = zip(self.shape, self.strides, other.strides, strict=True)
        same = all(extent == 1 or mine == theirs for extent, mine, theirs in steps)
        return self.elements == 0 or (self.root is other.root and self.offset == other.offset and same)

    def transpose(self, permutation: Sequence[int]) -> View:
        """Axis i of the result is axis `permutation[i]`."""
        shape = tuple(self.shape[axis] for axis in permutation)
        return View(self.root, self.offset, shape, tuple(self.strides[axis] for axis in permutation))

    @property
    def turned(self) -> View:
        """The last two axes exchanged."""
        return self.transpose((*range(self.rank - 2), self.rank - 1, self.rank - 2))

    def broadcast(self, shape: Sequence[int]) -> View:
        """Stretched to `shape` as numpy does."""
        missing = len(shape) - self.rank
        strides = [0] * missing
        for extent, stride, target in zip(self.shape, self.strides, shape[missing:], strict=True):
            strides.append(0 if extent == 1 and target != 1 else stride)
        return View(self.root, self.offset, tuple(shape), tuple(strides))

    def slice(self, starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int]) -> View:
        """Elements `starts + i * steps` for i below `sizes`, an axis each; steps may be negative."""
        moves = zip(starts, self.strides, sizes, strict=True)
        offset = self.offset + sum(start * stride for start, stride, size in moves if size)
        strides = tuple(stride * step for stride, step in zip(self.strides, steps, strict=True))
        return View(self.root, offset, tuple(sizes), strides)

    def last(self, index: int) -> View:
        """The elements of an index of the last axis, which stays with an extent of 1."""
        return View(self.root, self.offset + index * self.strides[-1], (*self.shape[:-1], 1), (*self.strides[:-1], 0))

    def windows(self, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> View:
        """`[N, C, spatial...]` to `[N, C, out..., kernel...]`: every window of the spatial axes."""
        spatial = tuple(zip(self.shape[2:], self.strides[2:], kernel, strides, dilations, strict=True))
        outs = tuple((extent - gap * (size - 1) - 1) // step + 1 for extent, _, size, step, gap in spatial)
        shape = (*self.shape[:2], *outs, *kernel)
        out_strides = tuple(stride * step for _, stride, _, step, _ in spatial)
        kernel_strides = tuple(stride * gap for _, stride, _, _, gap in spatial)
        return View(self.root, self.offset, shape, (*self.strides[:2], *out_strides, *kernel_strides))

    def reshape(self, shape: Sequence[int]) -> View | None:
        """The same elements in row-major order under another shape, or None where strides cannot say it."""
        target = tuple(shape)
        if self.elements == 0:
            return View(self.root, self.offset, target, dense_strides(target))
        runs = iter(self._runs())
        strides: list[int] = []
        room, step = 1, 0
        for extent in target:
            if extent == 1:
                strides.append(0)
                continue
            if room == 1:
                room, step = next(runs)
            if room % extent:
                return None
            room //= extent
            strides.append(step * room)
        return View(self.root, self.offset, target, tuple(strides))

    def _runs(self) -> list[tuple[int, int]]:
        """(extent, stride) of the fewest axes that walk the elements in the same order."""
        runs: list[tuple[int, int]] = []
        for extent, stride in zip(self.shape, self.strides, strict=True):
            if extent == 1:
                continue
            if runs and runs[-1][1] == extent * stride:
                runs[-1] = (runs[-1][0] * extent, stride)
            else:
                runs.append((extent, stride))
        return runs

    def unpermuted(self, shape: Sequence[int], target: View) -> View | None:
        """How a dense storage of `shape`, which `self` is a view of, must lie so that `self` becomes `target`.

        `self` must show every element once, permuted; None where it does not, or where strides cannot say it.
        """
        order = sorted(range(self.rank), key=lambda axis: -self.strides[axis])
        ordered = self.transpose(order)
        if ordered.offset or self.elements != prod(shape) or not ordered.is_dense:
            return None
        return target.transpose(order).reshape(shape)

    def access(self, starts: Sequence[AffineForm | int], sizes: Sequence[Minimum | AffineForm | int]) -> Access:
        """The block of `sizes` from `starts`, an axis each, as an operand of a tile operation."""
        offset = AffineForm.of(self.offset)
        for start, stride in zip(starts, self.strides, strict=True):
            offset = offset + AffineForm.of(start) * stride
        return Access.of(offset, sizes, self.strides)

    @property
    def whole(self) -> Access:
        """All of the view as an operand of a tile operation."""
        return Access.of(self.offset, self.shape, self.strides)
