"""Sizes along tokens are cut to the count that the run finds.

`tile.compact` lists tokens and binds their count; what is gathered by the list has so many of them, and so has all that
is computed of it. Nothing on the way says so: this analysis follows the counted elements through buffers (`Along`) and
cuts every axis that walks along them, of loads and stores too. So no softmax, sum, mean or range has anything of what
lies behind the count, no kernel has to know of counts, and an operation that meets none of the tokens does nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects.affine_form import Access, AffineForm, CountForm, Minimum
from ...dialects.onnx_interface import main_of
from ...dialects.tile import (
    AccessAttr,
    CompactOp,
    CopyOp,
    ForOp,
    GatherOp,
    KernelOp,
    MaskedProductOp,
    MatrixProduct,
    PassOp,
    Place,
    TensorOp,
    TileOperation,
    buffer_type,
    loop_depth,
)
from ...isa.errors import Blocking, UnsupportedError
from ...isa.formats import Format
from ...isa.frozen import frozen
from ..refusal import RefusalError
from .build import MAXIMUM_COPY_RANK
from .counted_axes import Along, Cut, Walk, bounds, greatest, period_of, walk

REMEDY = "no `threshold`: a fixed number of tokens"

Ints = NDArray[np.int64]

Cuts = Mapping[str, Cut]
"""Of an operation, by the names of its axes."""

BEFORE_ALL = AffineForm()

COUNTLESS = ("sum", "max", "min")
"""Reductions that say nothing of how many elements there are."""

ZEROS, INTEGER_ZEROS = "out 0.0", "out 0"


@dataclass(frozen=True)
class FollowCounts(ModulePass):
    """Cut every size along counted tokens to their count."""

    name = "follow-counts"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite sizes in place. Raises UnsupportedError where tokens cannot be followed."""
        block = main_of(op).body.block
        if any(isinstance(found, CompactOp) and found.number is not None for found in block.walk()):
            _Function(block).cut()


@frozen(eq=False)
class _Step:
    """An operation on buffers, the loops around it, and the path of its kernel."""

    op: TileOperation
    loops: tuple[ForOp, ...]
    path: str

    @property
    def trips(self) -> tuple[int, ...]:
        """Those of the loops."""
        return tuple(loop.trips for loop in self.loops)

    @contextmanager
    def refusing(self) -> Generator[None]:
        """What cannot be followed is told of the kernel."""
        try:
            yield
        except RefusalError as error:
            raise UnsupportedError((Blocking(self.path, "tokens", error.reason, REMEDY),)) from None


def _steps(block: Block, loops: tuple[ForOp, ...], path: str) -> Iterator[_Step]:
    for op in block.ops:
        match op:
            case KernelOp():
                yield from _steps(op.body.block, loops, op.path.data)
            case ForOp():
                yield from _steps(op.body.block, (*loops, op), path)
            case TileOperation():
                yield _Step(op, loops, path)
            case _:
                pass


class _Function:
    """A function whose buffers' counted elements are found step by step, until none are added."""

    def __init__(self, block: Block) -> None:
        self._steps = list(_steps(block, (), ""))
        self._outputs = {op.result for op in block.ops if isinstance(op, TensorOp) and op.role.data == "output"}
        # With the loop at each turn of which a buffer holds other tokens, where there is one.
        self._along: dict[SSAValue, list[tuple[Along, ForOp | None]]] = {}

    def cut(self) -> None:
        """Follow all tokens, then cut sizes."""
        grown = True
        while grown:
            grown = False
            for step in self._steps:
                with step.refusing():
                    self._split(step)
                    grown |= self._follow(step, self._cuts(step, all_known=False))
        found: dict[_Step, Cuts] = {}
        for step in self._steps:
            with step.refusing():
                found[step] = self._cuts(step, all_known=True)
                _check(step, found[step])
        waiting = _waiting(found)
        for step, cuts in found.items():
            sizes = _sizes(step.op)
            smaller = {axis: sizes[axis].up_to(cut.left()) for axis, cut in cuts.items()}
            if step in waiting:
                smaller["i0"] = sizes["i0"].up_to(_all_or_none(sizes["i0"], waiting[step], step.trips))
            if smaller:
                step.op.resize(smaller)
            if isinstance(step.op, MatrixProduct) and _may_begin_empty(step, cuts, {"k"}):
                _begin_with_zeros(step.op)

    def _split(self, step: _Step) -> None:
        """Let a copy that takes several rows of tokens as one run have an axis for each of both."""
        op = step.op
        if not isinstance(op, CopyOp) or op.count is not None:
            return
        for along, _ in self._along.get(op.source, ()):
            whole = along.stride * along.period
            access = op.source_access.data
            for axis, (size, stride) in enumerate(zip(access.sizes, access.strides, strict=True)):
                steps = (size.constant or 0) * stride
                if (
                    access.rank < MAXIMUM_COPY_RANK
                    and 0 < stride < whole < steps
                    and not (steps % whole or whole % stride)
                ):
                    inner, target = whole // stride, op.target_access.data
                    op.source_access = AccessAttr(_in_two(access, axis, inner))
                    op.target_access = AccessAttr(_in_two(target, axis, inner))
                    break

    def _cuts(self, step: _Step, all_known: bool) -> Cuts:
        """The axes of an operation that walk along counted elements of what it reads. Before all of these are known, a
        walk may reach past them."""
        op, found = step.op, dict[str, Cut]()
        for place, ((buffer, access), axes) in enumerate(zip(op.places, op.axes, strict=True)):
            if place in op.written or (place == 1 and isinstance(op, GatherOp)):
                # Rows of a table are those that ids name, which name none behind a count.
                continue
            for along, loop in self._along.get(buffer, ()):
                walked = walk(access, along.stride, along.period, step.trips)
                if walked.high <= along.low or walked.low >= along.high:
                    continue
                if all_known and (walked.low < along.low or walked.high > along.high):
                    raise RefusalError("tokens that are counted are read together with what is not")
                cut = _cut(along, walked, step.trips)
                if cut is None:
                    continue
                if loop is not None and loop not in step.loops:
                    raise RefusalError("tokens of all turns of a loop are read where those of the last are")
                if walked.axis is None:
                    raise RefusalError("a token is read that may not be there")
                name = axes[walked.axis]
                if found.setdefault(name, cut) != cut:
                    raise RefusalError("tokens that are counted in two ways are joined")
        return found

    def _follow(self, step: _Step, cuts: Cuts) -> bool:
        """Note the counted elements that an operation writes; whether there are more than before."""
        op, grown = step.op, False
        if isinstance(op, CompactOp):
            listed, access = op.places[1]
            most = greatest(access.sizes[0], step.trips)
            if op.number is None:
                return False
            return self._add(listed, Along(op.number.value.data, 1, most, BEFORE_ALL, 0, most), None)
        for place in op.written:
            (buffer, access), axes = op.places[place], op.axes[place]
            for name, cut in cuts.items():
                if name in axes:
                    grown |= self._add(buffer, *_written(buffer, access, axes.index(name), cut, step))
        return grown

    def _add(self, buffer: SSAValue, along: Along, loop: ForOp | None) -> bool:
        if buffer in self._outputs:
            raise RefusalError("an output of the model has a token for each that goes on")
        known = self._along.setdefault(buffer, [])
        for place, (other, within) in enumerate(known):
            if other.is_along(along) and within is loop:
                joined = replace(other, low=min(other.low, along.low), high=max(other.high, along.high))
                known[place] = joined, loop
                return joined != other
        known.append((along, loop))
        return True


def _in_two(access: Access, axis: int, inner: int) -> Access:
    """An access with `inner` of an axis' elements as an axis of their own."""
    size, stride = access.sizes[axis].constant, access.strides[axis]
    assert size is not None
    sizes = (*access.sizes[:axis], Minimum.of(size // inner), Minimum.of(inner), *access.sizes[axis + 1 :])
    return Access(access.offset, sizes, (*access.strides[:axis], stride * inner, *access.strides[axis:]))


def _cut(along: Along, walked: Walk, trips: tuple[int, ...]) -> Cut | None:
    """What a walk meets of counted elements; None where that is the first alone, which is always there."""
    start = walked.start + along.origin
    if start == BEFORE_ALL and walked.high - walked.low == 1:
        return None
    if bounds(start, trips)[0] < 0:
        raise RefusalError("tokens are read before the first")
    return Cut(along.count, walked.factor, start)


def _written(buffer: SSAValue, access: Access, axis: int, cut: Cut, step: _Step) -> tuple[Along, ForOp | None]:
    """The counted elements that a write leaves along an axis, and the loop at each turn of which they are others."""
    kind = buffer_type(buffer)
    stride = access.strides[axis] * cut.factor
    period = period_of(stride, kind.format.padded(kind.extents))
    walked = walk(access, stride, period, step.trips)
    if walked.axis != axis or walked.factor != cut.factor:
        raise RefusalError(f"the tokens written to {access} cannot be told apart")
    origin, owner = cut.start - walked.start, buffer.owner
    outside = loop_depth(owner) if isinstance(owner, Operation) else 0
    loop = step.loops[origin.depth - 1] if origin.depth > outside else None
    return Along(cut.count, stride, period, origin, walked.low, walked.high), loop


def _sizes(op: TileOperation) -> dict[str, Minimum]:
    """The size of every axis of an operation, by name."""
    return {
        name: size
        for (_, access), axes in zip(op.places, op.axes, strict=True)
        for name, size in zip(axes, access.sizes, strict=True)
    }


def _check(step: _Step, cuts: Cuts) -> None:
    """Refuse what is not known to be right of fewer tokens, or of none."""
    op = step.op
    if not cuts:
        return
    if isinstance(op, MaskedProductOp):
        raise RefusalError("a product by a mask takes tokens whose number the run finds")
    if isinstance(op, CopyOp) and op.count is not None:
        raise RefusalError("a load of a counted number of parts takes tokens whose number the run finds")
    if isinstance(op, CopyOp):
        form = buffer_type(op.source).format
        last = cuts.get(f"i{op.source_access.data.rank - 1}")
        if last is not None and form.packed and last.factor % form.grain:
            raise RefusalError("tokens lie side by side in a byte")
    if isinstance(op, PassOp):
        for way, (kind, _) in zip(op.directions, op.lane_program.reductions, strict=True):
            if way.data in cuts and kind not in COUNTLESS:
                raise RefusalError(f"a {kind} over tokens whose number the run finds")
    if isinstance(op, PassOp) and _may_begin_empty(step, cuts, {way.data for way in op.directions}):
        raise RefusalError("a reduction of tokens begins with some that may not be there")


def _may_begin_empty(step: _Step, cuts: Cuts, axes: set[str]) -> bool:
    """Whether sums along axes that join no earlier ones may have no elements: those behind the first token."""
    op, trips = step.op, step.trips
    assert isinstance(op, PassOp | MatrixProduct)
    starts = [cut.start for name, cut in cuts.items() if name in axes]
    indices = np.indices(trips).reshape(len(trips), prod(trips))

    def values(form: AffineForm) -> Ints:
        return np.broadcast_to(form.evaluate(list(indices)), indices.shape[1:])

    joins = np.zeros(indices.shape[1:], np.int64)
    if op.accumulate is not None:
        joins = np.min([values(form) for form in op.accumulate.data.forms], axis=0)
    return any(bool(((values(start) > 0) & (joins <= 0)).any()) for start in starts)


def _begin_with_zeros(op: MatrixProduct) -> None:
    """Let a sum of no elements be zeros, where the product does nothing."""
    access, block = op.acc_access.data, op.parent_block()
    assert block is not None
    program = ZEROS if buffer_type(op.acc).format is Format.F32 else INTEGER_ZEROS
    rows, columns = access.sizes
    zeros = PassOp(program, rows, columns, out=Place(op.acc, access))
    zeros.location, zeros.attributes = op.location, dict(op.attributes)
    block.insert_op_before(zeros, op)


def _waiting(found: Mapping[_Step, Cuts]) -> dict[_Step, Cut]:
    """Loads of what nothing reads where some tokens are not there (weights of a tile of rows, say), and the tokens."""
    read: dict[SSAValue, set[tuple[int, AffineForm]]] = {}
    for step, cuts in found.items():
        met = {(cut.count, cut.start) for cut in cuts.values() if cut.start != BEFORE_ALL}
        for place, (buffer, _) in enumerate(step.op.places):
            if place not in step.op.written:
                read[buffer] = read.get(buffer, met) & met
    waiting: dict[_Step, Cut] = {}
    for step, cuts in found.items():
        if not isinstance(step.op, CopyOp) or not step.op.is_load or cuts or step.op.count is not None:
            continue
        if not step.op.source_access.data.rank:
            continue
        for count, start in sorted(read.get(step.op.target, ()), key=str):
            if start.depth <= len(step.trips):
                waiting[step] = Cut(count, 1, start)
                break
    return waiting


def _all_or_none(size: Minimum, cut: Cut, trips: tuple[int, ...]) -> CountForm:
    """What leaves a size as it is, where the first token of a cut is there, and nothing of it elsewhere."""
    whole = greatest(size, trips)
    return CountForm(cut.count, whole, cut.start * -whole)
