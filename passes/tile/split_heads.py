"""Attention in groups of heads, each with projections of its own, so that one group's softmax runs under the products
of the next.

Few-level operands multiply fast, but a softmax takes as long as ever: where the vector engine outlasts the array in an
attention, and the products before it keep the array busy, either engine idles in turn. So the products are cut by the
columns of groups of heads. Nothing is computed twice, and the groups' results lie side by side in one storage.

Where the vector engine is as busy as the array even with the projections counted in, it should never wait: groups are
narrower, and each has its projections before the attention of the group before, so that there is always a softmax to do
beside a product.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.rewriter import InsertPoint

from ...dialects import bnn, nn, sattn
from ...dialects.constants import ConstantStore
from ...dialects.elements import element_type, format_of, shape_of, tensor
from ...isa.frozen import frozen
from ..builder import Builder
from .arithmetic import Arithmetic
from .rates import Rates

ELEMENTWISE = (nn.MapOp, nn.CastOp, bnn.PackOp, bnn.UnpackOp, bnn.BinarizeOp)
LAYOUT = (nn.TransposeOp, nn.ReshapeOp)

SOFTMAX_PASSES = 2
"""The fewest passes over the scores that an attention takes."""

WIDTHS = 4
"""The projections of a group have at least so many of the array's widths of columns."""

NARROW_WIDTHS = 2
"""The same where the vector engine is as busy as the array, projections counted in."""

AS_BUSY = 0.75
"""It is where its passes take so much of the array's cycles: norms and residual sums come on top."""


@frozen
class Slab:
    """Elements `start` to `start + size` of an axis of a value, and all of the others."""

    axis: int
    start: int
    size: int

    def shape(self, whole: Sequence[int]) -> list[int]:
        """The shape of the part of a value of a shape."""
        return [self.size if axis == self.axis else extent for axis, extent in enumerate(whole)]

    def moved(self, before: Sequence[int], after: Sequence[int]) -> Slab | None:
        """The same elements of a value of shape `before` reshaped to `after`; None where they are no slab of it."""
        outer = prod(before[: self.axis])
        extent = before[self.axis]
        for axis, other in enumerate(after):
            if prod(after[:axis]) == outer and other > 1:
                ends = (self.start * other, self.size * other)
                # The rest of the larger of both axes is all inside of the slab.
                if max(extent, other) % min(extent, other) or any(end % extent for end in ends):
                    return None
                return Slab(axis, ends[0] // extent, ends[1] // extent)
        return None


def split_heads(block: Block, store: ConstantStore, rates: Rates) -> frozenset[Operation]:
    """Cut the attentions of a block whose vector passes outlast their products, if products with constants make
    queries, keys and values. The products beside which the vector engine is as busy as the array."""
    crowded: set[Operation] = set()
    for op in list(block.ops):
        if not isinstance(op, sattn.AttentionOp) or not _is_cuttable(op):
            continue
        attention, around = _attention_load(op, rates), _projections_load(op, rates)
        if attention.vector <= attention.array:
            continue
        narrow = attention.vector + around.vector > AS_BUSY * (attention.array + around.array)
        size = _heads_of_group(op, (NARROW_WIDTHS if narrow else WIDTHS) * rates.columns)
        slab = Slab(1, 0, size)
        if size < op.extents[1] and all(_is_cut(value, slab, op) for value in (op.q, op.k, op.v)):
            cut = _Cut(op, store)
            cut.run(size, early=narrow)
            crowded |= cut.products if narrow else set()
    return frozenset(crowded)


def _heads_of_group(op: sattn.AttentionOp, columns: int) -> int:
    """The fewest heads that divide all of them and have columns enough."""
    _, heads, _, _, _, key_width, _ = op.extents
    wide = (size for size in range(1, heads) if heads % size == 0 and size * key_width >= columns)
    return next(wide, heads)


def _is_cuttable(op: sattn.AttentionOp) -> bool:
    """Whether an attention looks at all keys, each head at its own."""
    _, heads, groups, *_ = op.extents
    return op.has_packed_values and heads == groups and op.form.is_dense and len(op.form.data) == 1


@frozen
class _Load:
    """Cycles of the array and of the vector engine."""

    array: int
    vector: int


def _attention_load(op: sattn.AttentionOp, rates: Rates) -> _Load:
    """What a head takes of either engine between its projections and its output's last pass."""
    _, _, _, queries, keys, key_width, value_width = op.extents
    scores = _product_cycles(element_type(op.q), element_type(op.k), (queries, keys, key_width), rates)
    values = _product_cycles(op.p_element, element_type(op.v), (queries, value_width, keys), rates)
    return _Load(scores + values, SOFTMAX_PASSES * _pass_cycles(queries, keys, rates))


def _projections_load(op: sattn.AttentionOp, rates: Rates) -> _Load:
    """What a head's projections take of either engine, and the pass over its output."""
    _, heads, _, queries, _, _, value_width = op.extents
    array, vector = 0, _pass_cycles(queries, value_width, rates)
    for product in filter(None, map(_product_behind, (op.q, op.k, op.v))):
        rows, columns = shape_of(product.result)[-2:]
        sizes = (rows, columns, shape_of(product.lhs)[-1])
        array += _product_cycles(element_type(product.lhs), element_type(product.rhs), sizes, rates) // heads
        vector += _pass_cycles(rows, columns, rates) // heads
    return _Load(array, vector)


def _product_behind(value: SSAValue) -> bnn.MatmulOp | None:
    """The product that a value is made of, one element of it for each of the value's."""
    while not isinstance(value.owner, bnn.MatmulOp):
        if not isinstance(value.owner, ELEMENTWISE + LAYOUT):
            return None
        running = [operand for operand in value.owner.operands if not _is_constant(operand)]
        if len(running) != 1:
            return None
        [value] = running
    return value.owner


def _product_cycles(left: Attribute, right: Attribute, sizes: tuple[int, int, int], rates: Rates) -> int:
    """Array cycles of a product of m x n sums over k."""
    arithmetic = Arithmetic.of_elements(left, right)
    return int(rates.product(arithmetic.mode.label, *map(np.array, sizes), left=arithmetic.left))


def _pass_cycles(rows: int, columns: int, rates: Rates) -> int:
    """Vector cycles of a pass over rows x columns."""
    return int(rates.vector(np.array(rows), np.array(columns)))


def _is_cut(value: SSAValue, slab: Slab, reader: Operation) -> bool:
    """Whether a part of a value is made of part of a constant, in a product, and nothing else reads the value."""
    if any(use.operation is not reader for use in value.uses):
        return False
    owner = value.owner
    whole_bytes = not slab.size * prod(shape_of(value)[slab.axis + 1 :]) % format_of(element_type(value)).grain
    match owner:
        case bnn.MatmulOp():
            return _is_constant(_cut_side(owner, slab)[0])
        case nn.TransposeOp() | nn.ReshapeOp():
            behind = _behind(owner, slab)
            return whole_bytes and behind is not None and _is_cut(owner.operands[0], behind, owner)
        case Operation() if isinstance(owner, ELEMENTWISE):
            parts = [(one, part) for one in owner.operands if (part := _aligned(one, value, slab)) is not None]
            running = [(one, part) for one, part in parts if not _is_constant(one)]
            return whole_bytes and len(running) == 1 and _is_cut(*running[0], owner)
        case _:
            return False


def _is_constant(value: SSAValue) -> bool:
    """Whether a value shows a constant."""
    while isinstance(value.owner, LAYOUT):
        value = value.owner.operands[0]
    return isinstance(value.owner, nn.ConstantOp)


def _cut_side(product: bnn.MatmulOp, slab: Slab) -> tuple[SSAValue, Slab]:
    """The operand of a product that has the part's rows or columns, and which part of it."""
    rank = len(shape_of(product.result))
    side = product.rhs if slab.axis == rank - 1 else product.lhs
    return side, Slab(len(shape_of(side)) - 2, slab.start, slab.size)


def _aligned(operand: SSAValue, result: SSAValue, slab: Slab) -> Slab | None:
    """The part of an operand that stretches to a part of an elementwise result; None for all of it."""
    shape = shape_of(operand)
    axis = slab.axis - len(shape_of(result)) + len(shape)
    return None if axis < 0 or shape[axis] == 1 else Slab(axis, slab.start, slab.size)


def _behind(op: nn.TransposeOp | nn.ReshapeOp, slab: Slab) -> Slab | None:
    """The part of the operand of a layout operation that a part of its result shows."""
    if isinstance(op, nn.TransposeOp):
        return Slab(op.permutation.get_values()[slab.axis], slab.start, slab.size)
    return slab.moved(shape_of(op.result), shape_of(op.input))


def _ahead(op: Operation, slab: Slab) -> Slab | None:
    """The part of the result of a layout or elementwise operation that a part of its operand becomes."""
    match op:
        case nn.TransposeOp():
            return Slab(list(op.permutation.get_values()).index(slab.axis), slab.start, slab.size)
        case nn.ReshapeOp():
            return slab.moved(shape_of(op.input), shape_of(op.result))
        case _:
            return slab if isinstance(op, ELEMENTWISE) else None


class _Cut:
    """One attention being cut; `products` make the operands of its groups."""

    def __init__(self, op: sattn.AttentionOp, store: ConstantStore) -> None:
        self._op = op
        self._store = store
        self._following = self._follow()
        self.products: set[Operation] = set()

    def _follow(self) -> list[Operation]:
        """What is done to the result, and to nothing else, as far as its heads stay apart."""
        found: list[Operation] = []
        value, slab = self._op.result, Slab(1, 0, self._op.extents[1])
        while value.uses.get_length() == 1:
            user = next(iter(value.uses)).operation
            others = [operand for operand in user.operands if operand is not value]
            ahead = _ahead(user, slab)
            if ahead is None or not all(map(_is_constant, others)):
                break
            found.append(user)
            value, slab = user.results[0], ahead
        return found

    def run(self, size: int, early: bool) -> None:
        """Make the groups of `size` heads before the last operation that is cut, and put them in its place; `early`:
        each with its operands before the attention of the group before it."""
        last = self._following[-1] if self._following else self._op
        build = Builder(InsertPoint.before(last), self._store)
        parts: list[SSAValue] = []
        axis = 1
        slabs = [Slab(1, start, size) for start in range(0, self._op.extents[1], size)]
        operands_of: list[list[SSAValue]] = []
        for number, slab in enumerate(slabs):
            operands_of += [self._operands(build, one) for one in slabs[len(operands_of) : number + 1 + early]]
            value = _copied(build, self._op, operands_of[number], slab)
            shown = self._op.result
            for op in self._following:
                ahead = _ahead(op, slab)
                assert ahead is not None
                operands = [
                    value if one is shown else self._whole_or_part(build, one, op, ahead) for one in op.operands
                ]
                value = _copied(build, op, operands, ahead)
                shown, slab = op.results[0], ahead
            parts.append(value)
            axis = slab.axis
        build.location, build.path = last.location, last.attributes.get("path")
        joined = build.insert(nn.ConcatOp(parts, axis))
        if "value" in last.attributes:
            assert isinstance(joined.owner, Operation)
            joined.owner.attributes["value"] = last.attributes["value"]
        last.results[0].replace_all_uses_with(joined)
        self._erase([*reversed(self._following), self._op])

    def _operands(self, build: Builder, slab: Slab) -> list[SSAValue]:
        """The operands of the attention of a group."""
        op = self._op
        return [
            self._part(build, operand, slab)
            if operand in (op.q, op.k, op.v)
            else self._whole_or_part(build, operand, op, slab)
            for operand in op.operands
        ]

    def _whole_or_part(self, build: Builder, operand: SSAValue, reader: Operation, slab: Slab) -> SSAValue:
        """The part of a constant or mask that goes with a part of the reader's result."""
        part = _aligned(operand, reader.results[0], slab)
        return operand if part is None else _shown(build, operand, part)

    def _part(self, build: Builder, value: SSAValue, slab: Slab) -> SSAValue:
        """Part of a value made anew."""
        owner = value.owner
        assert isinstance(owner, Operation)
        if isinstance(owner, bnn.MatmulOp):
            side, part = _cut_side(owner, slab)
            operands = [_shown(build, one, part) if one is side else one for one in owner.operands]
        elif isinstance(owner, LAYOUT):
            behind = _behind(owner, slab)
            assert behind is not None
            operands = [self._part(build, owner.operands[0], behind)]
        else:
            operands: list[SSAValue] = []
            for one in owner.operands:
                part = _aligned(one, value, slab)
                if part is None:
                    operands.append(one)
                elif _is_constant(one):
                    operands.append(_shown(build, one, part))
                else:
                    operands.append(self._part(build, one, part))
        copy = _copied(build, owner, operands, slab)
        if isinstance(copy.owner, bnn.MatmulOp):
            self.products.add(copy.owner)
        return copy

    def _erase(self, ops: list[Operation]) -> None:
        """Take out what nothing reads any more, and what only that read."""
        while ops:
            op = ops.pop(0)
            if op.parent is None or any(result.uses.get_length() for result in op.results):
                continue
            owners = [operand.owner for operand in op.operands]
            op.detach()
            op.erase()
            ops += [owner for owner in owners if isinstance(owner, Operation)]


def _shown(build: Builder, value: SSAValue, slab: Slab) -> SSAValue:
    """Part of a value as it lies."""
    shape = shape_of(value)
    starts = [slab.start if axis == slab.axis else 0 for axis in range(len(shape))]
    return build.insert(nn.SliceOp(value, starts, slab.shape(shape)))


def _copied(build: Builder, op: Operation, operands: Sequence[SSAValue], slab: Slab) -> SSAValue:
    """An operation on other operands, with part of its result."""
    result = op.results[0]
    attributes: dict[str, Attribute] = {key: value for key, value in op.attributes.items() if key != "value"}
    build.location = op.location
    copy = type(op).create(
        operands=operands,
        properties=dict(op.properties),
        attributes=attributes,
        result_types=[tensor(element_type(result), *slab.shape(shape_of(result)))],
    )
    return build.insert(copy)
