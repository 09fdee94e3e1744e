"""Looking around in a graph of `nn` operations: what makes a value, and what it must be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from xdsl.dialects.builtin import BFloat16Type, Float16Type, f32
from xdsl.ir import Operation, SSAValue

from ...dialects import nn
from ...dialects.constants import Array, ConstantStore
from ...dialects.elements import element_type, is_float, shape_of

OperationT = TypeVar("OperationT", bound=Operation)


def producer(value: SSAValue, kind: type[OperationT]) -> OperationT | None:
    """The operation that makes `value`, if it is of this kind."""
    return value.owner if isinstance(value.owner, kind) else None


def mapped(value: SSAValue, *functions: str) -> nn.MapOp | None:
    """The `nn.map` of one of these functions that makes `value`."""
    made = producer(value, nn.MapOp)
    return made if made is not None and made.function.data in functions else None


def reduced(value: SSAValue, *kinds: nn.Reduction) -> nn.ReduceOp | None:
    """The `nn.reduce` of one of these kinds that makes `value`."""
    made = producer(value, nn.ReduceOp)
    return made if made is not None and made.kind.data in kinds else None


def orders(operation: nn.MapOp) -> Iterator[tuple[SSAValue, SSAValue]]:
    """The two operands of a commutative function, either way round."""
    left, right = operation.inputs
    yield left, right
    yield right, left


def sole_user(value: SSAValue) -> Operation | None:
    """The operation that uses `value`, if it is used exactly once."""
    return value.get_user_of_unique_use()


def users(value: SSAValue) -> tuple[Operation, ...]:
    """The operations that use `value`, each once."""
    return tuple(dict.fromkeys(use.operation for use in value.uses))


def constant(value: SSAValue, store: ConstantStore) -> Array | None:
    """The value of a constant, or None for anything else."""
    made = producer(value, nn.ConstantOp)
    return None if made is None else store.array(made.data)


def scalar(value: SSAValue, store: ConstantStore) -> float | None:
    """The number that a constant of one element holds, seen through changes of shape and between floats."""
    while isinstance(value.owner, nn.ReshapeOp | nn.BroadcastOp | nn.CastOp):
        made = value.owner
        if isinstance(made, nn.CastOp) and not (is_float(element_type(made.input)) and is_float(element_type(value))):
            return None
        value = made.input
    made = producer(value, nn.ConstantOp)
    if made is None or np.prod(shape_of(value), dtype=np.int64) != 1:
        return None
    return float(store.array(made.data).reshape(()))


def close(value: float | None, expected: float, relative: float = 1e-5) -> bool:
    """Whether a constant is the number expected, up to how exporters round it."""
    return value is not None and abs(value - expected) <= relative * abs(expected)


def widened(value: SSAValue) -> SSAValue:
    """`value` before a conversion from f16 or bf16 to f32, if one makes it."""
    made = producer(value, nn.CastOp)
    if made is None or not isinstance(element_type(made.input), Float16Type | BFloat16Type):
        return value
    return made.input if element_type(value) == f32 else value


def is_trailing(axes: tuple[int, ...], rank: int) -> bool:
    """Whether axes are the last ones of a tensor of this rank."""
    return bool(axes) and sorted(axes) == list(range(rank - len(axes), rank))


def last_axes_swapped(operation: nn.TransposeOp) -> bool:
    """Whether a transposition exchanges the last two axes and nothing else."""
    permutation = operation.permutation.get_values()
    rank = len(permutation)
    return rank >= 2 and tuple(permutation) == (*range(rank - 2), rank - 1, rank - 2)
