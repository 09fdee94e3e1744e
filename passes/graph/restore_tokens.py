"""All tokens of a sequence again, behind layers that had some of them: what an output of all tokens is made of."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Block, Operation, SSAValue

from ...dialects import nn
from ...dialects.constants import ConstantStore
from ...dialects.elements import element_type, shape_of
from ..builder import Builder
from ..refusal import RefusalError


def end_of_layers(block: Block, layer: str) -> Operation:
    """The first operation behind all layers of the stack that the path `layer` is in."""
    prefix = layer.partition(".")[0] + "."
    last = None
    for op in block.ops:
        path = op.attributes.get("path")
        if isinstance(path, StringAttr) and path.data.startswith(prefix) and not isinstance(op, nn.ConstantOp):
            last = op
    following = None if last is None else last.next_op
    assert following is not None, "a function returns"
    return following


def restore(end: Operation, dropped: Sequence[tuple[SSAValue, SSAValue]], store: ConstantStore) -> None:
    """Put all tokens behind the last layer, before `end`, in the place of those that went through all layers. Each step
    of `dropped` let of a stream [1, tokens, width] the tokens at some ids [1, kept] go on. Raises RefusalError where
    something else of the layers is read behind them."""
    whole = left = _left_over(end)
    build = Builder.before(end, store)
    owner = left.owner
    build.location = owner.location if isinstance(owner, Operation) else end.location
    build.path = StringAttr("tokens")
    for stream, ids in reversed(dropped):
        whole = _joined(build, whole, stream, ids)
    for use in list(left.uses):
        if not use.operation.is_before_in_block(end):
            use.operation.operands[use.index] = whole


def _joined(build: Builder, left: SSAValue, stream: SSAValue, ids: SSAValue) -> SSAValue:
    """The tokens of a stream, those at `ids` as they are in `left`."""
    (_, tokens, width), (_, kept) = shape_of(stream), shape_of(ids)
    if shape_of(left) != (1, kept, width):
        shape = list(shape_of(left))
        raise RefusalError(f"what leaves the last layer is {shape}, not [1, tokens, width]", "leave `restore` out")
    place = build.iota((1, tokens), 1)
    stayed = build.reduce("max", build.map("eq", build.reshape(ids, (kept, 1)), place), (0,))
    number = build.map("sub", build.cumsum(build.widen(stayed), 1), 1)
    source = build.map("select", stayed, number, build.map("add", place, kept))
    both = build.concat([left, build.cast(stream, element_type(left))], 1)
    return build.gather_rows(build.reshape(both, (kept + tokens, width)), source)


def _left_over(end: Operation) -> SSAValue:
    """The one value that operations from `end` on read of those before."""
    behind: set[Operation] = set()
    op: Operation | None = end
    while op is not None:
        behind.add(op)
        op = op.next_op
    read = {
        value
        for op in behind
        for value in op.operands
        if value.owner not in behind and not isinstance(value.owner, nn.ConstantOp)
    }
    if len(read) != 1:
        raise RefusalError(f"{len(read)} values are read behind the last layer", "leave `restore` out")
    return read.pop()
