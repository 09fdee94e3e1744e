"""Where every value of a function lies: views of storages, and what may be written straight into another's storage.

Transposes, slices, reshapes, broadcasts and windows are views where strides can say so, and cost nothing. Everything
else is stored. A stored value need not be row-major: it is placed so that a later reshape is a view, or inside the
storage of the concatenation, the padded tensor or the function output that it ends in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from xdsl.dialects.func import ReturnOp
from xdsl.ir import Block, Operation, SSAValue

from ...dialects import nn
from ...dialects.elements import shape_of
from ...isa.frozen import frozen
from .view import View

VIEW_OPERATIONS = frozenset((nn.TransposeOp, nn.ReshapeOp, nn.BroadcastOp, nn.SliceOp, nn.WindowsOp))


@frozen
class Layout:
    """`views` of every tensor value of a block, and the `materialized` operations: reshapes that no strides can say.

    The storage of a root is as large as the root and row-major as far as its own view is dense; values placed inside
    another's storage have that as their root.
    """

    views: Mapping[SSAValue, View]
    materialized: frozenset[Operation]

    def is_view(self, op: Operation) -> bool:
        """Whether an operation costs nothing."""
        return type(op) in VIEW_OPERATIONS and op not in self.materialized


def lay_out(block: Block) -> Layout:
    """The views of a block of pure tensor operations that ends in a return."""
    natural = _follow(block, {})
    placed = _Placement(natural).run(block)
    return _follow(block, placed) if placed else natural


def producible(root: SSAValue) -> bool:
    """Whether a kernel computes the root, and could write it anywhere: not so for inputs and constants."""
    return isinstance(root.owner, Operation) and not isinstance(root.owner, nn.ConstantOp)


def is_stored(value: SSAValue) -> bool:
    """Whether a kernel computes the value itself, which then is all of its storage."""
    return producible(value) and type(value.owner) not in VIEW_OPERATIONS


def _follow(block: Block, placed: Mapping[SSAValue, View]) -> Layout:
    """Views from first to last: view operations derive theirs, others have a storage, their own unless placed."""
    views: dict[SSAValue, View] = {argument: View.dense(argument, shape_of(argument)) for argument in block.args}
    materialized: set[Operation] = set()
    for op in block.ops:
        view = derived(op, views[op.operands[0]]) if type(op) in VIEW_OPERATIONS else None
        if view is not None and not view.in_whole_bytes:
            view = None
        place = placed.get(op.results[0]) if op.results else None
        if view is not None and (place is None or view.same_as(place)):
            views[op.results[0]] = view
            continue
        if type(op) in VIEW_OPERATIONS:
            materialized.add(op)
        for result in op.results:
            views[result] = placed.get(result) or View.dense(result, shape_of(result))
    return Layout(views, frozenset(materialized))


class _Placement:
    """Chooses, from the last operation to the first, where stored values go so that what reads them need not copy."""

    def __init__(self, natural: Layout) -> None:
        self._natural = natural
        self._placed: dict[SSAValue, View] = {}

    def run(self, block: Block) -> Mapping[SSAValue, View]:
        """The storage views of the roots that do not lie row-major in a storage of their own."""
        for op in reversed(list(block.ops)):
            match op:
                case ReturnOp():
                    for value in op.operands:
                        self._settle(value, View.dense(self._natural.views[value].root, shape_of(value)))
                case nn.ReshapeOp() if op in self._natural.materialized:
                    self._before_reshape(op)
                case nn.ConcatOp():
                    storage = self._storage(op.result)
                    for value, starts in pieces(op):
                        self._settle(value, part(storage, starts, shape_of(value)))
                case nn.PadOp():
                    inside = part(self._storage(op.result), op.low.get_values(), shape_of(op.input))
                    self._settle(op.input, inside)
                case _:
                    pass
        return self._placed

    def _storage(self, root: SSAValue) -> View:
        return self._placed.get(root) or View.dense(root, shape_of(root))

    def _before_reshape(self, op: nn.ReshapeOp) -> None:
        """Let the operand be written in the order that makes the reshape a view."""
        result = self._placed.get(op.result)
        shape = shape_of(op.input)
        target = View.dense(self._natural.views[op.input].root, shape) if result is None else result.reshape(shape)
        if target is not None:
            self._settle(op.input, target)

    def _settle(self, value: SSAValue, target: View) -> None:
        """Place the root of `value` so that `value` lies at `target`, unless the root has a place or cannot."""
        view = self._natural.views[value]
        if view.root in self._placed or not producible(view.root):
            return
        place = view.unpermuted(shape_of(view.root), target)
        owner = view.root.owner
        if place is None or not place.in_whole_bytes:
            return
        if isinstance(owner, nn.ReshapeOp) and place.reshape(shape_of(owner.input)) is None:
            return
        self._placed[view.root] = place


def pieces(op: nn.ConcatOp) -> Iterator[tuple[SSAValue, tuple[int, ...]]]:
    """Each operand of a concatenation and where it starts in the result."""
    axis = op.axis.value.data
    start = 0
    for value in op.inputs:
        shape = shape_of(value)
        yield value, tuple(start if index == axis else 0 for index in range(len(shape)))
        start += shape[axis]


def part(view: View, starts: Sequence[int], shape: Sequence[int]) -> View:
    """The block of `shape` from `starts` of a view."""
    return view.slice(starts, shape, (1,) * len(shape))


def derived(op: Operation, operand: View) -> View | None:
    """The view that a view operation makes of its operand's, or None where strides cannot say it."""
    match op:
        case nn.TransposeOp():
            return operand.transpose(op.permutation.get_values())
        case nn.ReshapeOp():
            return operand.reshape(shape_of(op.result))
        case nn.BroadcastOp():
            return operand.broadcast(shape_of(op.result))
        case nn.SliceOp():
            return operand.slice(op.starts.get_values(), shape_of(op.result), op.steps.get_values())
        case nn.WindowsOp():
            return operand.windows(op.kernel.get_values(), op.strides.get_values(), op.dilations.get_values())
        case _:
            return None
