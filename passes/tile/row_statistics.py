"""Statistics of rows that a product leaves, made with the tiles of its result while they are at hand.

The mean and the variance that a norm asks of a residual sum are reductions over whole rows, and tiles have parts of
them. A pass that makes a tile reduces its part as well; when the last tile of some rows is there, a pass over the parts
gives each statistic. Parts are merged as Chan, Golub and LeVeque do it ("Algorithms for Computing the Sample
Variance", 1983): the variance of a row is the mean of the parts' variances and of the squared distances of their means
from the row's, weighted by their columns. Nothing cancels: what is reduced by parts is as near to the true value as
what is reduced at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack

import numpy as np
from xdsl.ir import Operation

from ...dialects import nn
from ...dialects.affine_form import Access, AffineForm, Minimum, dense_strides
from ...dialects.constants import RefAttr
from ...dialects.elements import element_of, element_type, is_float, shape_of, tensor
from ...dialects.tile import Place
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.lanes import LaneProgram
from .build import Span, TileBuilder
from .kernel import Lowering, Scope
from .lane_graph import Extent
from .lane_passes import Held
from .matmul_plan import MatmulPlan, Section
from .tiles import Spread, hold, tile_place

KINDS = ("mean", "variance")


@frozen
class Statistic:
    """A statistic of the rows of a product's result: what it is, and where it is stored."""

    kind: str
    spread: Spread


def made_by_products(lowerings: Iterable[Lowering]) -> frozenset[Operation]:
    """The means and variances of rows that products may leave with the values that they are of: `lowerings` have the
    products apart from them."""
    found: set[Operation] = set()
    for lowering in lowerings:
        kernel = lowering.kernel
        if kernel.kind != "matmul" or len(kernel.results) != 1:
            continue
        [result] = kernel.results
        if shape_of(result) != shape_of(kernel.anchor.results[0]):
            continue
        readers = dict.fromkeys(use.operation for use in result.uses if use.operation not in kernel.operations)
        kinds = {op.kind.data: op for op in readers if isinstance(op, nn.ReduceOp) and _is_of_rows(op)}
        # Parts of a variance are merged by their means.
        if "mean" in kinds:
            found.update(kinds.values())
    return frozenset(found)


def _is_of_rows(op: nn.ReduceOp) -> bool:
    shape = shape_of(op.input)
    of_rows = op.axes.get_values() == (len(shape) - 1,) and 0 not in shape
    return of_rows and op.kind.data in KINDS and is_float(element_type(op.input))


class StatisticsRun:
    """Statistics while their kernel is emitted: a part for each tile of columns, then what they merge into. `extents`
    are those of the outer loops, the rows and the columns of the product."""

    def __init__(
        self,
        statistics: Sequence[Statistic],
        scope: Scope,
        builder: TileBuilder,
        extents: tuple[tuple[int, ...], int, int],
        plan: MatmulPlan,
    ) -> None:
        self._statistics, self._scope, self._builder = statistics, scope, builder
        self._kinds = [one.kind for one in statistics]
        self._outer, self._rows, self._columns = extents
        self._sections = plan.sections(self._columns)
        self._section = self._sections[0]
        self._block = min(plan.block or plan.rows, self._rows)
        self._count = count = sum(section.tiles for section in self._sections)
        shape = (*self._outer, count, self._rows)
        self._strides = dense_strides(shape)
        self._alone = count == 1 and all(scope.resident(one.spread.root) for one in statistics)
        self._parts = [
            scope.buffers[one.spread.root]
            if self._alone
            else builder.alloc("acc" if plan.parts_in_acc else "sram", shape, Format.F32)
            for one in statistics
        ]
        self._shares: Held | None = None

    def enter(self, section: Section) -> None:
        """The tiles that follow are of a section."""
        self._section = section

    def part(self, number: int, indices: Sequence[AffineForm], rows: Span, columns: Span) -> Held:
        """Where a tile at loop `indices` leaves its part of a statistic."""
        if self._alone:
            spread = self._statistics[number].spread
            return Held(self._parts[number], spread.start(indices, rows.start))
        section = self._section
        tile = (columns.start - section.start).grouped(1, section.columns) + self._tiles_before(section)
        return Held(self._parts[number], self._offset(indices, tile, rows.start))

    def _tiles_before(self, section: Section) -> int:
        return sum(other.tiles for other in self._sections if other.start < section.start)

    def _offset(self, indices: Sequence[AffineForm], tile: AffineForm | int, row: AffineForm) -> AffineForm:
        found = AffineForm.of(tile) * self._rows + row
        for index, stride in zip(indices, self._strides, strict=False):
            found = found + index * stride
        return found

    def finish(self) -> None:
        """Merge the parts of all rows."""
        if self._alone:
            return
        self._shares = self._shares_of_tiles()
        with ExitStack() as loops:
            indices = [loops.enter_context(self._builder.loop(extent)) for extent in self._outer]
            rows = loops.enter_context(self._builder.tiles(self._rows, self._block))
            means: Held | None = None
            for number in sorted(range(len(self._statistics)), key=lambda one: self._kinds[one] != "mean"):
                spread = self._statistics[number].spread
                start = spread.start(indices, rows.start)
                if self._scope.resident(spread.root):
                    merged = Held(self._scope.buffers[spread.root], start)
                else:
                    merged = hold(self._builder, Extent.COLUMN, rows.limit, 1, Format.F32)
                self._merge(number, indices, rows, merged, means)
                means = means or merged
                if not self._scope.resident(spread.root):
                    target = tile_place(self._scope.buffers[spread.root], spread, start, rows.size, Minimum.of(1))
                    self._builder.copy(merged.vector(rows.size), target)

    def _merge(self, number: int, indices: Sequence[AffineForm], rows: Span, merged: Held, means: Held | None) -> None:
        """Merge the parts of some rows: of the means, which come first, or of the variances by the rows' `means`."""

        def parts(which: int) -> Place:
            start = self._offset(indices, 0, rows.start)
            return Place(self._parts[which], Access(start, (Minimum.of(self._count), rows.size), (self._rows, 1)))

        streams = [parts(number)]
        broadcasts: list[tuple[str, Place]] = []
        steps: list[str] = []
        if means is not None:
            streams.append(parts(self._kinds.index("mean")))
            broadcasts.append(("row", means.vector(rows.size)))
            steps = ["sub(b, c0)", "mul(r0, r0)", "add(a, r1)"]
        value = f"r{len(steps) - 1}" if steps else "a"
        if self._shares is None:
            steps.append(f"mul({value}, {float(np.float32(1 / self._count))!r})")
        else:
            steps.append(f"mul({value}, c{len(broadcasts)})")
            broadcasts.append(("column", self._shares.vector(Minimum.of(self._count))))
        program = "; ".join(f"r{index} = {step}" for index, step in enumerate(steps))
        self._builder.lane_pass(
            LaneProgram.parse(f"{program}; reduce sum(r{len(steps) - 1})"),
            self._count,
            rows.size,
            streams,
            broadcasts,
            reductions=[("rows", merged.vector(rows.size))],
        )

    def _shares_of_tiles(self) -> Held | None:
        """The part of a row's columns that each tile has, on chip; None where all have as many."""
        widths = [
            width
            for section in self._sections
            for count, width in ((section.width // section.columns, section.columns), section.last)
            for _ in range(count)
        ]
        if len(set(widths)) == 1:
            return None
        shares = (np.array(widths) / self._columns).astype(np.float32)
        key = self._scope.store.anonymous(shares)
        constant = nn.ConstantOp(RefAttr(key), tensor(element_of(Format.F32), len(widths)))
        held, size = hold(self._builder, Extent.ROW, 1, len(widths), Format.F32), (Minimum.of(len(widths)),)
        source = Place(self._scope.buffers[constant.result], Access(AffineForm(), size, (1,)))
        self._builder.copy(source, held.vector(*size))
        return held
