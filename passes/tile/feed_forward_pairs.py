"""Which matrix products run as feed-forward pairs: decided by cost, before it is known what stays on chip.

A pair pays where the hidden activations do not fit on chip beside what is read and written around them. Where they do,
two kernels are as good, and simpler.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

from xdsl.ir import Operation, SSAValue

from ...dialects.elements import element_type, format_of, shape_of
from ...isa.errors import CapacityError
from .build import buffer_bytes
from .feed_forward import FeedForwardLowering
from .kernel import Budget, Kernel, Lowering, Scope
from .matmul import MatmulLowering
from .residency import WORTH
from .views import producible

AROUND = 0.5
"""The part of the SRAM that operands and results are taken to occupy at most while a pair is weighed."""


def pair_feed_forward(lowerings: Sequence[Lowering], scope: Scope, outputs: Collection[SSAValue]) -> list[Lowering]:
    """The lowerings of a function with pairs of products in the place of their last one, where that is cheaper.

    `outputs` are the storage roots of the function's outputs.
    """
    makers: dict[SSAValue, int] = {}
    readers: dict[SSAValue, set[int]] = {}
    for index, lowering in enumerate(lowerings):
        for value in lowering.kernel.operands:
            readers.setdefault(scope.view(value).root, set()).add(index)
        for value in lowering.kernel.results:
            makers[scope.view(value).root] = index
    found: dict[int, Lowering | None] = dict(enumerate(lowerings))
    block = lowerings[0].kernel.anchor.parent_block() if lowerings else None
    order = {} if block is None else {operation: place for place, operation in enumerate(block.ops)}
    costs: _Costs = {}

    def maker(root: SSAValue, reader: int) -> MatmulLowering | None:
        """The product that makes what one kernel alone reads."""
        number = makers.get(root)
        if number is None or root in outputs or readers[root] != {reader}:
            return None
        lowering = found[number]
        return lowering if isinstance(lowering, MatmulLowering) else None

    for index, down in enumerate(lowerings):
        if not isinstance(down, MatmulLowering) or down.epilogue.statistics:
            continue
        up = maker(down.left.main.root, index)
        if up is None or not _follow(up, down):
            continue
        number = makers[up.epilogue.output.root]
        gates = [gate for leaf in up.epilogue.leaves.leaves if (gate := maker(leaf.root, number)) is not None]
        ups = [*(gate for gate in gates if _gates(gate, up)), up]
        pair = FeedForwardLowering(_merged((*ups, down), order), scope, (*ups, down))
        if _pays(pair, scope, outputs, costs):
            for part in ups:
                found[makers[part.epilogue.output.root]] = None
            found[index] = pair
    return [lowering for lowering in found.values() if lowering is not None]


def _follow(up: MatmulLowering, down: MatmulLowering) -> bool:
    """Whether the left operand of one product is the whole result of another, row by row."""
    extents = (up.rows, up.columns, up.depth, down.columns)
    matching = up.rows == down.rows and up.columns == down.depth and not up.outer and not down.outer
    hidden = up.epilogue.output
    elsewhere = sum(leaf.root is hidden.root for leaf in (*down.right.leaves, *down.epilogue.leaves.leaves))
    matching = matching and not any(part.structure or part.comparison for part in (up, down))
    return (
        matching and 0 not in extents and down.left.packing is None and down.left.leaves == (hidden,) and not elsewhere
    )


def _gates(gate: MatmulLowering, up: MatmulLowering) -> bool:
    """Whether a product makes a factor of what another one makes, tile by tile, from the same rows."""
    alike = (gate.rows, gate.columns, gate.depth, gate.outer) == (up.rows, up.columns, up.depth, up.outer)
    alike = alike and gate.structure is None and gate.comparison is None
    same = gate.left.leaves == up.left.leaves and gate.left.packing == up.left.packing and gate.mode is up.mode
    read = [leaf for leaf in up.epilogue.leaves.leaves if leaf.root is gate.epilogue.output.root]
    return alike and same and read == [gate.epilogue.output]


def _merged(parts: Sequence[MatmulLowering], order: Mapping[Operation, int]) -> Kernel:
    """One kernel of the operations of several, in their `order` in the block."""
    kernels = [part.kernel for part in parts]
    made = {value for kernel in kernels for operation in kernel.operations for value in operation.results}
    inside = {operation for kernel in kernels for operation in kernel.operations}
    operations = tuple(sorted(inside, key=order.__getitem__))
    operands = dict.fromkeys(value for kernel in kernels for value in kernel.operands if value not in made)
    return Kernel("feed_forward", kernels[-2].anchor, operations, tuple(operands), kernels[-1].results)


_Costs = dict[Hashable, float]
"""What lowerings cost, by their shapes and what is taken beside them: the pairs of equal layers are weighed once."""


def _pays(pair: FeedForwardLowering, scope: Scope, outputs: Collection[SSAValue], costs: _Costs) -> bool:
    """Whether a pair is cheaper than its products one after the other, with the hidden on chip or in DRAM. Cycles of
    the channel count as for residents: sums that rest in DRAM keep it from what other kernels would load early."""
    before = set(scope.residents)
    around = _around(pair, scope, outputs)
    taken = sum(around.values())
    made = [part.epilogue.output.root for part in pair.parts[:-1]]
    try:
        scope.residents.update((*around, *made))
        if _known_cost(pair.parts, scope, taken + sum(_bytes(root) for root in made), costs) < float("inf"):
            return False
        scope.residents.difference_update(made)
        return _known_cost((pair,), scope, taken, costs) < _known_cost(pair.parts, scope, taken, costs)
    finally:
        scope.residents.clear()
        scope.residents.update(before)


def _around(pair: FeedForwardLowering, scope: Scope, outputs: Collection[SSAValue]) -> dict[SSAValue, int]:
    """Tensors around a pair that are likely on chip meanwhile, with their bytes; small ones first."""
    values = (*pair.kernel.operands, *pair.kernel.results)
    roots = dict.fromkeys(scope.view(value).root for value in values if pair.accepts_resident(value))
    found: dict[SSAValue, int] = {}
    room = int(scope.machine.sram.bytes * AROUND)
    for root in sorted((root for root in roots if producible(root) and root not in outputs), key=_bytes):
        if _bytes(root) <= room:
            found[root] = _bytes(root)
            room -= _bytes(root)
    return found


def _known_cost(lowerings: Sequence[Lowering], scope: Scope, taken: int, costs: _Costs) -> float:
    key = (tuple(lowering.shape for lowering in lowerings), taken)
    if key not in costs:
        costs[key] = _cost(lowerings, scope, taken)
    return costs[key]


def _cost(lowerings: Iterable[Lowering], scope: Scope, taken: int) -> float:
    """What kernels cost beside so many bytes of tensors on chip."""
    sram, acc = scope.machine.sram.bytes, scope.machine.acc.bytes
    try:
        plans = [lowering.plan(Budget(int(sram * lowering.fill) - taken, acc)) for lowering in lowerings]
    except CapacityError:
        return float("inf")
    channel = (WORTH * float(plan.details["dram_cycles"]) for plan in plans)
    return sum(plan.cycles + plan.burden for plan in plans) + sum(channel)


def _bytes(root: SSAValue) -> int:
    return buffer_bytes(shape_of(root), format_of(element_type(root)))
