"""The loops of one matrix product, in any order: operands come on chip as soon as the loops that index them are open,
and sums that a loop inside of k leaves unfinished rest until their last part is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from xdsl.ir import SSAValue

from ...dialects.affine_form import AffineForm, dense_strides
from ...dialects.tile import Place
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.lanes import LaneProgram
from .build import Span, TileBuilder
from .lane_graph import Extent
from .lane_passes import Held
from .loop_order import UNROLLED, fetch
from .matmul_masks import MaskPanel, mask_panel
from .matmul_plan import MatmulPlan, Rest, Section
from .product_operand import PackedOperand
from .product_panel import Chunk, Panel, Side
from .row_statistics import StatisticsRun
from .tile_epilogue import EpilogueRun, Gathered, strips_of
from .tiles import hold

if TYPE_CHECKING:
    from .matmul import MatmulLowering

FIRST_SUMS = LaneProgram.parse("out a")
MORE_SUMS = LaneProgram.parse("r0 = add(a, b); out r0")


@frozen
class Sums:
    """Where unfinished sums rest: [batch..., rows, columns] of them in a buffer, which begins at the loop indices
    after the first `skipped`, and at a row and a column of the product."""

    buffer: SSAValue
    rest: Rest
    form: Format
    skipped: int
    strides: tuple[int, ...]
    row: AffineForm
    column: AffineForm

    def offset(self, here: _Here) -> AffineForm:
        """Where the sums of the tile at hand begin."""
        *outer, row, column = self.strides
        form = (here.rows.start - self.row) * row + (here.columns.start - self.column) * column
        for index, stride in zip(here.indices[self.skipped :], outer, strict=True):
            form = form + index * stride
        return form


@frozen
class _Here:
    """What is known with some loops open: indices of the batch, the rows, columns and pieces of K at hand, what of the
    operands is on chip, which values of the left one are kept, and whether other pieces of K went before and will
    follow."""

    indices: tuple[AffineForm, ...]
    rows: Span
    columns: Span
    chunks: tuple[Chunk, ...] | None
    panels: dict[str, Panel]
    masks: MaskPanel | None = None
    sums: Sums | None = None
    gathered: Gathered | None = None
    earlier: bool = False
    later: bool = False


class MatmulEmission:
    """Writes the tile operations of one matrix product."""

    def __init__(self, lowering: MatmulLowering, plan: MatmulPlan, builder: TileBuilder) -> None:
        self.kernel = lowering
        self.plan = plan
        self.builder = builder
        away = plan.rest > Rest.ACC
        epilogue = lowering.resumed_epilogue if away else lowering.epilogue
        self.statistics: StatisticsRun | None = None
        if epilogue.statistics:
            extents = (lowering.outer, lowering.rows, lowering.columns)
            self.statistics = StatisticsRun(epilogue.statistics, lowering.scope, builder, extents, plan)
        chosen = epilogue.by_tile if plan.by_tile else epilogue
        self.epilogue = EpilogueRun(chosen, builder, statistics=self.statistics)

    def run(self) -> None:
        """All loops; of a plan with edges, the first columns, those between, and the last."""
        self.epilogue.preload(())
        plan, columns = self.plan, self.kernel.columns
        panels: dict[str, Panel] = {}
        if plan.lead or plan.tail:
            # Edges are part of a product whose rows are all on chip for all columns, if they are held at all.
            left = Side(self.kernel.left, right=False)
            again = fetch(plan.order, self.kernel.left_axes, "j", "left" in plan.holds).again
            if "j" not in again and not left.operand.ready:
                here = self._whole(0, columns, plan.depth, {})
                assert here.chunks is not None
                step = plan.block if plan.lead else plan.rows
                panels["left"] = left.panel(self.builder, (), here.rows, here.chunks, step)
        edge = replace(plan, order="bjik", rows=plan.block, holds=plan.holds | {"right"})
        gathered: Gathered | None = None
        for section in plan.sections(columns):
            at_edge = section.start < plan.lead or section.start >= columns - plan.tail
            if plan.lead and plan.gathered and not section.start:
                gathered = self.epilogue.gather(Span.of(0, self.kernel.rows), Span.of(0, plan.gathered))
            elif gathered is not None and section.start >= plan.gathered:
                self.epilogue.store((), gathered)
                gathered = None
            if self.statistics is not None:
                self.statistics.enter(section)
            stays = plan.handed > 0 and section.start >= columns - plan.handed * plan.piece
            place = self._handed_over(section) if stays else gathered
            here = self._whole(section.start, section.width, plan.depth, panels)
            chosen = replace(edge, columns=section.columns) if at_edge else plan
            _Nest(self, chosen, section.start, section.width).run(replace(here, gathered=place))
        if gathered is not None:
            self.epilogue.store((), gathered)
        if self.statistics is not None:
            self.statistics.finish()

    def _handed_over(self, section: Section) -> Gathered:
        """A place that stays on chip for the columns of a section."""
        output = self.kernel.epilogue.output
        buffer = self.builder.kept((self.kernel.rows, section.width), output.form)
        self.kernel.scope.handovers[output.root].pieces.append(buffer)
        held = Held(buffer, AffineForm(), section.width)
        return Gathered(held, Span.of(0, self.kernel.rows), Span.of(section.start, section.width))

    def _whole(self, start: int, width: int, depth: int, panels: dict[str, Panel]) -> _Here:
        chunks = None
        if 0 < self.kernel.depth <= UNROLLED * depth:
            spans = pieces_of_depth(self.kernel, depth)
            chunks = tuple(Chunk(number, AffineForm.of(number), span) for number, span in enumerate(spans))
        return _Here((), Span.of(0, self.kernel.rows), Span.of(start, width), chunks, panels)


def pieces_of_depth(kernel: MatmulLowering, size: int) -> list[Span]:
    """The pieces of K in the order in which they are summed up: what the product before left on chip comes first."""
    spans = [Span.of(low, min(size, kernel.depth - low)) for low in range(0, kernel.depth, size)]
    return sorted(spans, key=lambda span: not kernel.left.is_handed_over(span))


class _Nest:
    """The loops over some columns of a product, from `start`."""

    def __init__(self, emission: MatmulEmission, plan: MatmulPlan, start: int, width: int) -> None:
        self.kernel = kernel = emission.kernel
        self.builder = emission.builder
        self.epilogue = emission.epilogue
        self.plan = plan
        self.start, self.width = start, width
        self.sides = {"left": Side(kernel.left, right=False), "right": self._right(False)}
        self.levels = {
            name: fetch(plan.order, axes, across, name in plan.holds).level
            for name, axes, across in (("left", kernel.left_axes, "j"), ("right", kernel.right_axes, "i"))
        }
        if kernel.structure is not None:
            # What a compressed weight stands for goes wherever it goes.
            self.sides["indices"] = self._right(True)
            self.levels["indices"] = self.levels["right"]

    def _right(self, indices: bool) -> Side:
        """The right operand, or the indices of a compressed one."""
        kernel, packed = self.kernel, None
        if kernel.packed and kernel.depth:
            packed = PackedOperand.make(
                kernel.right,
                kernel.outer,
                kernel.right_view,
                min(self.plan.columns, self.width),
                self.builder.block,
                self.start,
                self.width,
                kernel.structure,
                indices,
            )
        return Side(kernel.right, right=True, packed=packed)

    def run(self, here: _Here) -> None:
        """All loops."""
        self._open(self.plan.order, here)

    def _open(self, order: str, here: _Here) -> None:
        """The loops of `order` that are left."""
        here = self._fetched(len(self.plan.order) - len(order), here)
        if not order:
            self._tile(here)
            return
        kernel, inner = self.kernel, order[1:]
        match order[0]:
            case "b":
                with ExitStack() as stack:
                    indices = here.indices
                    for extent in kernel.outer:
                        indices = (*indices, stack.enter_context(self.builder.loop(extent)))
                        self.epilogue.preload(indices)
                    self._open(inner, replace(here, indices=indices))
            case "i":
                with self.builder.tiles(kernel.rows, self.plan.rows) as rows:
                    self._open(inner, replace(here, rows=rows))
            case "j":
                if self.plan.gathered and here.gathered is None:
                    with self.builder.tiles(self.width, self.plan.gathered) as columns:
                        columns = Span(columns.start + self.start, columns.size)
                        gathered = self.epilogue.gather(here.rows, columns)
                        self._open_columns(inner, replace(here, columns=columns, gathered=gathered))
                        self.epilogue.store(here.indices, gathered)
                else:
                    self._open_columns(inner, here)
            case _ if not inner or kernel.depth <= self.plan.depth:
                self._open(inner, here)
            case _:
                self._steps(inner, here)

    def _open_columns(self, inner: str, here: _Here) -> None:
        """The loop over tiles of the columns at hand, and the `inner` ones."""
        with self.builder.tiles(here.columns.limit, self.plan.columns) as piece:
            columns = Span(here.columns.start + piece.start, piece.size)
            self.epilogue.load_columns(here.indices, columns)
            self._open(inner, replace(here, columns=columns))

    def _fetched(self, level: int, here: _Here) -> _Here:
        """With the operands that come on chip now; those that all loops index come with each product."""
        panels = dict(here.panels)
        for name, side in self.sides.items():
            if self.levels[name] == level < len(self.plan.order) and name not in panels and not side.operand.ready:
                extent, step = (here.columns, self.plan.columns) if side.right else (here.rows, self.plan.rows)
                if here.chunks is not None:
                    panels[name] = side.panel(self.builder, here.indices, extent, here.chunks, step)
        here = replace(here, panels=panels)
        if here.chunks is not None and here.masks is None and self.levels["left"] == level < len(self.plan.order):
            here = replace(here, masks=self._masks(here, here.chunks))
        return here

    def _masks(self, here: _Here, chunks: Sequence[Chunk], tile: Held | None = None) -> MaskPanel | None:
        """Which values of the rows at hand are kept, where the product skips some; of one `tile` that is at hand."""
        comparison, side = self.kernel.comparison, self.sides["left"]
        if comparison is None:
            return None

        def left(rows: Span, chunk: Chunk) -> Held:
            return tile or side.tile(self.builder, here.indices, here.panels.get("left"), rows, chunk)

        return mask_panel(self.builder, comparison, left, here.rows, chunks, self.plan.rows)

    def _steps(self, inner: str, here: _Here) -> None:
        """The loop over K with others inside of it: the sums of all their tiles rest between its turns."""
        size = self.plan.depth
        here = replace(here, sums=self._sums(inner, here))
        spans = pieces_of_depth(self.kernel, size)
        count = len(spans)
        for number, span in enumerate(spans):
            if here.panels or count <= 3 or number in (0, count - 1):
                # Each piece that a panel holds has a buffer of its own.
                self._step(inner, here, number, span, number > 0, number < count - 1)
            elif number == 1:
                with self.builder.loop(count - 2) as index:
                    self._step(inner, here, number, Span.of((index + 1) * size, size), True, True)

    def _step(self, inner: str, here: _Here, number: int, span: Span, earlier: bool, later: bool) -> None:
        chunk = Chunk(number, AffineForm.of(int(earlier and self.plan.rest is Rest.ACC)), span)
        self._open(inner, replace(here, chunks=(chunk,), earlier=earlier, later=later))

    def _sums(self, inner: str, here: _Here) -> Sums:
        """A place for the sums of all tiles that the `inner` loops walk over."""
        kernel, rest = self.kernel, self.plan.rest
        form = kernel.mode.accumulator
        outer = kernel.outer if "b" in inner else ()
        shape = (*outer, here.rows.limit, here.columns.limit)
        if rest is Rest.DRAM:
            buffer = self.builder.temporary("sums", shape, form)
        else:
            buffer = self.builder.alloc("acc" if rest is Rest.ACC else "sram", shape, form)
        return Sums(buffer, rest, form, len(here.indices), dense_strides(shape), here.rows.start, here.columns.start)

    def _tile(self, here: _Here) -> None:
        """One tile of the accumulator: its products, then the epilogue, or a rest until it is finished."""
        sums = here.sums
        acc = self._accumulate(here)
        away = sums if sums is not None and sums.rest is not Rest.ACC else None
        if here.later and away is None:
            return
        for strip, given in strips_of(self.builder, here.rows, self.plan.strip, {0: acc}):
            at = replace(here, rows=strip)
            if here.earlier and away is not None:
                given[1] = self._resting(away, at)
            if not here.later or away is None:
                self.epilogue.tile(here.indices, strip, here.columns, given, gathered=here.gathered)
            else:
                self._put_away(away, at, [given[key] for key in sorted(given)])

    def _place(self, sums: Sums, here: _Here) -> Place:
        """The sums of a strip where they rest."""
        held = Held(sums.buffer, sums.offset(here), sums.strides[-2])
        return held.full(here.rows.size, here.columns.size)

    def _resting(self, sums: Sums, here: _Here) -> Held:
        """The unfinished sums of a strip, on chip."""
        if sums.rest is Rest.SRAM:
            return Held(sums.buffer, sums.offset(here), sums.strides[-2])
        target = hold(self.builder, Extent.FULL, here.rows.limit, here.columns.limit, sums.form)
        self.builder.copy(self._place(sums, here), target.full(here.rows.size, here.columns.size))
        return target

    def _put_away(self, sums: Sums, here: _Here, parts: list[Held]) -> None:
        """Add up the parts of a strip's sums and let them rest."""
        size = (here.rows.size, here.columns.size)
        target = self._place(sums, here)
        out = target
        if sums.rest is Rest.DRAM:
            out = hold(self.builder, Extent.FULL, here.rows.limit, here.columns.limit, sums.form).full(*size)
        program = MORE_SUMS if here.earlier else FIRST_SUMS
        self.builder.lane_pass(program, *size, [part.full(*size) for part in parts], out=out)
        if sums.rest is Rest.DRAM:
            self.builder.copy(out, target)

    def _accumulate(self, here: _Here) -> Held:
        kernel, builder = self.kernel, self.builder
        form = kernel.mode.accumulator
        if here.sums is not None and here.sums.rest is Rest.ACC:
            acc = Held(here.sums.buffer, here.sums.offset(here), here.sums.strides[-2])
        else:
            acc = Held(
                builder.alloc("acc", (here.rows.limit, here.columns.limit), form), AffineForm(), here.columns.limit
            )
        place = acc.full(here.rows.size, here.columns.size)
        if kernel.depth == 0:
            nothing = LaneProgram.parse("out 0.0" if form is Format.F32 else "out 0")
            builder.lane_pass(nothing, here.rows.size, here.columns.size, out=place)
            return acc
        turned, structure = kernel.right.turned, kernel.structure
        for chunk in self._chunks(here):
            a, b, *indices = (
                side.tile(
                    builder, here.indices, here.panels.get(name), here.columns if side.right else here.rows, chunk
                )
                for name, side in self.sides.items()
            )
            columns, depth = here.columns.size, chunk.span.size
            masks = here.masks
            if masks is None:
                masks = self._masks(here, (chunk,), a)
            rows = depth if structure is None else depth.grouped(structure.kept, structure.group)
            builder.product(
                a.full(here.rows.size, depth),
                b.full(*((columns, depth) if turned else (rows, columns))),
                place,
                kernel.mode.label,
                turned,
                chunk.number,
                values=kernel.arithmetic.values,
                mask=None if masks is None else masks.mask(here.rows, chunk),
                structure=None if structure is None else (structure, indices[0].full(rows, columns)),
            )
        return acc

    def _chunks(self, here: _Here) -> Iterator[Chunk]:
        """The pieces of K that a tile sums up at once: written out, or the one body of a loop."""
        if here.chunks is not None:
            yield from here.chunks
            return
        with self.builder.tiles(self.kernel.depth, self.plan.depth) as span:
            yield Chunk(0, AffineForm.index(self.builder.depth - 1), span)
