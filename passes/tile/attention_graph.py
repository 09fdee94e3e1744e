"""Attention as lane graphs: scores with scale and mask, exact softmax weights, and the finished output.

The softmax's division is put off: weights are exp(score - maximum) and the output is divided by their sum, so that a
row of scores is walked twice. Where a scale or thresholds make levels of weights the division comes first, as in the
model, or scores are compared with the logarithm of the row's sum; where scores are bounded no maximum is looked for.
Scores that are compared without a softmax are walked once.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Self

from ...dialects import sattn
from ...dialects.nn import EmptyRow
from ...dialects.sattn import Weights
from ...isa.formats import Format
from ...isa.frozen import frozen
from .cluster import Cluster
from .expand import divided
from .lane_graph import (
    Extent,
    Immediate,
    LaneGraph,
    LaneGraphBuilder,
    Leaf,
    Operation,
    Reduce,
    Stored,
)
from .tiles import Spread
from .view import View

_DROPPED_BITS = {Format.F16: 13, Format.BF16: 16}
"""Significant bits of float32 that narrower formats do not have."""

LEVELS = 127.0
"""int8 weights are 127 times exp(score - maximum), whose greatest is 1."""


@frozen
class HeadSplit:
    """Query heads as `groups` key heads that `share` queries each: views of four axes become views of five."""

    groups: int
    share: int

    def place(self, head: int) -> tuple[int, int]:
        """The key head of a query head, and its place among those that share it."""
        return divmod(head, self.share)

    def of_heads(self, view: View) -> View:
        """[B, H, rows, columns] as [B, groups, share, rows, columns]."""
        batch, _, rows, columns = view.shape
        outer, head, row, column = view.strides
        shape = (batch, self.groups, self.share, rows, columns)
        return View(view.root, view.offset, shape, (outer, head * self.share, head, row, column))

    def of_groups(self, view: View) -> View:
        """[B, groups, rows, columns] as [B, groups, share, rows, columns]."""
        batch, _, rows, columns = view.shape
        outer, group, row, column = view.strides
        shape = (batch, self.groups, self.share, rows, columns)
        return View(view.root, view.offset, shape, (outer, group, 0, row, column))


@frozen
class Factors:
    """The stored values of an attention besides its matrices, spread over [B, Hkv, G, queries, keys] (`value` and
    `value_offset` over the output): None where absent, a number where all elements are the same. Offsets are integers.
    """

    query: Spread | float | None
    key: Spread | float | None
    mask: Spread | None
    weight: Spread | float | None
    thresholds: tuple[Spread | float, ...]
    value: Spread | float | None
    value_offset: Spread | float | None
    query_offset: Spread | float | None
    key_offset: Spread | float | None
    key_index: Spread | None
    last_key: Spread | None


@frozen
class Graph:
    """A lane graph with what stands behind each leaf: a stored value, or the name of what the kernel gives."""

    graph: LaneGraph
    sources: tuple[Spread | str, ...]
    given: tuple[Extent, ...]

    @property
    def spreads(self) -> tuple[Spread | None, ...]:
        """The stored values, None for what the kernel gives."""
        return tuple(source if isinstance(source, Spread) else None for source in self.sources)

    @property
    def stored(self) -> tuple[Spread, ...]:
        """The stored values, each once."""
        return tuple(source for source in self.sources if isinstance(source, Spread))

    @property
    def accs(self) -> frozenset[int]:
        """The leaf that is the accumulator."""
        return frozenset(index for index, source in enumerate(self.sources) if source == "acc")


class Maker:
    """A lane graph under construction, with its leaves."""

    def __init__(self) -> None:
        self.builder = LaneGraphBuilder()
        self._sources: list[Spread | str] = []
        self._given: list[Extent] = []

    def given(self, name: str, form: Format, extent: Extent) -> int:
        """A leaf that the kernel gives on chip."""
        if name not in self._sources:
            self._sources.append(name)
            self._given.append(extent)
        return self.builder.leaf(self._sources.index(name), form)

    def stored(self, value: Spread | float) -> int:
        """A leaf that is stored, or a number."""
        if not isinstance(value, Spread):
            return self.builder.immediate(float(value))
        if value not in self._sources:
            self._sources.append(value)
        return self.builder.leaf(self._sources.index(value), value.form)

    def build(self) -> Graph:
        """The graph; leaves that nothing uses stay listed."""
        return Graph(self.builder.build(), tuple(self._sources), tuple(self._given))


@frozen(eq=False)
class AttentionGraphs:
    """Makes the graphs of one attention: `factors` are its stored values, `score_form` and `value_form` the formats of
    the two accumulators, `weight_form` that of the weights in between. `hiding`: scores that the bits of a tile named
    `shown` do not show are hidden."""

    op: sattn.AttentionOp
    factors: Factors
    split: HeadSplit
    score_form: Format
    weight_form: Format
    value_form: Format
    hiding: bool = False

    @classmethod
    def extending(cls, known: AttentionGraphs) -> Self:
        """The graphs of this kind of the same attention."""
        return cls(**{one.name: getattr(known, one.name) for one in fields(known)})

    @property
    def _zero_nan(self) -> bool:
        # A row to which a pattern shows nothing gives zeros even where masked rows are uniform.
        shown = not self.op.form.is_dense and self.op.empty_row.data == EmptyRow.UNIFORM
        return shown or self.op.empty_row.data == EmptyRow.ZERO

    @property
    def scale(self) -> float:
        """By what products of queries and keys with their factors are multiplied."""
        return self.op.scale.value.data

    def score(self, make: Maker) -> int:
        """q k^T as the array left it, with its factors, scale, cap and masks; of a pattern, those shown."""
        b, factors = make.builder, self.factors
        score = make.given("acc", self.score_form, Extent.FULL)
        for offset in (factors.query_offset, factors.key_offset):
            if offset is not None:
                score = b.apply("sub", score, make.stored(offset))
        return self.masked(make, b.as_kind(score, "float"))

    def masked(self, make: Maker, score: int) -> int:
        """A product of queries and keys with its factors, scale, cap and masks; of a pattern, those shown."""
        b, factors = make.builder, self.factors
        for factor in (factors.query, factors.key):
            if factor is not None:
                score = b.apply("mul", score, make.stored(factor))
        if self.scale != 1.0:
            score = b.apply("mul", score, b.immediate(self.scale))
        if self.op.softcap is not None:
            cap = b.immediate(self.op.softcap.value.data)
            score = b.apply("mul", b.apply("tanh", divided(b, score, cap)), cap)
        if self.op.form.pruning is not None:
            score = self.op.form.pruning.entering(b, score)
        hidden = b.immediate(self.op.fill.value.data)
        if factors.mask is not None:
            mask = make.stored(factors.mask)
            if factors.mask.form is Format.BOOL:
                score = b.apply("select", mask, score, hidden)
            else:
                score = b.apply("add", score, mask)
        if factors.key_index is not None and factors.last_key is not None:
            seen = b.apply("le", make.stored(factors.key_index), make.stored(factors.last_key))
            score = b.apply("select", seen, score, hidden)
        return self.shown(make, score) if self.hiding else score

    def shown(self, make: Maker, score: int) -> int:
        """A score, -inf where the tile named `shown` does not show it."""
        shown = make.given("shown", Format.B1, Extent.FULL)
        return make.builder.apply("select", shown, score, make.builder.immediate(-math.inf))

    @property
    def fixed(self) -> bool:
        """Whether levels of weights are made by a scale or by thresholds, whatever the others of a row."""
        return self.factors.weight is not None or bool(self.factors.thresholds)

    @property
    def by_score(self) -> bool:
        """Whether levels are made of the scores themselves, without a softmax."""
        return self.op.weights.data == Weights.SCORES

    @property
    def by_logarithm(self) -> bool:
        """Whether scores are compared with the logarithm of a row's sum."""
        return self.op.weights.data == Weights.LOG_SOFTMAX

    @property
    def bounded(self) -> bool:
        """Whether no maximum is taken off the scores."""
        return self.op.bounded is not None

    @property
    def statistic(self) -> str:
        """What `scores` finds of a row while it keeps the pieces."""
        return "total" if self.bounded else "maximum"

    def _raw(self, make: Maker, score: int, maximum: int | None) -> int:
        """The weights before they are divided by their sum."""
        b = make.builder
        return b.apply("exp", score if maximum is None else b.apply("sub", score, maximum))

    def finish_weights(self, make: Maker, score: int, maximum: int | None, total: int | None) -> None:
        """Outputs: the weights, and their sums (asked for here, or given as `total` by an earlier graph). Of weights of
        a fixed scale those of their levels, where values have a zero point."""
        if self.fixed:
            summed = make.builder.reduce("sum", self._raw(make, score, maximum)) if total is None else total
            self._finish_levels(make, score, maximum, summed)
            return
        b, raw = make.builder, self._raw(make, score, maximum)
        if self.weight_form is Format.I8:
            level = b.apply("rint", b.apply("mul", raw, b.immediate(LEVELS)))
        else:
            level = raw = _rounded(b, raw, self.weight_form)
        b.output(level, self.weight_form, full=True)
        b.output(b.reduce("sum", raw), Format.F32, full=False)

    def _finish_levels(self, make: Maker, score: int, maximum: int | None, summed: int, kept: bool = False) -> None:
        """Outputs: levels of fixed weights, given the sum of all before division, and the sums of the levels where
        values have a zero point. `kept`: `score` is the weight before division already."""
        b = make.builder
        if self.by_logarithm:
            base = b.apply("log", summed)
            level = self._compared(make, score, base if maximum is None else b.apply("add", maximum, base))
        else:
            weight = b.apply("div", score if kept else self._raw(make, score, maximum), summed)
            level = self._compared(make, weight) if self.factors.thresholds else self._rounded_level(make, weight)
        b.output(level, self.weight_form, full=True)
        if self.op.v_zero_point.value.data:
            b.output(b.reduce("sum", b.as_kind(level, "float")), Format.F32, full=False)

    def _compared(self, make: Maker, weight: int, base: int | None = None) -> int:
        """How many thresholds are no greater than a weight; of its logarithm, from a row's `base` up."""
        b, level = make.builder, None
        for threshold in self.factors.thresholds:
            bound = make.stored(threshold)
            bound = bound if base is None else b.apply("add", base, b.apply("log", bound))
            reached = b.as_kind(b.apply("ge", weight, bound), "int")
            level = reached if level is None else b.apply("add", level, reached)
        assert level is not None
        return level

    def _rounded_level(self, make: Maker, weight: int) -> int:
        """A weight over its scale, rounded, by a zero point, and clamped where storing it does not."""
        b = make.builder
        assert self.factors.weight is not None
        zero, most = self.op.p_zero_point.value.data, self.op.p_levels.value.data
        by_level = self.op.v_zero_point.value.data != 0
        if zero or by_level:
            # Storing makes level 0 of NaN, which is a weight of zero only where the zero point is.
            weight = b.apply("select", b.apply("is_nan", weight), b.immediate(0.0), weight)
        level = b.apply("rint", divided(b, weight, make.stored(self.factors.weight)))
        level = b.apply("add", level, b.immediate(float(zero))) if zero else level
        if by_level and not most:
            level = b.apply("max", level, b.immediate(-LEVELS - 1))
        if by_level or most:
            level = b.apply("min", level, b.immediate(float(most) or LEVELS))
        return level

    def levels(self) -> Graph:
        """From scores in ACC to levels that thresholds make of them, and their sums where values have a zero point."""
        make = Maker()
        level = self._compared(make, self.score(make))
        make.builder.output(level, self.weight_form, full=True)
        if self.op.v_zero_point.value.data:
            summed = make.builder.reduce("sum", make.builder.as_kind(level, "float"))
            make.builder.output(summed, Format.F32, full=False)
        return make.build()

    def whole(self) -> Graph:
        """From a whole row of scores in ACC to weights and sums."""
        make = Maker()
        score = self.score(make)
        self.finish_weights(make, score, None if self.bounded else make.builder.reduce("max", score), None)
        return make.build()

    def scores(self) -> Graph:
        """From a piece of a row in ACC to scores kept as f32, and the maximum so far; of bounded ones to weights before
        division (scores, where those are compared), and the sum so far."""
        make = Maker()
        b, score = make.builder, self.score(make)
        raw = self._raw(make, score, None) if self.bounded else score
        b.output(score if self.by_logarithm else raw, Format.F32, full=True)
        b.output(b.reduce("sum" if self.bounded else "max", raw), Format.F32, full=False)
        return make.build()

    def weights(self) -> Graph:
        """From what `scores` kept and found of a row to weights and sums."""
        make = Maker()
        kept = make.given("kept", Format.F32, Extent.FULL)
        found = make.given(self.statistic, Format.F32, Extent.COLUMN)
        if self.bounded:
            self._finish_levels(make, kept, None, found, kept=True)
        else:
            self.finish_weights(make, kept, found, None)
        return make.build()

    def maximum(self) -> Graph:
        """From a piece of a row in ACC to the maximum so far."""
        make = Maker()
        make.builder.output(make.builder.reduce("max", self.score(make)), Format.F32, full=False)
        return make.build()

    def total(self) -> Graph:
        """From a piece of a row in ACC (and the maximum) to the sum so far."""
        make = Maker()
        raw = self._raw(make, self.score(make), self._maximum(make))
        make.builder.output(make.builder.reduce("sum", raw), Format.F32, full=False)
        return make.build()

    def pieces(self) -> Graph:
        """From a piece of a row in ACC and the maximum (and the sum, where levels of weights are fixed) to weights; and
        otherwise to the sum so far."""
        make = Maker()
        score = self.score(make)
        total = make.given("total", Format.F32, Extent.COLUMN) if self.fixed else None
        self.finish_weights(make, score, self._maximum(make), total)
        return make.build()

    def _maximum(self, make: Maker) -> int | None:
        """A row's maximum as an earlier graph found it, None where none is taken off."""
        return None if self.bounded else make.given("maximum", Format.F32, Extent.COLUMN)

    def merged(self) -> Graph:
        """From weights times values of a piece in ACC, the output so far and its factor to the output."""
        make = Maker()
        b = make.builder
        piece = b.as_kind(make.given("acc", self.value_form, Extent.FULL), "float")
        before = make.given("output", Format.F32, Extent.FULL)
        before = b.apply("mul", before, make.given("factor", Format.F32, Extent.COLUMN))
        b.output(b.apply("add", before, piece), Format.F32, full=True)
        return make.build()

    def finished(self, epilogue: Cluster, merged: bool = False) -> Graph:
        """From weights times values (in ACC, or `merged` in SRAM) and the sums to what `epilogue` (of the attention's
        result, its first leaf) stores."""
        make = Maker()
        b = make.builder
        factors = self.factors
        total = make.given(*(("output", Format.F32) if merged else ("acc", self.value_form)), Extent.FULL)
        if factors.value_offset is not None:
            total = b.apply("sub", total, make.stored(factors.value_offset))
        if self.op.v_zero_point.value.data:
            levels = b.apply("to_int", make.given("total", Format.F32, Extent.COLUMN))
            total = b.apply("sub", total, b.apply("mul", levels, b.immediate(self.op.v_zero_point.value.data)))
        value = b.as_kind(total, "float")
        if factors.value is not None:
            value = b.apply("mul", value, make.stored(factors.value))
        if not self.fixed:
            total = make.given("total", Format.F32, Extent.COLUMN)
            if self.weight_form is Format.I8:
                total = b.apply("mul", b.immediate(LEVELS), total)
            value = b.apply("div", value, total)
            if self._zero_nan:
                # The sum is NaN, or of merged pieces that saw nothing 0.
                value = b.apply("select", b.apply("lt", b.immediate(0.0), total), value, b.immediate(0.0))
        _append(make, epilogue, value, self.split)
        return make.build()


def _rounded(builder: LaneGraphBuilder, value: int, form: Format) -> int:
    """A float32 value between 0 and 1, rounded in the lanes to the significant bits of a narrower format: the
    sum of weights is that of the weights as they are stored. Veltkamp's splitting (Dekker, 1971, A
    floating-point technique for extending the available precision, section 5.7).
    """
    dropped = _DROPPED_BITS.get(form)
    if dropped is None:
        return value
    spread = builder.apply("mul", value, builder.immediate(float(2**dropped + 1)))
    return builder.apply("sub", spread, builder.apply("sub", spread, value))


def _append(make: Maker, epilogue: Cluster, value: int, split: HeadSplit) -> None:
    """The epilogue's nodes behind `value`, which stands for its first leaf; its outputs become those of the graph."""
    b = make.builder
    places: list[int] = []
    for node in epilogue.graph.nodes:
        match node:
            case Leaf(index=0):
                places.append(value)
            case Leaf():
                leaf = epilogue.leaves[node.index]
                assert leaf.view is not None
                places.append(make.stored(Spread.of(split.of_heads(leaf.view), leaf.form)))
            case Immediate():
                places.append(b.immediate(node.value))
            case Operation():
                places.append(b.apply(node.function, *(places[source] for source in node.sources)))
            case Reduce():
                places.append(b.reduce(node.reduction, places[node.source]))
            case Stored():
                places.append(b.stored(places[node.source], node.form))
    for output in epilogue.graph.outputs:
        b.output(places[output.node], output.form, output.full)
