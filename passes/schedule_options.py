"""What a recipe may switch in the schedule, one by one: the ablations of every measure that makes programs fast."""

from __future__ import annotations

from dataclasses import fields

from ..isa.frozen import frozen


@frozen
class ScheduleOptions:
    """The measures, as they are unless a recipe's `[schedule]` table says otherwise. Values stay the same without them.

    resident: tensors stay on chip between kernels. in_place: a result takes over the storage of an operand that is not
    needed any more. recompute_norms: a norm too large to stay on chip is computed again, from its statistics, where a
    product is added to it; what is quantized of it is not rounded to its stored format first. prefetch: loads are moved
    ahead of the instructions that need them.
    fuse_feed_forward: two products with hidden activations between them that do not fit on chip run as one kernel.
    stagger_heads: an attention's next scores, also of the next head, come before its last product with the values.
    split_heads: an attention whose softmax outlasts its products goes in groups of heads, each with projections of its
    own. reorder: every engine takes what is ready, not only the next instruction of the loops.
    row_blocks: products begin and end in blocks of rows, so that rows pass from kernel to kernel one block after the
    other. row_statistics: the mean and variance of rows that a product makes come with its tiles and are merged; floats
    may differ in their last places. tile_search: loop orders and tile sizes of products are chosen by cost, not the
    same for all.
    order_tokens: the tokens of an encoder with static patterns stand in the order in which these cost least.
    fuse_attention: scores and weights of a dense attention stay on chip from one product to the other, instead of being
    tensors of their own; without it, int8 weights are levels of the greatest score of the whole row.
    merge_products: products of one left operand with several weights are one, with all their columns. Off: it saves
    instructions, but the one result stays on chip or leaves as a whole.
    """

    resident: bool = True
    in_place: bool = True
    recompute_norms: bool = True
    prefetch: bool = True
    fuse_feed_forward: bool = True
    stagger_heads: bool = True
    split_heads: bool = True
    reorder: bool = True
    row_blocks: bool = True
    row_statistics: bool = True
    tile_search: bool = True
    order_tokens: bool = True
    fuse_attention: bool = True
    merge_products: bool = False

    @staticmethod
    def of(chosen: object) -> ScheduleOptions:
        """The measures as the fields of that name of a pass say; others as they are by themselves."""
        names = [field.name for field in fields(ScheduleOptions) if hasattr(chosen, field.name)]
        return ScheduleOptions(**{name: getattr(chosen, name) for name in names})

    def fields_of(self, wanted: type) -> dict[str, bool]:
        """The measures that a pass has fields for, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if hasattr(wanted, field.name)}


EVERYTHING = ScheduleOptions()
"""Every measure that pays as a rule: what holds without a `[schedule]` table."""
