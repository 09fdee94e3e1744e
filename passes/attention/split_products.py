"""Products of queries, keys and values at once become one for each, where each is read as a part of the columns.

Such a product makes all of them a row a token. One that makes the keys alone can make them a row a channel, as the left
operand of K^T V is read (`turn_operands`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, shape_of, tensor
from ...dialects.provenance import fuse
from ...isa.frozen import frozen
from ..builder import Builder
from ..precision.along_tokens import ELEMENTWISE, product_behind
from ..precision.monotone import running_operand
from ..precision.retype import replace


@dataclass(frozen=True)
class SplitProducts(ModulePass):
    """Give every slice of the columns of a product with a constant a product of its own, where slices are all that
    reads it."""

    name = "split-products"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module."""
        store = CompilerContext.of(ctx).store
        for source in [found.results[0] for found in op.walk() if isinstance(found, (nn.MatmulOp, *ELEMENTWISE))]:
            product = product_behind(source)
            parts = list(_parts(source, source, ()))
            if not isinstance(product, nn.MatmulOp) or not isinstance(product.rhs.owner, nn.ConstantOp):
                continue
            if len(parts) > 1 and all(part is not None for part in parts):
                for part in parts:
                    assert part is not None
                    _split(source, product, part, store)


@frozen(eq=False)
class _Part:
    """Columns of a product from `first` on, which `slice` shows of it through the layout operations `steps`; `sizes`
    is what the reshape among them, if there is one, then makes of the part."""

    slice: nn.SliceOp
    steps: tuple[Operation, ...]
    first: int
    width: int
    sizes: tuple[int, ...] | None


def _parts(source: SSAValue, value: SSAValue, steps: tuple[Operation, ...]) -> Iterator[_Part | None]:
    """What of the columns of `source` each reader of `value`, which shows it through `steps`, takes; None for one that
    takes anything else."""
    for use in value.uses:
        reader = use.operation
        if isinstance(reader, nn.TransposeOp) or (isinstance(reader, nn.ReshapeOp) and not steps):
            yield from _parts(source, reader.results[0], (*steps, reader))
        else:
            yield _part(source, reader, steps) if isinstance(reader, nn.SliceOp) else None


def _part(source: SSAValue, reader: nn.SliceOp, steps: tuple[Operation, ...]) -> _Part | None:
    shown, taken = shape_of(reader.input), shape_of(reader.result)
    cut = [axis for axis, (before, after) in enumerate(zip(shown, taken, strict=True)) if before != after]
    if len(cut) != 1 or reader.steps.get_values()[cut[0]] != 1:
        return None
    start, size, axis = reader.starts.get_values()[cut[0]], taken[cut[0]], cut[0]
    for step in reversed(steps):
        if isinstance(step, nn.TransposeOp):
            axis = step.permutation.get_values()[axis]
    columns = len(shape_of(source)) - 1
    if axis != columns:
        return None
    if not steps or not isinstance(steps[0], nn.ReshapeOp):
        return _Part(reader, steps, start, size, None)
    whole = shape_of(steps[0].results[0])
    if whole[:columns] != shape_of(source)[:columns]:
        return None
    rest = prod(whole[columns + 1 :])
    return _Part(reader, steps, start * rest, size * rest, (*whole[:columns], size, *whole[columns + 1 :]))


def _split(source: SSAValue, product: nn.MatmulOp, part: _Part, store: ConstantStore) -> None:
    build = Builder.before(part.slice, store)
    value = _columns(build, source, product, part)
    for step in part.steps:
        build.location = step.location
        if isinstance(step, nn.TransposeOp):
            value = build.transpose(value, step.permutation.get_values())
        elif part.sizes is not None:
            value = build.reshape(value, part.sizes)
    owner = value.owner
    assert isinstance(owner, Operation)
    owner.location = fuse(owner.location, part.slice.location)
    replace(part.slice, value)


def _columns(build: Builder, source: SSAValue, product: nn.MatmulOp, part: _Part) -> SSAValue:
    """The columns of a part, by a product with those of the constant and what follows it, with those of its
    constants."""

    def of(constant: SSAValue, axis: int) -> SSAValue:
        wide = len(shape_of(constant)) >= -axis and shape_of(constant)[axis] != 1
        return build.slice_axis(constant, axis, part.first, part.width) if wide else constant

    path: list[Operation] = []
    while source is not product.result:
        made = source.owner
        assert isinstance(made, ELEMENTWISE)
        place = running_operand(made)
        assert place is not None
        path.insert(0, made)
        source = made.operands[place]
    transposed = product.transpose_rhs is not None
    build.location = product.location
    weights = of(product.rhs, -2 if transposed else -1)
    value = build.insert(nn.MatmulOp(product.lhs, weights, transposed, element_type(product.result)))
    for step in path:
        build.location = step.location
        place = running_operand(step)
        operands = [value if index == place else of(operand, -1) for index, operand in enumerate(step.operands)]
        kind = tensor(element_type(step.results[0]), *shape_of(value))
        value = build.insert(
            type(step).create(operands=operands, properties=dict(step.properties), result_types=[kind])
        )
    return value
