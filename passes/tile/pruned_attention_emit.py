"""The tile operations of attention that keeps scores by their values (see `pruned_attention`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...dialects.affine_form import AffineForm, Minimum
from ...dialects.tile import TopOp
from ...isa.errors import CapacityError
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.matrix import MatrixMode
from ...isa.row_packing import RowPacking
from .attention_emit import ZERO, AttentionEmission, Block, Piece
from .attention_graph import Graph
from .attention_plan import AttentionPart, AttentionPlan
from .attention_sight import PanelSight
from .build import MAXIMUM_EXTENT, Mask, Span, TileBuilder
from .lane_graph import Extent
from .lane_passes import Held
from .pruned_attention_graph import Levels
from .tiles import hold

if TYPE_CHECKING:
    from ...isa.machine import Machine
    from .pruned_attention import PrunedAttentionLowering


@frozen
class _Leveled:
    """Queries or keys as levels, row by row, and each row's step."""

    levels: Held
    steps: Held


@frozen
class _PrunedBlock(Block):
    """A block with the bits of what is kept of its scores."""

    kept: Held


class PrunedEmission(AttentionEmission):
    """Writes the tile operations of an attention whose form is a pruning."""

    def __init__(
        self,
        lowering: PrunedAttentionLowering,
        part: AttentionPart,
        tiling: AttentionPlan,
        builder: TileBuilder,
        importance: Held | None = None,
    ) -> None:
        super().__init__(lowering, part, tiling, builder, importance)
        self._lowering = lowering
        self._pruning = lowering.pruning
        self._leveled_keys: dict[int, _Leveled] = {}

    def begin_head(self) -> None:
        """Keys and values, and the levels of the keys."""
        super().begin_head()
        for bits, levels in self._lowering.levels.items():
            self._leveled_keys[bits] = self._key_levels(levels)

    def _key_levels(self, levels: Levels) -> _Leveled:
        keys, width = self.kernel.keys, self.kernel.key_width
        found = _Leveled(
            hold(self.builder, Extent.FULL, keys, width, levels.form),
            hold(self.builder, Extent.ROW, 1, keys, Format.F32),
        )
        size = keys if self.key is not None or self.kernel.key.ready else self.tiling.keys
        whole = None if self.key is None else self.key
        self.indices = (*self.indices, ZERO)
        with self.builder.tiles(keys, size) as span:
            place = _Leveled(
                replace(found.levels, offset=span.start * found.levels.pitch), replace(found.steps, offset=span.start)
            )
            self._make_levels(levels, span, self.keys(span, whole), self.kernel.key.form, place)
        self.indices = self.indices[:-1]
        return found

    def _make_levels(self, levels: Levels, rows: Span, values: Held, stored: Format, found: _Leveled) -> None:
        graph = self._lowering.pruned_graphs.row_levels(levels, stored)
        outputs = {0: found.levels, 1: found.steps}
        self.passes(graph, rows, Span.of(0, self.kernel.key_width), {"operand": values}, outputs)

    def blocks(self, panel: PanelSight, queries: Sequence[Held], columns: int | None) -> list[Block]:
        """The blocks of a panel, with room for the bits of what is kept."""
        return [
            _PrunedBlock(
                block.sight, block.query, block.keys, block.values, block.weights, block.column, self._bits(block)
            )
            for block in super().blocks(panel, queries, columns)
        ]

    def _bits(self, block: Block) -> Held:
        return hold(self.builder, Extent.FULL, block.rows.limit, block.sight.limit, Format.B1)

    def make_weights(self, block: Block) -> None:
        """Scores of a block, what is kept of them, and weights of that."""
        assert isinstance(block, _PrunedBlock)
        outputs = self.weight_outputs(block)
        row = block.weights if self._lowering.in_place else self._row(block)
        if self._lowering.levels:
            self._predict(block)
            given = self._scores(block, row, self.graphs[0], lambda piece: self._exact(block, piece))
        else:
            given = self._scores(block, row, self.graphs[0], lambda piece: {"acc": self.scored(block, piece)})
            if self._pruning.keep:
                self._select(block, given, block.kept)
                given["shown"] = block.kept
            else:
                outputs[2] = block.kept
        self._over_row(block, self.graphs[1], given, outputs)

    def _over_row(self, block: Block, graph: Graph, given: Mapping[str, Held], outputs: Mapping[int, Held]) -> None:
        """The passes of a graph over a block's kept rows, of which one writes over them where it can."""
        heir = self._lowering.heir(graph, "kept")
        inner = {} if heir is None or heir in self.kernel.packing(graph).outputs else {heir: given["kept"]}
        whole = Span(ZERO, block.sight.width)
        self.passes(graph, block.rows, whole, given, outputs, temporaries=inner)

    def _row(self, block: Block) -> Held:
        return hold(self.builder, Extent.FULL, block.rows.limit, block.sight.limit, Format.F32)

    def _scores(
        self, block: Block, row: Held, graph: Graph, made: Callable[[Piece], Mapping[str, Held]]
    ) -> dict[str, Held]:
        """Rows of scores, put in `row`, and their maxima, from what is `made` for each piece of keys."""
        maximum = self.column(block.rows)
        for piece in self.pieces(block.sight.stretches):
            outputs = {0: replace(row, offset=row.offset + piece.place), 1: maximum}
            self.passes(graph, block.rows, piece.keys, made(piece), outputs, piece.number)
        return {"kept": row, "maximum": maximum}

    def _exact(self, block: _PrunedBlock, piece: Piece) -> dict[str, Held]:
        """The exact scores of what is kept of a piece."""
        bits = replace(block.kept, offset=block.kept.offset + piece.place)
        mask = self._mask("result", bits, block.rows, piece.keys, self.kernel.scoring.mode)
        key = self.keys(piece.keys, block.keys[piece.stretch.source])
        return {"acc": self.scores(block, piece.keys, key, mask), "shown": bits}

    def _predict(self, block: _PrunedBlock) -> None:
        """The bits of what the last round keeps."""
        shown: Held | None = None
        rounds = self._pruning.rounds
        for number, bits in enumerate(rounds):
            kept = block.kept if number == len(rounds) - 1 else self._bits(block)
            self._select(block, self._predicted(block, bits, shown), kept)
            shown = kept

    def _predicted(self, block: Block, bits: int, shown: Held | None) -> dict[str, Held]:
        """The scores that levels of so many bits predict, of what is shown (None: all)."""
        builder, rows, width = self.builder, block.rows, self.kernel.key_width
        form = self._lowering.levels[bits]
        query = _Leveled(hold(builder, Extent.FULL, rows.limit, width, form.form), self.column(rows))
        self._make_levels(form, rows, block.query, self.kernel.query.form, query)
        key = self._leveled_keys[bits]
        depth = Minimum.of(width)

        def made(piece: Piece) -> dict[str, Held]:
            span = piece.keys
            acc = self.accumulator(rows, span.limit, Format.I32)
            seen = None if shown is None else replace(shown, offset=shown.offset + piece.place)
            keys = replace(key.levels, offset=span.start * key.levels.pitch)
            builder.product(
                query.levels.full(rows.size, depth),
                keys.full(span.size, depth),
                acc.full(rows.size, span.size),
                form.mode.label,
                transpose_b=True,
                values=form.values,
                mask=None if seen is None else self._mask("result", seen, rows, span, form.mode),
            )
            steps = {"query_step": query.steps, "key_step": replace(key.steps, offset=span.start)}
            return {"acc": acc, **steps, **({} if seen is None else {"shown": seen})}

        graphs = self._lowering.pruned_graphs if shown is None else self._lowering.pruned_hiding_graphs
        return self._scores(block, self._row(block), graphs.predicted(), made)

    def _select(self, block: Block, row: Mapping[str, Held], bits: Held) -> None:
        """The bits of what a round keeps of its rows of scores."""
        size = (block.rows.size, block.sight.width)
        if self._pruning.keep:
            self.builder.insert(TopOp(row["kept"].full(*size), bits.full(*size), self._pruning.keep))
            return
        self._over_row(block, self._lowering.pruned_graphs.selection(self._pruning), row, {0: bits})

    def add_values(
        self,
        block: Block,
        span: Span,
        place: AffineForm,
        value: Held,
        acc: Held,
        index: AffineForm,
        stage: int = 0,
        mask: Mask | None = None,
    ) -> None:
        """As of dense attention, of the weights that are kept."""
        assert isinstance(block, _PrunedBlock)
        assert mask is None
        bits = replace(block.kept, offset=block.kept.offset + place)
        mask = self._mask("left", bits, block.rows, span, self.kernel.valuing.mode)
        super().add_values(block, span, place, value, acc, index, stage, mask)

    def _mask(self, masked: str, bits: Held, rows: Span, columns: Span, mode: MatrixMode) -> Mask:
        return packed_mask(self.kernel.scope.machine, masked, bits, rows, columns, mode)


def packed_mask(machine: Machine, masked: str, bits: Held, rows: Span, columns: Span, mode: MatrixMode) -> Mask:
    """The mask of a product, whose rows the array gathers from as wide a window as it can. Raises CapacityError for one
    of more rows than an instruction tells."""
    width = machine.matrix.columns if masked == "result" else int(machine.matrix.depths[mode.code])
    packing = RowPacking.of(machine, width)
    limit = packing.most(rows.limit, columns.limit)
    if limit > MAXIMUM_EXTENT:
        raise CapacityError("rows of the array that a mask packs into", limit, MAXIMUM_EXTENT)
    return Mask(masked, bits.full(rows.size, columns.size), packing, limit)
