"""Operations that compute the same from the same become one, which stands for the nodes of all."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.passes import ModulePass
from xdsl.rewriter import Rewriter
from xdsl.traits import is_side_effect_free

from ...dialects.provenance import fuse
from ..rewrite import carry


@dataclass(frozen=True)
class MergeDuplicates(ModulePass):
    """Merge pure operations of the same kind, operands, properties and types within a block."""

    name = "merge-duplicates"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place."""
        first: dict[object, Operation] = {}
        for operation in list(op.walk()):
            if operation.regions or not operation.results:
                continue
            key = (
                operation.parent,
                operation.name,
                tuple(operation.operands),
                frozenset(operation.properties.items()),
                tuple(operation.result_types),
            )
            kept = first.setdefault(key, operation)
            if kept is not operation and is_side_effect_free(operation):
                carry(operation, kept)
                kept.location = fuse(kept.location, operation.location)
                Rewriter.replace_op(operation, [], kept.results)
