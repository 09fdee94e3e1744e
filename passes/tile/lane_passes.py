"""Emitting a packing over one on-chip tile: the passes of a lane graph, with each operand found by the caller."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.ir import SSAValue

from ...dialects.affine_form import Access, AffineForm, Minimum
from ...dialects.tile import Place
from ...isa.frozen import frozen
from .build import TileBuilder
from .lane_graph import Extent
from .pack import Packing, PassPlan, Slot

ONE = Minimum.of(1)
START = AffineForm()


@frozen
class Held:
    """A value on chip: its buffer, where it starts, and how far apart its rows lie (in elements; columns adjoin).

    Of a value that is not full the pitch does not matter: its elements adjoin.
    """

    buffer: SSAValue
    offset: AffineForm = START
    pitch: int = 0

    def full(self, rows: Minimum, columns: Minimum) -> Place:
        """All rows and columns."""
        return Place(self.buffer, Access(self.offset, (rows, columns), (self.pitch, 1)))

    def line(self, length: Minimum) -> Place:
        """`length` elements as one row of a pass."""
        return Place(self.buffer, Access(self.offset, (ONE, length), (self.pitch, 1)))

    def vector(self, length: Minimum) -> Place:
        """`length` elements as a broadcast or a reduction."""
        return Place(self.buffer, Access(self.offset, (length,), (1,)))

    @property
    def scalar(self) -> Place:
        """The one element, as a broadcast."""
        return Place(self.buffer, Access(self.offset, (), ()))


Find = Callable[[Slot], Held]


def emit_passes(
    builder: TileBuilder,
    packing: Packing,
    rows: Minimum,
    columns: Minimum,
    find: Find,
    stage: int = 0,
    turned: bool = False,
) -> None:
    """All passes of a packing, over a tile of rows x columns."""
    for plan in packing.passes:
        emit_pass(builder, plan, rows, columns, find, 0, stage, turned)


def emit_pass(
    builder: TileBuilder,
    plan: PassPlan,
    rows: Minimum,
    columns: Minimum,
    find: Find,
    accumulate: AffineForm | int = 0,
    stage: int = 0,
    turned: bool = False,
) -> None:
    """One pass; its reductions join their old values where `accumulate` is above zero.

    `turned`: rows and columns change places in full values, which lie as columns x rows.
    """
    lengths = {Extent.COLUMN: rows, Extent.ROW: columns, Extent.SCALAR: ONE}
    full = plan.domain is Extent.FULL
    outer, inner = (columns, rows) if turned else (rows, columns)
    if not full:
        outer, inner = ONE, lengths[plan.domain]

    def stream(slot: Slot) -> Place:
        held = find(slot)
        return held.full(outer, inner) if full else held.line(inner)

    def broadcast(kind: str, slot: Slot) -> tuple[str, Place]:
        held = find(slot)
        if kind == "scalar":
            return kind, held.scalar
        across = {"row": "column", "column": "row"}[kind] if turned else kind
        return across, held.vector(columns if kind == "row" else rows)

    builder.lane_pass(
        plan.program,
        outer,
        inner,
        [stream(slot) for slot in plan.streams],
        [broadcast(kind, slot) for kind, slot in plan.broadcasts],
        None if plan.out is None else stream(plan.out),
        [("rows" if turned else "columns", find(slot).vector(rows)) for slot in plan.reductions],
        accumulate,
        stage,
    )
