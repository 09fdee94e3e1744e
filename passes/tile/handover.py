"""What a product hands over on chip to the product behind it, of a result that is too large to stay as a whole.

A result of few bits that has no room on chip goes to DRAM in bursts of columns. The next product wants all of them for
its first sums, so the array would wait until the last ones have been there and back. But while those are made, the
first product needs little more than the tiles that stream by: there is room for them to stay, and the next product
begins with what is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import lcm
from typing import cast

from xdsl.ir import SSAValue

from .kernel import Budget, Handover, Lowering, Plan, Scope
from .loop_order import UNROLLED
from .matmul import MatmulLowering, MatmulTiling
from .matmul_plan import MatmulPlan


def hand_over(
    lowerings: Sequence[Lowering], plans: Sequence[Plan], budgets: Sequence[Budget], scope: Scope
) -> list[Plan]:
    """The plans, where products hand columns over as such; these stand in `scope.handovers` too."""
    readers = Counter(root for lowering in lowerings for root in _roots(lowering.kernel.operands, scope))
    found = list(plans)
    for index, (first, second) in enumerate(pairwise(lowerings)):
        if not (isinstance(first, MatmulLowering) and isinstance(second, MatmulLowering)):
            continue
        root = first.epilogue.output.root
        if root in scope.residents or readers[root] != 1 or second.left.main.root is not root:
            continue
        tiling, following = (cast(MatmulTiling, found[at]).tiling for at in (index, index + 1))
        if _passes_on(first, tiling) and _takes(second, following):
            piece = lcm(tiling.gathered, following.depth)
            count = min(_room(first, tiling, budgets[index]), first.columns - piece) // piece
            if count > 0:
                scope.handovers[root] = Handover(first.columns - count * piece, piece)
                found[index] = cast(MatmulTiling, found[index]).handing_over(count, piece)
    return found


def _roots(values: Sequence[SSAValue], scope: Scope) -> Iterator[SSAValue]:
    yield from dict.fromkeys(scope.view(value).root for value in values)


def _passes_on(lowering: MatmulLowering, plan: MatmulPlan) -> bool:
    """Whether a product stores several columns of all rows at once, one after the other."""
    output = lowering.epilogue.output
    dense = (output.offset, output.row, output.column) == (0, lowering.columns, 1)
    return bool(plan.gathered) and dense and not any(output.outer) and plan.rows >= lowering.rows and not plan.tail


def _takes(lowering: MatmulLowering, plan: MatmulPlan) -> bool:
    """Whether a product holds its left operand as it is stored, in a few pieces of K."""
    leaf, operand = lowering.left.main, lowering.left
    dense = (leaf.offset, leaf.row, leaf.column) == (0, lowering.depth, 1) and not any(leaf.outer)
    pieces = lowering.depth <= UNROLLED * plan.depth
    return dense and pieces and operand.packing is None and "left" in plan.holds and lowering.comparison is None


def _room(lowering: MatmulLowering, plan: MatmulPlan, budget: Budget) -> int:
    """How many columns of the result there is room for beside two of each tile that streams by, and one more: buffers
    of unlike sizes leave holes."""
    epilogue, weight = lowering.epilogue, lowering.weight
    streamed = plan.columns * (lowering.depth * weight.bytes * (not weight.resident) + epilogue.costs.rows)
    free = budget.sram - epilogue.leaves.whole_bytes * (not plan.by_tile) - 3 * streamed
    return int(free / (lowering.rows * epilogue.output.form.width))
