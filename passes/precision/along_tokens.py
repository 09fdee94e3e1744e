"""Values of attention made along tokens: V^T = W^T X^T.

Packed values lie along the tokens that they are summed over, and packing takes elements as they lie side by side. Both
operands of a packed product stand as rows of K, so that exchanging them costs nothing: the product then gives a row for
each channel, and what follows it, channel by channel, goes on on rows.
"""

from __future__ import annotations

from xdsl.ir import Operation, SSAValue

from ...dialects import bnn, nn
from ...dialects.constants import ConstantStore
from ...dialects.elements import element_type, shape_of, tensor
from ..builder import Builder
from .monotone import running_operand

ELEMENTWISE = (nn.MapOp, nn.CastOp, nn.QuantizeOp, bnn.PackOp, bnn.BinarizeOp)


def product_behind(value: SSAValue) -> nn.MatmulOp | bnn.MatmulOp | None:
    """The product that a value [..., L, F] is made of by operations with constants; None where something else joins in,
    or a value on the way has other readers."""
    reader: Operation | None = None
    while True:
        made = value.owner
        if reader is not None and any(use.operation is not reader for use in value.uses):
            return None
        if isinstance(made, nn.MatmulOp | bnn.MatmulOp):
            return made
        if not isinstance(made, ELEMENTWISE):
            return None
        place = running_operand(made)
        if place is None:
            return None
        value, reader = made.operands[place], made


def is_exchangeable(product: nn.MatmulOp | bnn.MatmulOp) -> bool:
    """Whether the transpose of a product is one that there is."""
    if len(shape_of(product.rhs)) != 2 and shape_of(product.rhs)[:-2] != shape_of(product.lhs)[:-2]:
        return False
    return isinstance(product, nn.MatmulOp) or bnn.mode_of(element_type(product.lhs)) is not None


def made_along_tokens(value: SSAValue, product: nn.MatmulOp | bnn.MatmulOp, store: ConstantStore) -> SSAValue:
    """The transpose [..., F, L] of `value`, which is made of a product by operations with constants."""
    build = Builder.after(value, store, product)
    path: list[Operation] = []
    while value is not product.result:
        made = value.owner
        assert isinstance(made, ELEMENTWISE)
        path.insert(0, made)
        place = running_operand(made)
        assert place is not None
        value = made.operands[place]
    build.location = product.location
    value = _transpose(build, product)
    for step in path:
        build.location = step.location
        place = running_operand(step)
        assert place is not None
        operands = [
            value if index == place else _turned(build, operand, len(shape_of(value)))
            for index, operand in enumerate(step.operands)
        ]
        shape = shape_of(step.results[0])
        kind = tensor(element_type(step.results[0]), *shape[:-2], shape[-1], shape[-2])
        copy = type(step).create(operands=operands, properties=dict(step.properties), result_types=[kind])
        value = build.insert(copy)
    return value


def _transpose(build: Builder, product: nn.MatmulOp | bnn.MatmulOp) -> SSAValue:
    if isinstance(product, bnn.MatmulOp):
        return build.insert(bnn.MatmulOp(product.rhs, product.lhs))
    weights = product.rhs if product.transpose_rhs is not None else build.swap_last(product.rhs)
    return build.insert(nn.MatmulOp(weights, product.lhs, True, element_type(product.result)))


def _turned(build: Builder, constant: SSAValue, rank: int) -> SSAValue:
    """A constant that stretches to a value of a rank, as it stretches to its transpose."""
    shape = shape_of(constant)
    if all(extent == 1 for extent in shape):
        return constant
    return build.swap_last(build.reshape(constant, (1,) * (rank - len(shape)) + shape))
