"""The `nn` builder at any place of a function: what passes after lowering write with."""

from __future__ import annotations

from typing import Self

from xdsl.builder import Builder as XdslBuilder
from xdsl.ir import Block, Operation, SSAValue
from xdsl.rewriter import InsertPoint

from ..dialects.constants import ConstantStore
from .graph.lower import builder


class Builder(builder.Builder):
    """Writes operations before one operation, or right after the one that makes a value."""

    @classmethod
    def before(cls, operation: Operation, store: ConstantStore) -> Self:
        """Write before `operation`, standing for the same nodes."""
        return cls._at(InsertPoint.before(operation), operation, store)

    @classmethod
    def after(cls, value: SSAValue, store: ConstantStore) -> Self:
        """Write right after `value` is made, standing for the same nodes; after an argument, at the function's start."""
        owner = value.owner
        if isinstance(owner, Block):
            first = owner.first_op
            assert first is not None
            return cls._at(InsertPoint.before(first), first, store)
        return cls._at(InsertPoint.after(owner), owner, store)

    @classmethod
    def _at(cls, point: InsertPoint, located: Operation, store: ConstantStore) -> Self:
        made = cls(point.block, store)
        made.location = located.location
        made._insert = XdslBuilder(point)
        return made
