"""What depends on constants only is itself a constant, made lazily in the store.

Two kinds of constants stay as the model writes them, since folding would hide how they are quantized: integer
weights that are scaled to floats, and float weights that are compared or rounded (binary and fake-quantized
ones).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import UNKNOWN_LOC, ModuleOp, i8
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import Rewriter

from ...dialects import nn, shapes
from ...dialects.constants import INLINE_ELEMENTS, Array, ConstantStore, RefAttr, derived_key
from ...dialects.context import CompilerContext
from ...dialects.elements import dtype_of, element_type, is_float, is_packed, shape_of, tensor_type, ui8
from ...dialects.interpret.function import evaluate
from ..rewrite import accounted, carry

LARGEST = 1 << 22
"""Elements of the largest constant that folding makes out of smaller ones."""
WEIGHT = 64
"""Constants of more elements may be weights; smaller ones are scales, offsets and such."""

_QUANTIZING = frozenset(
    ("eq", "ne", "lt", "le", "gt", "ge", "sign", "rint", "floor", "ceil", "trunc", "to_int", "to_bool")
)

_PLAIN = (nn.MapOp, nn.CastOp, nn.ReduceOp, nn.TransposeOp, nn.ReshapeOp, nn.BroadcastOp, nn.SliceOp, nn.QuantizeOp)


@dataclass(frozen=True)
class FoldConstants(ModulePass):
    """Replace operations on constants by constants."""

    name = "fold-constants"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place."""
        store = CompilerContext.of(ctx).store
        with accounted(op, "depends on constants only"):
            for operation in list(op.walk()):
                if is_foldable(operation, store):
                    _fold(operation, store)


def is_foldable(operation: Operation, store: ConstantStore) -> bool:
    """Whether an operation has constants only for operands and may become one."""
    if not isinstance(operation, nn.NnOperation) or isinstance(operation, nn.ConstantOp):
        return False
    if len(operation.results) != 1 or not all(isinstance(v.owner, nn.ConstantOp) for v in operation.operands):
        return False
    given = sum(shapes.elements(shape_of(operand)) for operand in operation.operands)
    made = shapes.elements(shape_of(operation.results[0]))
    if made > max(given, LARGEST) or (isinstance(operation, nn.BroadcastOp) and made > INLINE_ELEMENTS):
        return False
    if isinstance(operation, nn.GatherRowsOp):
        ids = _array(operation.ids, store)
        return bool(((ids >= 0) & (ids < operation.limit.value.data)).all())
    return not any(_hides_quantization(operation, operand) for operand in operation.operands)


def _hides_quantization(operation: nn.NnOperation, operand: SSAValue) -> bool:
    """Whether folding `operation` would lose how the weight `operand` is quantized."""
    element, shape = element_type(operand), shape_of(operand)
    is_large = shapes.elements(shape) > WEIGHT
    # Bytes that become floats are weights if they are a matrix of any size.
    if isinstance(operation, nn.DequantizeOp | nn.CastOp) and element in (i8, ui8):
        to_float = is_float(element_type(operation.result))
        return operand is operation.input and to_float and (is_large or len(shape) > 1)
    if not is_large:
        return False
    if isinstance(operation, nn.MapOp):
        quantizes = is_float(element) and operation.function.data in _QUANTIZING
        return quantizes and not _becomes_bytes(operation.result)
    # Quantized to bytes, it shows what it is.
    return False


def _becomes_bytes(value: SSAValue) -> bool:
    """Whether all that is made of a value, one element after another, ends in bytes: then folding hides nothing."""
    users = [use.operation for use in value.uses]
    return bool(users) and all(
        (isinstance(user, nn.CastOp) and element_type(user.result) in (i8, ui8))
        or (isinstance(user, nn.MapOp | nn.CastOp) and _becomes_bytes(user.result))
        for user in users
    )


def _fold(operation: Operation, store: ConstantStore) -> None:
    """Put a constant in the place of an operation."""
    result = tensor_type(operation.results[0])
    keys = [_key(operand, store) for operand in operation.operands]
    if shapes.elements(result.get_shape()) <= INLINE_ELEMENTS and not is_packed(result.get_element_type()):
        constant = nn.ConstantOp(_evaluation(operation, store)(*(store.get(key) for key in keys)))
    else:
        constant = nn.ConstantOp(RefAttr(_derived(operation, keys, store)), result)
    carry(operation, constant)
    constant.location = UNKNOWN_LOC
    Rewriter.replace_op(operation, constant)


def constant_key(value: SSAValue, store: ConstantStore) -> str | None:
    """The store's key of a value that is made of constants, folded or not, by elements, reductions and layout; None for
    any other."""
    made = value.owner
    if isinstance(made, nn.ConstantOp):
        return _key(value, store)
    if not isinstance(made, _PLAIN):
        return None
    keys: list[str] = []
    for operand in made.operands:
        key = constant_key(operand, store)
        if key is None:
            return None
        keys.append(key)
    return _derived(made, keys, store)


def _derived(operation: Operation, keys: list[str], store: ConstantStore) -> str:
    """The key of what an operation makes of constants, which is not made yet."""
    result = tensor_type(operation.results[0])
    key = derived_key(operation.name, *keys, **_parameters(operation), type=result)
    dtype = dtype_of(result.get_element_type())
    return store.derive(key, _evaluation(operation, store), *keys, shape=result.get_shape(), dtype=dtype)


def _evaluation(operation: Operation, store: ConstantStore) -> Callable[..., Array]:
    """What an operation does to arrays."""
    # Operands of its own, so that the graph that it leaves is not kept alive.
    holder = Block(arg_types=[operand.type for operand in operation.operands])
    detached = operation.clone(dict(zip(operation.operands, holder.args, strict=True)))

    def make(*arrays: Array) -> Array:
        return np.ascontiguousarray(evaluate(detached, arrays, store)[0])

    return make


def _key(value: SSAValue, store: ConstantStore) -> str:
    """The store's key of a constant; one that stands in the IR is named after its contents."""
    owner = value.owner
    assert isinstance(owner, nn.ConstantOp)
    return owner.reference or store.anonymous(store.array(owner.data))


def _array(value: SSAValue, store: ConstantStore) -> Array:
    owner = value.owner
    assert isinstance(owner, nn.ConstantOp)
    return store.array(owner.data)


def _parameters(operation: Operation) -> dict[str, object]:
    return dict(sorted(operation.properties.items()))
