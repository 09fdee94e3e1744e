"""Kernel formation: which operations run as one.

A matrix product or an attention takes its elementwise epilogue along: the chain of single-use results of the same
shape. Elementwise operations, reductions, norms and softmaxes over one domain and the same reduced axes form rowwise
clusters. Copies (concatenation, padding, what is no view), gathers and running sums stand alone. Fusion never makes a
cycle between kernels and never computes anything twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import prod

from xdsl.dialects.func import ReturnOp
from xdsl.ir import Block, Operation, SSAValue

from ...dialects import bnn, nn, sattn
from ...dialects.constants import INLINE_ELEMENTS
from ...dialects.elements import element_type, format_of, shape_of
from ...dialects.shapes import broadcasts_to
from .expand import EXPANSIONS, domain_of, reduced_axes
from .kernel import Kernel
from .product_operand import compose
from .view import View
from .views import Layout

MAXIMUM_CLUSTER = 40
"""A rowwise cluster takes no more operations: beyond, sharing loads gains nothing and packing gets slow."""

ELEMENTWISE = (
    nn.MapOp,
    nn.CastOp,
    nn.QuantizeOp,
    nn.DequantizeOp,
    bnn.BinarizeOp,
    bnn.PackOp,
    bnn.UnpackOp,
)
HEAVY: dict[type[Operation], str] = {nn.MatmulOp: "matmul", bnn.MatmulOp: "matmul", sattn.AttentionOp: "attention"}
ALONE: dict[type[Operation], str] = {
    nn.ConcatOp: "concat",
    nn.PadOp: "pad",
    nn.GatherRowsOp: "gather",
    nn.GreatestOp: "greatest",
    nn.IotaOp: "iota",
    nn.CumsumOp: "cumsum",
}

Domain = tuple[tuple[int, ...], frozenset[int]]
"""A shape without leading ones, and the reduced axes counted from the end (1 is the last)."""


@dataclass(eq=False)
class _Group:
    number: int
    kind: str
    members: list[Operation]
    ancestors: int = 0
    domain: Domain | None = None
    tail: SSAValue | None = None

    @property
    def bit(self) -> int:
        return 1 << self.number


def form_kernels(
    block: Block,
    layout: Layout,
    again: frozenset[Operation] = frozenset(),
    statistics: frozenset[Operation] = frozenset(),
) -> tuple[Kernel, ...]:
    """The kernels of a block, in an order that respects what each reads. Elementwise operations of `again` run in the
    kernel of their reader, reductions of `statistics` in that of the product whose result they are of."""
    former = _Former(layout, _live(block), again, statistics)
    for op in block.ops:
        former.take(op)
    return former.kernels()


def _live(block: Block) -> frozenset[Operation]:
    """The operations whose results matter."""
    live: set[Operation] = set()
    for op in reversed(list(block.ops)):
        if isinstance(op, ReturnOp) or any(use.operation in live for r in op.results for use in r.uses):
            live.add(op)
    return frozenset(live)


class _Former:
    def __init__(
        self, layout: Layout, live: frozenset[Operation], again: frozenset[Operation], statistics: frozenset[Operation]
    ) -> None:
        self._again = again
        self._statistics = statistics
        self._layout = layout
        self._live = live
        self._groups: list[_Group | None] = []
        self._of: dict[Operation, _Group] = {}
        self._waiting: set[Operation] = set()

    def take(self, op: Operation) -> None:
        """Put an operation in a group: one that is there, or its own."""
        if op not in self._live or isinstance(op, nn.ConstantOp | ReturnOp) or self._layout.is_view(op):
            return
        if isinstance(op, ELEMENTWISE):
            if op in self._again or self._grows(op) or self._is_of_statistics(op):
                self._waiting.add(op)
                return
            if self._join_epilogue(op):
                return
        if type(op) in EXPANSIONS and op not in self._statistics:
            self._place(op)
            return
        for value in op.operands:
            self._settle(value)
        if op in self._statistics:
            group = self._producer(op.operands[0])
            assert group is not None
            self._add(group, op)
            return
        kind = HEAVY.get(type(op)) or ALONE.get(type(op)) or "copy"
        group = self._open(kind, op)
        if type(op) in HEAVY:
            group.tail = op.results[0]
        if isinstance(op, nn.MatmulOp):
            self._take_weights(group, op)

    def kernels(self) -> tuple[Kernel, ...]:
        """The groups as kernels, in a topological order that stays close to that of the program."""
        positions = {op: index for index, op in enumerate(self._of)}
        groups = [group for group in self._groups if group is not None]
        last = {group.number: max(positions[op] for op in group.members) for group in groups}
        waits: dict[int, int] = {}
        followers: dict[int, list[_Group]] = {}
        ready: list[tuple[int, int]] = []
        by_number = {group.number: group for group in groups}
        for group in groups:
            producers = {p.number for op in group.members for p in self._producers(op)} - {group.number}
            waits[group.number] = len(producers)
            for number in producers:
                followers.setdefault(number, []).append(group)
            if not producers:
                heappush(ready, (last[group.number], group.number))
        kernels: list[Kernel] = []
        while ready:
            group = by_number[heappop(ready)[1]]
            kernels.append(self._kernel(group, positions))
            for follower in followers.get(group.number, ()):
                waits[follower.number] -= 1
                if not waits[follower.number]:
                    heappush(ready, (last[follower.number], follower.number))
        return tuple(kernels)

    def _kernel(self, group: _Group, positions: dict[Operation, int]) -> Kernel:
        members = tuple(sorted(group.members, key=positions.__getitem__))
        inside = set(members)
        made = {result for op in members for result in op.results}
        operands = dict.fromkeys(value for op in members for value in op.operands if value not in made)
        results = tuple(result for op in members for result in op.results if self._read_outside(result, inside))
        anchor = next((op for op in members if type(op) in HEAVY), members[0])
        if group.tail is not None:
            # What prepares an operand is read through views by the anchor alone.
            others = (result for result in anchor.results[1:] if self._read_outside(result, inside))
            statistics = (op.results[0] for op in members if op in self._statistics)
            results = (group.tail, *others, *statistics)
        return Kernel(group.kind, anchor, members, tuple(operands), results)

    def _read_outside(self, value: SSAValue, inside: set[Operation]) -> bool:
        """Whether anything but a kernel's own operations (through reshapes that they see through) reads a value."""
        for use in value.uses:
            reader = use.operation
            if reader in inside or reader not in self._live:
                continue
            if isinstance(reader, nn.ReshapeOp) and self._solid(reader.result) is self._solid(value):
                if self._read_outside(reader.result, inside):
                    return True
                continue
            return True
        return False

    def _producer(self, value: SSAValue) -> _Group | None:
        """The group that computes what a value is a view of; None for inputs and constants."""
        owner = value.owner
        while isinstance(owner, Operation) and self._layout.is_view(owner):
            owner = owner.operands[0].owner
        return self._of.get(owner) if isinstance(owner, Operation) else None

    def _solid(self, value: SSAValue) -> SSAValue:
        """The value itself, or what it is with other leading axes of one element."""
        while isinstance(value.owner, nn.ReshapeOp) and self._layout.is_view(value.owner):
            before = value.owner.input
            if _trimmed(shape_of(before)) != _trimmed(shape_of(value)):
                break
            value = before
        return value

    def _producers(self, op: Operation) -> Iterator[_Group]:
        for value in op.operands:
            group = self._producer(value)
            if group is not None:
                yield group

    def _open(self, kind: str, op: Operation) -> _Group:
        group = _Group(len(self._groups), kind, [op])
        self._groups.append(group)
        self._of[op] = group
        for producer in self._producers(op):
            group.ancestors |= producer.bit | producer.ancestors
        return group

    def _add(self, group: _Group, op: Operation) -> None:
        group.members.append(op)
        self._of[op] = group
        more = 0
        for producer in self._producers(op):
            if producer is not group:
                more |= producer.bit | producer.ancestors
        self._inherit(group, more)

    def _inherit(self, group: _Group, more: int) -> None:
        """Give a group more ancestors, and with it all that descend from it."""
        more &= ~(group.ancestors | group.bit)
        if not more:
            return
        group.ancestors |= more
        for other in self._groups:
            if other is not None and other.ancestors & group.bit:
                other.ancestors |= more

    def _would_cycle(self, group: _Group, op: Operation) -> bool:
        """Whether something outside the group that `op` reads is computed from the group."""
        return any(p is not group and p.ancestors & group.bit for p in self._producers(op))

    def _grows(self, op: Operation) -> bool:
        """Whether an operation stretches smaller values (an outer product of scales, say), or widens narrower ones
        (those of a quantized tensor), for one reader of its shape.

        Stored, its result would cost far more than its operands: it waits for the kernel of its reader.
        """
        shape = shape_of(op.results[0])
        uses = list(op.results[0].uses)
        if len(uses) != 1 or not all(self._is_smaller(value, op.results[0]) for value in op.operands):
            return False
        reader = uses[0].operation
        return type(reader) in EXPANSIONS and tuple(domain_of(reader)) == shape

    def _is_of_statistics(self, op: Operation) -> bool:
        """Whether an operation makes, of a statistic that a product leaves, what one reader applies to whole rows (the
        reciprocal of a deviation, say). In a kernel of its own it would hold up the first rows until the last ones
        have theirs."""
        shape, uses = shape_of(op.results[0]), list(op.results[0].uses)
        if len(uses) != 1 or shape[-1:] != (1,):
            return False
        read = [value.owner for value in op.operands if not isinstance(value.owner, nn.ConstantOp)]
        if not read or not all(owner in self._statistics or owner in self._waiting for owner in read):
            return False
        reader = uses[0].operation
        return type(reader) in EXPANSIONS and tuple(domain_of(reader))[:-1] == shape[:-1] and _leads_to_rows(reader)

    def _factors_of(self, op: Operation) -> list[Operation]:
        """What waits to be applied to whole rows of `op`, in order."""
        if tuple(domain_of(op))[-1:] == (1,):
            return []
        owners = dict.fromkeys(value.owner for value in op.operands if shape_of(value)[-1:] == (1,))
        found = [owner for owner in owners if isinstance(owner, Operation) and owner in self._waiting]
        return list(dict.fromkeys(other for owner in found for other in (*self._waiting_for(owner), owner)))

    def _is_smaller(self, value: SSAValue, than: SSAValue) -> bool:
        return value.owner in self._waiting or _bits(value) < _bits(than)

    def _settle(self, value: SSAValue) -> None:
        """Give an operation that waits a place by itself, where its reader turns out to be no epilogue."""
        owner = value.owner
        if isinstance(owner, Operation) and owner in self._waiting:
            self._waiting.discard(owner)
            self._place(owner)

    def _place(self, op: Operation) -> None:
        """Put an operation in a cluster, with what waits to be applied to its rows."""
        factors = self._factors_of(op)
        for value in op.operands:
            if value.owner not in factors:
                self._settle(value)
        self._join_cluster(op)
        group = self._of.pop(op)
        for factor in factors:
            self._waiting.discard(factor)
            self._add(group, factor)
        # What is applied to it stands before it.
        self._of[op] = group

    def _join_epilogue(self, op: Operation) -> bool:
        """Put `op` behind a product or attention whose result only it reads."""
        if len(op.results) != 1:
            return False
        waiting = self._waiting_for(op)
        read = [(value, reader) for reader in (*waiting, op) for value in reader.operands]
        groups = {group.number: group for value, by in read if (group := self._of_tail(value, by)) is not None}
        for _, group in sorted(groups.items(), reverse=True):
            if all(self._follows(group, o) and not self._would_cycle(group, o) for o in (*waiting, op)):
                for other in (*waiting, op):
                    self._waiting.discard(other)
                    self._add(group, other)
                group.tail = op.results[0]
                return True
        return False

    def _waiting_for(self, op: Operation) -> list[Operation]:
        """The operations that wait for `op`, those that they wait for first."""
        found: list[Operation] = []
        for value in op.operands:
            if isinstance(value.owner, Operation) and value.owner in self._waiting and value.owner not in found:
                found += [*self._waiting_for(value.owner), value.owner]
        return found

    def _follows(self, group: _Group, op: Operation) -> bool:
        """Whether `op` works on the elements of a group's tail where they are: under the same shape, one that stretches
        to it (of what is computed again), or (behind a product) another of as many elements, if strides of all that it
        reads and writes can follow."""
        heavy = next(member.results[0] for member in group.members if type(member) in HEAVY)
        shape, wanted = shape_of(op.results[0]), shape_of(heavy)
        if shape == wanted or (op in self._again and broadcasts_to(shape, wanted)):
            return True
        if group.kind != "matmul" or prod(shape) != prod(wanted):
            return False
        views = [self._layout.views[value] for value in op.operands if self._producer(value) is not group]
        seen = [view.broadcast(shape) for view in views if broadcasts_to(view.shape, shape)]
        if len(seen) < len(views):
            return False
        return all(view.reshape(wanted) is not None for view in (*seen, self._layout.views[op.results[0]]))

    def _of_tail(self, value: SSAValue, op: Operation) -> _Group | None:
        """The group whose tail `value` is, perhaps reshaped, if `op` is all that reads it."""
        group, reader = self._producer(value), op
        while group is not None and group.tail is not None:
            if any(use.operation is not reader for use in value.uses):
                return None
            if value is group.tail:
                return group
            reader = value.owner
            if not isinstance(reader, nn.ReshapeOp):
                return None
            value = reader.input
        return None

    def _take_weights(self, group: _Group, op: nn.MatmulOp) -> None:
        """Let a product prepare its right operand on chip, where that is elementwise work on constants alone."""
        source = self._producer(op.rhs)
        if source is None or source.kind != "rowwise":
            return
        root = self._layout.views[op.rhs].root
        last = root.owner
        if not isinstance(last, Operation) or not all(isinstance(member, ELEMENTWISE) for member in source.members):
            return
        if not self._only_constants(source) or not self._leads_only_to(source, root, op):
            return
        domain = shape_of(root)
        through = self._layout.views[op.rhs]
        operands = [
            value for member in source.members for value in member.operands if value.owner not in source.members
        ]
        # Constants that stand in the IR may turn out to be mere numbers: then there is nothing to load and prepare.
        if not any(self._is_stored_constant(value) for value in operands):
            return
        if self._layout.views[root] != View.dense(root, domain) or any(
            compose(through, domain, self._layout.views[value].broadcast(domain)) is None
            for value in operands
            if broadcasts_to(shape_of(value), domain)
        ):
            return
        group.members += source.members
        for member in source.members:
            self._of[member] = group
        self._groups[source.number] = None
        group.ancestors &= ~source.bit

    def _is_stored_constant(self, value: SSAValue) -> bool:
        """Whether a value shows a constant of several elements, more than stand in the IR as a rule."""
        owner = self._layout.views[value].root.owner
        if not isinstance(owner, nn.ConstantOp):
            return False
        shape = shape_of(owner.result)
        return prod(shape) > INLINE_ELEMENTS or (owner.reference is not None and shape != ())

    def _only_constants(self, group: _Group) -> bool:
        """Whether a group reads nothing but constants."""
        outside = (value for op in group.members for value in op.operands if value.owner not in group.members)
        return all(isinstance(self._layout.views[value].root.owner, nn.ConstantOp) for value in outside)

    def _leads_only_to(self, group: _Group, root: SSAValue, op: Operation) -> bool:
        """Whether what a group computes is `root` alone, and only `op` reads that (through views)."""
        for member in group.members:
            pending = list(member.results)
            while pending:
                value = pending.pop()
                for use in value.uses:
                    if self._layout.is_view(use.operation) and self._layout.views[value].root is root:
                        pending.extend(use.operation.results)
                    elif use.operation is not op and use.operation not in group.members:
                        return False
        return not any(use.operation in group.members for use in root.uses)

    def _join_cluster(self, op: Operation) -> None:
        domain = _domain(op)
        candidates: dict[int, _Group] = {}
        for value in op.operands:
            group = self._producer(value)
            if group is not None and group.kind == "rowwise":
                candidates[group.number] = group
        joined: _Group | None = None
        for _, group in sorted(candidates.items(), reverse=True):
            if joined is None:
                if self._fits(group, op, domain):
                    self._add(group, op)
                    assert group.domain is not None
                    group.domain = _united(group.domain, domain)
                    joined = group
            elif self._merges(joined, group):
                self._merge(joined, group)
        if joined is None:
            group = self._open("rowwise", op)
            group.domain = domain

    def _fits(self, group: _Group, op: Operation, domain: Domain) -> bool:
        assert group.domain is not None
        if len(group.members) >= MAXIMUM_CLUSTER or self._would_cycle(group, op):
            return False
        if any(
            self._producer(value) is group and self._solid(value).owner not in group.members for value in op.operands
        ):
            return False
        return _united(group.domain, domain) is not None

    def _merges(self, into: _Group, group: _Group) -> bool:
        """Whether two clusters may be one: the same domain, and nothing between them."""
        assert into.domain is not None
        assert group.domain is not None
        if len(into.members) + len(group.members) > MAXIMUM_CLUSTER:
            return False
        if into.domain[0] != group.domain[0] or _united(into.domain, group.domain) is None:
            return False
        for other in self._groups:
            if other is None or other is into or other is group:
                continue
            if (other.ancestors & group.bit and into.ancestors & other.bit) or (
                other.ancestors & into.bit and group.ancestors & other.bit
            ):
                return False
        # A member of one that reads a member of the other through a view would have to wait for its own kernel.
        return all(
            self._solid(value).owner in source.members
            for target, source in ((into, group), (group, into))
            for op in target.members
            for value in op.operands
            if self._producer(value) is source
        )

    def _merge(self, into: _Group, group: _Group) -> None:
        assert into.domain is not None
        assert group.domain is not None
        into.domain = _united(into.domain, group.domain)
        into.members += group.members
        for op in group.members:
            self._of[op] = into
        self._groups[group.number] = None
        for other in self._groups:
            if other is not None and other.ancestors & group.bit:
                other.ancestors |= into.bit | into.ancestors
        into.ancestors &= ~(into.bit | group.bit)
        self._inherit(into, group.ancestors & ~into.bit)


def _leads_to_rows(op: Operation) -> bool:
    """Whether an operation has whole rows, or comes to one that has along single uses."""
    while isinstance(op, ELEMENTWISE) and shape_of(op.results[0])[-1] == 1:
        uses = list(op.results[0].uses)
        if len(uses) != 1 or type(uses[0].operation) not in EXPANSIONS:
            return False
        op = uses[0].operation
    return tuple(domain_of(op))[-1] > 1


def _bits(value: SSAValue) -> int:
    return prod(shape_of(value)) * format_of(element_type(value)).bits


def _domain(op: Operation) -> Domain:
    shape = tuple(domain_of(op))
    rank = len(shape)
    axes = frozenset(rank - axis for axis in reduced_axes(op) if shape[axis] != 1)
    return _trimmed(shape), axes


def _trimmed(shape: Sequence[int]) -> tuple[int, ...]:
    start = 0
    while start < len(shape) and shape[start] == 1:
        start += 1
    return tuple(shape[start:])


def _united(cluster: Domain, op: Domain) -> Domain | None:
    """The domain of a cluster with an operation more: the same shape, or the shape of the cluster's reductions."""
    shape, axes = cluster
    if op[0] == shape:
        if axes and op[1] and axes != op[1]:
            return None
        return shape, axes | op[1]
    rank = len(shape)
    reduced = _trimmed(tuple(1 if rank - index in axes else extent for index, extent in enumerate(shape)))
    return cluster if axes and not op[1] and op[0] == reduced else None
