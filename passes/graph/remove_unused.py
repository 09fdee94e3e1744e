"""Operations whose results nothing uses are removed."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.traits import is_side_effect_free

from ..rewrite import accounted


@dataclass(frozen=True)
class RemoveUnused(ModulePass):
    """Remove pure operations without uses, users before producers."""

    name = "remove-unused"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `op` in place."""
        with accounted(op, "nothing uses its result"):
            for operation in reversed(list(op.walk())):
                unused = operation.results and not any(result.first_use for result in operation.results)
                if unused and is_side_effect_free(operation):
                    operation.detach()
                    operation.erase()
