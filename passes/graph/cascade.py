"""What tokens are worth by the attention that they were paid in all layers so far (Wang et al., "SpAtten", HPCA 2021,
arXiv 2012.09852, section III-A): the sums of the probabilities' columns over heads, queries and layers.

A token that is dropped is gone for good: its sum is dropped with it, those of the others are carried on.
"""

from __future__ import annotations

from xdsl.ir import Block, Operation, SSAValue

from ...dialects import sattn
from ...dialects.elements import shape_of
from ..builder import Builder
from ..refusal import RefusalError

REMEDY = 'by = "norm", or a later layer'


class Cascade:
    """The sums of one function, from its first attention on."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._counted: set[Operation] = set()
        self._carried: SSAValue | None = None

    def importance(self, build: Builder, first: Operation, tokens: int) -> SSAValue:
        """What the `tokens` that there are before `first` are worth by then, f32 [1, tokens]; attentions since the last
        call are made to tell it. Raises RefusalError where one cannot, or none is there."""
        found = [] if self._carried is None else [self._carried]
        for op in list(self._block.ops):
            if op is first:
                break
            if isinstance(op, sattn.AttentionOp) and op not in self._counted:
                batch, _, _, queries, keys, _, _ = op.extents
                if (batch, queries, keys) != (1, tokens, tokens):
                    raise RefusalError("an attention before this layer is not among these tokens", REMEDY)
                found.append(self._told(op))
        if not found:
            raise RefusalError("no attention among these tokens precedes this layer", REMEDY)
        total = found[0]
        for value in found[1:]:
            total = build.map("add", total, value)
        self._carried = total
        return total

    def carry(self, build: Builder, ids: SSAValue) -> None:
        """Go on with the tokens at `ids` [1, kept] of those that there were."""
        assert self._carried is not None
        (_, kept), column = shape_of(ids), build.reshape(self._carried, (shape_of(self._carried)[1], 1))
        self._carried = build.reshape(build.gather_rows(column, ids), (1, kept))

    def _told(self, op: sattn.AttentionOp) -> SSAValue:
        if op.no_importance is not None:
            raise RefusalError(f"an attention before this layer has {op.no_importance}", REMEDY)
        made = op.with_importance()
        made.location = op.location
        self._block.insert_op_before(made, op)
        op.result.replace_all_uses_with(made.result)
        op.detach()
        op.erase()
        self._counted.add(made)
        assert made.importance is not None
        return made.importance
