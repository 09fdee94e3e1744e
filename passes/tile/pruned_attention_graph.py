"""Lane graphs of attention that keeps scores by their values: predictions, selections, and the weights of what is kept.

What a form says in lane functions (`dialects/forms/pruning.py`) is spelled here into the nodes of a graph.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ...dialects.forms.pruning import Pruning, to_levels
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.matrix import MatrixMode, Values
from .attention_graph import AttentionGraphs, Graph, Maker
from .lane_graph import Extent, LaneGraphBuilder


@frozen
class Levels:
    """How levels are stored, and the mode of the array that multiplies them."""

    bits: int
    form: Format
    mode: MatrixMode
    values: tuple[Values, Values] | None

    @staticmethod
    def of(bits: int, modes: Collection[str]) -> Levels | None:
        """Levels of so many bits in the narrowest of the modes that takes them; None where none does."""
        for form in (
            Levels(2, Format.I2, MatrixMode.TERNARY, (Values.I2, Values.I2)),
            Levels(4, Format.I4, MatrixMode.I4, (Values.I4, Values.I4)),
            Levels(8, Format.I8, MatrixMode.I8, None),
        ):
            if bits <= form.bits and form.mode.label in modes:
                return replace(form, bits=bits)
        return None


@frozen
class Row:
    """Arithmetic on a whole row of scores, whose maximum is known."""

    builder: LaneGraphBuilder
    score: int
    maximum: int

    def apply(self, function: str, *sources: int) -> int:
        return self.builder.apply(function, *sources)

    def reduce(self, reduction: str, source: int) -> int:
        known = reduction == "max" and source == self.score
        return self.maximum if known else self.builder.reduce(reduction, source)

    def immediate(self, value: float) -> int:
        return self.builder.immediate(value)


@frozen(eq=False)
class PrunedGraphs(AttentionGraphs):
    """Makes the graphs of an attention whose form is a pruning. A tile named `shown` has the bits of what is kept."""

    def row_levels(self, levels: Levels, stored: Format) -> Graph:
        """From queries or keys, stored in a format, to their levels and each row's step."""
        make = Maker()
        b = make.builder
        values = b.as_kind(make.given("operand", stored, Extent.FULL), "float")
        level, step = to_levels(b, values, levels.bits)
        b.output(level, levels.form, full=True)
        b.output(step, Format.F32, full=False)
        return make.build()

    def predicted(self) -> Graph:
        """From a product of levels in ACC, and their steps, to scores kept as f32, and the maximum so far."""
        make = Maker()
        b = make.builder
        score = b.as_kind(make.given("acc", Format.I32, Extent.FULL), "float")
        score = b.apply("mul", score, make.given("query_step", Format.F32, Extent.COLUMN))
        score = b.apply("mul", score, make.given("key_step", Format.F32, Extent.ROW))
        score = self.masked(make, score)
        b.output(score, Format.F32, full=True)
        b.output(b.reduce("max", score), Format.F32, full=False)
        return make.build()

    def selection(self, form: Pruning) -> Graph:
        """From kept scores and their maximum to the bits of what is selected."""
        make = Maker()
        make.builder.output(self._selected(make, form), Format.B1, full=True)
        return make.build()

    def _row(self, make: Maker) -> tuple[int, int]:
        score = make.given("kept", Format.F32, Extent.FULL)
        return score, make.given("maximum", Format.F32, Extent.COLUMN)

    def _selected(self, make: Maker, form: Pruning) -> int:
        score, maximum = self._row(make)
        return form.selected(Row(make.builder, score, maximum), score)

    def shown_weights(self) -> Graph:
        """From kept scores, their maximum and the bits of what is kept to weights and sums."""
        make = Maker()
        score, maximum = self._row(make)
        self.finish_weights(make, self.shown(make, score), maximum, None)
        return make.build()

    def selected_weights(self, form: Pruning) -> Graph:
        """From kept scores and their maximum to weights and sums of all, and the bits of what is selected."""
        make = Maker()
        score, maximum = self._row(make)
        self.finish_weights(make, score, maximum, None)
        make.builder.output(self._selected(make, form), Format.B1, full=True)
        return make.build()
