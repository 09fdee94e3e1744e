"""What is computed again where it is read instead of being stored.

A function of one value that is reduced along different axes goes with each reduction, which reads that value anyway.
Norms are computed again where they are added to a product, from their statistics.

What a norm gives is read at once by the products that follow, and once more, much later, by a residual sum. Where it is
too large to wait on chip it would go to DRAM and back; what it was computed from is there already. So the norm leaves a
mean and a factor for each row, and the epilogue of the product that it is added to does the rest again.
"""

from __future__ import annotations

from collections.abc import Iterator

from xdsl.dialects.builtin import f32
from xdsl.ir import Block, Operation, SSAValue, Use

from ...dialects import nn
from ...dialects.constants import ConstantStore
from ...dialects.elements import Element, element_type, format_of, shape_of
from ...isa.machine import Machine
from ..builder import Builder
from .arithmetic import Product
from .build import buffer_bytes

ELEMENTWISE = (nn.MapOp, nn.CastOp, nn.DequantizeOp)
TOO_LARGE = 2
"""What takes more than this part of the SRAM does not wait there beside what is worked on: one in so many."""


def recompute_norms(block: Block, store: ConstantStore, machine: Machine) -> frozenset[Operation]:
    """Rewrite the residual sums of a block that read a large norm; the operations that are to run inside the kernels of
    their readers."""
    again: set[Operation] = set()
    for op in list(block.ops):
        if not isinstance(op, nn.LayerNormOp):
            continue
        size = buffer_bytes(shape_of(op.result), format_of(element_type(op.result)))
        sums = [use for use in op.result.uses if _adds_a_product(use)]
        # The statistics are made anyway where something else reads the norm, or compares its argument.
        others = op.result.uses.get_length() > len(sums) or any(_statistics(op.input))
        if size * TOO_LARGE > machine.sram.bytes and sums and others and isinstance(op.input.owner, Operation):
            again |= _rewrite(op, sums, store)
    return frozenset(again)


def _statistics(value: SSAValue) -> Iterator[nn.ReduceOp]:
    """The reductions of a value."""
    return (use.operation for use in value.uses if isinstance(use.operation, nn.ReduceOp))


def statistic(kind: str, value: SSAValue, axes: tuple[int, ...], reader: Operation, store: ConstantStore) -> SSAValue:
    """A reduction of a value: the one that is there, or a new one right behind it that stands for a reader's nodes."""
    for known in _statistics(value):
        if known.kind.data == kind and known.axes.get_values() == axes:
            return known.result
    build = Builder.after(value, store, reader)
    build.location, build.path = reader.location, reader.attributes.get("path")
    return build.reduce(kind, value, axes, f32)


def _adds_a_product(use: Use) -> bool:
    """Whether a norm's reader adds it to what only elementwise operations make of a product."""
    reader = use.operation
    if not isinstance(reader, nn.MapOp) or reader.function.data != "add":
        return False
    other = reader.inputs[1 - use.index]
    while isinstance(other.owner, ELEMENTWISE) and not other.has_more_than_one_use():
        other = max(other.owner.operands, key=lambda value: (isinstance(value.owner, ELEMENTWISE), _size(value)))
    return isinstance(other.owner, Product) and not other.has_more_than_one_use()


def _size(value: SSAValue) -> int:
    return buffer_bytes(shape_of(value), format_of(element_type(value)))


def _rewrite(op: nn.LayerNormOp, sums: list[Use], store: ConstantStore) -> set[Operation]:
    """Take a norm apart; the operations that the readers `sums` have of their own."""
    axes = tuple(range(op.axis.value.data, len(shape_of(op.input))))
    mean, variance = (statistic(kind, op.input, axes, op, store) for kind in ("mean", "variance"))
    made: set[Operation] = set()

    def normalized(build: Builder, last: Element) -> list[SSAValue]:
        """The steps behind the statistics; every reader takes the root itself, which costs it no pass."""
        factor = build.map("add", variance, op.epsilon.value.data, to=f32)
        steps = [factor, build.map("rsqrt", factor), build.map("sub", op.input, mean, to=f32)]
        parts = [("mul", steps[1]), ("mul", op.scale), ("add", op.bias)]
        known = [(name, value) for name, value in parts if value is not None]
        for place, (function, value) in enumerate(known, 1):
            steps.append(build.map(function, steps[-1], value, to=last if place == len(known) else f32))
        return steps

    for use in sums:
        build = Builder.before(use.operation, store)
        build.location = op.location
        steps = normalized(build, f32)
        steps.append(build.cast(steps[-1], element_type(op.result)))
        use.operation.operands[use.index] = steps[-1]
        made |= {step.owner for step in steps if isinstance(step.owner, Operation)}
    # What reads it in the same kernel reads it unrounded, as it does a norm.
    value = normalized(Builder.before(op, store), element_type(op.result))[-1]
    op.result.replace_all_uses_with(value)
    op.detach()
    op.erase()
    return made


def reduce_apart(block: Block) -> None:
    """Give reductions of a function of one value, along different axes, a copy of the function each: they are different
    kernels."""
    for op in list(block.ops):
        if not isinstance(op, nn.MapOp) or len(op.inputs) != 1:
            continue
        reductions = [use.operation for use in op.result.uses if isinstance(use.operation, nn.ReduceOp)]
        for axes in list(dict.fromkeys(reduction.axes.get_values() for reduction in reductions))[1:]:
            copy = op.clone()
            copy.location = op.location
            block.insert_op_after(copy, op)
            for reduction in reductions:
                if reduction.axes.get_values() == axes:
                    reduction.operands[0] = copy.results[0]
