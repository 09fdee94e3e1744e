"""Whether a program can be run sample by sample: does index i of every output's axis 0 depend on index i of
the inputs' axis 0 only?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from ...dialects import nn, sattn, shapes
from ...dialects.constants import ConstantStore
from ...dialects.elements import shape_of
from ...isa.frozen import frozen


@frozen
class BatchDependence:
    """The answer: `is_batchable`, or the `reason` why not."""

    is_batchable: bool
    reason: str = ""


@frozen
class _Along:
    """A value that holds one sample after another along `axis`, each `size` elements of it."""

    axis: int
    size: int


class _MixedSamplesError(Exception):
    """Samples meet in an operation."""


_State = _Along | None


def batch_dependence(module: ModuleOp, store: ConstantStore) -> BatchDependence:
    """Analyse `@main`, whose inputs with a first axis are taken as batches of as many samples as its outputs
    have.

    Sound, not complete: what it cannot follow is reported as not batchable.
    """
    function = next(op for op in module.ops if isinstance(op, FuncOp) and op.sym_name.data == "main")
    block = function.body.block
    returned = next(op for op in block.ops if isinstance(op, ReturnOp))
    shapes_out = [shape_of(value) for value in returned.operands]
    samples = {shape[0] for shape in shapes_out if shape}
    if len(samples) != 1 or not all(shapes_out):
        return BatchDependence(False, "its outputs do not share a first axis")
    if samples == {0}:
        return BatchDependence(False, "its outputs are empty")
    analysis = _Analysis(samples.pop(), store)
    for argument in block.args:
        shape = shape_of(argument)
        analysis.states[argument] = _Along(0, 1) if shape and shape[0] == analysis.samples else None
    for operation in block.ops:
        if operation is returned:
            break
        try:
            analysis.visit(operation)
        except _MixedSamplesError as mixed:
            where = f" ({operation.attributes['path']})" if "path" in operation.attributes else ""
            return BatchDependence(False, f"{operation.name}{where} {mixed}")
    for index, value in enumerate(returned.operands):
        state = analysis.states[value]
        if state is None or state.axis != 0:
            return BatchDependence(False, f"output {index} does not hold a sample per index of its first axis")
    return BatchDependence(True)


class _Analysis:
    """How each value holds the samples."""

    def __init__(self, samples: int, store: ConstantStore):
        self.samples = samples
        self.store = store
        self.states: dict[SSAValue, _State] = {}

    def visit(self, op: Operation) -> None:
        """Find the state of the results. Raises _MixedSamplesError where samples meet."""
        batched = any(self.states[operand] is not None for operand in op.operands)
        state = _RULES.get(type(op), _refuse)(self, op) if batched else None
        for result in op.results:
            self.states[result] = state

    def joined(self, values: tuple[SSAValue, ...], rank: int) -> _Along:
        """The state of a result of `rank` axes whose operands are stretched as numpy does."""
        found: _State = None
        for value in values:
            state = self.states[value]
            if state is None:
                continue
            placed = _Along(state.axis + rank - len(shape_of(value)), state.size)
            if found is not None and placed != found:
                raise _MixedSamplesError("meets samples along different axes")
            found = placed
        if found is None:
            raise _MixedSamplesError("has no samples")
        for value in values:
            if self.states[value] is None:
                self.expect_same(value, found.axis - rank + len(shape_of(value)))
        return found

    def expect_same(self, value: SSAValue, axis: int) -> None:
        """Refuse a value without samples that differs along the axis of the samples, unless there is only
        one."""
        if axis < 0 or self.samples == 1 or shape_of(value)[axis] == 1:
            return
        owner = value.owner
        if isinstance(owner, nn.BroadcastOp):
            source = axis - len(shape_of(value)) + len(shape_of(owner.input))
            if source < 0 or shape_of(owner.input)[source] == 1:
                return
        if isinstance(owner, nn.ConstantOp):
            array = self.store.array(owner.data)
            if (array == array.take([0], axis=axis)).all():
                return
        raise _MixedSamplesError("treats samples by their place in the batch")

    def apart(self, value: SSAValue, *axes: int) -> _State:
        """The state of a value whose `axes` an operation mixes."""
        state = self.states[value]
        if state is not None and state.axis in axes:
            raise _MixedSamplesError("mixes samples")
        return state


def _refuse(_: _Analysis, __: Operation) -> _State:
    raise _MixedSamplesError("is not understood")


def _elementwise(analysis: _Analysis, op: Operation) -> _State:
    return analysis.joined(tuple(op.operands), len(shape_of(op.results[0])))


def _reduce(analysis: _Analysis, op: nn.ReduceOp) -> _State:
    return analysis.apart(op.input, *op.axes.get_values())


def _along_axis(analysis: _Analysis, op: nn.SoftmaxOp | nn.CumsumOp) -> _State:
    return analysis.apart(op.input, op.axis.value.data)


def _norm(analysis: _Analysis, op: nn.LayerNormOp | nn.RmsNormOp) -> _State:
    rank = len(shape_of(op.input))
    analysis.apart(op.input, *range(op.axis.value.data, rank))
    return analysis.joined(tuple(op.operands), rank)


def _matmul(analysis: _Analysis, op: nn.MatmulOp) -> _State:
    rank = len(shape_of(op.result))
    left_rank, right_rank = len(shape_of(op.lhs)), len(shape_of(op.rhs))
    contracted, columns = (
        (right_rank - 1, right_rank - 2)
        if op.transpose_rhs is not None
        else (
            right_rank - 2,
            right_rank - 1,
        )
    )
    left = analysis.apart(op.lhs, left_rank - 1)
    right = analysis.apart(op.rhs, contracted)
    if left is not None and left.axis == left_rank - 2 and right is None:
        return _Along(rank - 2, left.size)
    if right is not None and right.axis == columns and left is None:
        return _Along(rank - 1, right.size)
    state = analysis.joined((op.lhs, op.rhs), rank)
    if state.axis >= rank - 2:
        raise _MixedSamplesError("multiplies samples by one another")
    return state


def _transpose(analysis: _Analysis, op: nn.TransposeOp) -> _State:
    state = analysis.states[op.input]
    assert state is not None
    return _Along(op.permutation.get_values().index(state.axis), state.size)


def _reshape(analysis: _Analysis, op: nn.ReshapeOp) -> _State:
    state = analysis.states[op.input]
    assert state is not None
    before, after = shape_of(op.input), shape_of(op.result)
    outer = shapes.elements(before[: state.axis])
    for axis in range(len(after)):
        if shapes.elements(after[:axis]) == outer and after[axis] % analysis.samples == 0:
            return _Along(axis, after[axis] // analysis.samples)
    raise _MixedSamplesError("cuts across samples")


def _slice(analysis: _Analysis, op: nn.SliceOp) -> _State:
    state = analysis.states[op.input]
    assert state is not None
    axis = state.axis
    whole = shape_of(op.input)[axis] == shape_of(op.result)[axis] and op.steps.get_values()[axis] == 1
    if not whole:
        raise _MixedSamplesError("takes some samples only")
    return state


def _concat(analysis: _Analysis, op: nn.ConcatOp) -> _State:
    state = analysis.joined(tuple(op.inputs), len(shape_of(op.result)))
    if state.axis == op.axis.value.data:
        raise _MixedSamplesError("joins samples with others")
    return state


def _pad(analysis: _Analysis, op: nn.PadOp) -> _State:
    bordered = [a for a, n in enumerate(zip(op.low.get_values(), op.high.get_values(), strict=True)) if any(n)]
    if analysis.states[op.fill] is not None:
        raise _MixedSamplesError("fills with samples")
    return analysis.apart(op.input, *bordered)


def _windows(analysis: _Analysis, op: nn.WindowsOp) -> _State:
    return analysis.apart(op.input, *range(2, len(shape_of(op.input))))


def _gather_rows(analysis: _Analysis, op: nn.GatherRowsOp) -> _State:
    if analysis.states[op.table] is not None:
        raise _MixedSamplesError("picks among samples")
    return analysis.states[op.ids]


def _greatest(analysis: _Analysis, op: nn.GreatestOp) -> _State:
    return analysis.apart(op.input, len(shape_of(op.input)) - 1)


def _scaled(analysis: _Analysis, op: nn.QuantizeOp | nn.DequantizeOp) -> _State:
    state = analysis.states[op.input]
    if state is None or any(analysis.states[operand] is not None for operand in op.operands[1:]):
        raise _MixedSamplesError("scales all by one sample's range")
    if op.axis is not None and op.axis.value.data == state.axis and analysis.samples > 1:
        raise _MixedSamplesError("treats samples by their place in the batch")
    return state


def _attention(analysis: _Analysis, op: sattn.AttentionOp) -> _State:
    states = {analysis.states[operand] for operand in (op.q, op.k, op.v)} - {None}
    # Heads that are a sample's each are told apart only where queries and keys count them alike.
    axes = (0,) if op.extents[1] != op.extents[2] else (0, 1)
    if any(state is not None and state.axis not in axes for state in states):
        raise _MixedSamplesError("attends across samples")
    return analysis.joined(tuple(op.operands), 4)


_RULES: Mapping[type[Operation], Callable[[_Analysis, Any], _State]] = {
    nn.MapOp: _elementwise,
    nn.CastOp: _elementwise,
    nn.ReduceOp: _reduce,
    nn.SoftmaxOp: _along_axis,
    nn.CumsumOp: _along_axis,
    nn.LayerNormOp: _norm,
    nn.RmsNormOp: _norm,
    nn.MatmulOp: _matmul,
    nn.TransposeOp: _transpose,
    nn.ReshapeOp: _reshape,
    nn.BroadcastOp: _elementwise,
    nn.SliceOp: _slice,
    nn.ConcatOp: _concat,
    nn.PadOp: _pad,
    nn.WindowsOp: _windows,
    nn.GatherRowsOp: _gather_rows,
    nn.GreatestOp: _greatest,
    nn.QuantizeOp: _scaled,
    nn.DequantizeOp: _scaled,
    sattn.AttentionOp: _attention,
}
