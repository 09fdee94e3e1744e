"""Tokens in an order in which blocks of queries look at fewer keys.

ViTCoD's polarization (You et al., 2023, arXiv 2210.09573, section IV): tokens that many queries see come first, so
that their keys are a dense stretch in front of a sparse rest. Dilated windows: tokens of one residue class stand
together, so that a window with gaps is one without. One order serves the whole model: operations treat tokens alike, so
that nothing is moved but the one value that comes in, and what names tokens by places is written for the other order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn, sattn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, format_of, shape_of
from ...dialects.forms.bitmap import Bitmap
from ...dialects.forms.random_blocks import RandomBlocks
from ...dialects.forms.window import Window
from ...dialects.key_runs import Ints, KeyRuns
from ...dialects.onnx_interface import main_of
from ..builder import Builder
from ..graph.matching import constant
from ..refusal import RefusalError
from ..tile.arithmetic import Arithmetic
from ..tile.attention_masked import Products, array_cycles
from ..tile.attention_sight import Shown, zones
from ..tile.rates import Rates, planned_for
from .choose import replace_attention
from .token_places import TokenPlaces, entry_of, places_from

PASSES = 3
"""Vector passes over the scores of a softmax with a mask."""

FRONTS = (1, 2, 3, 4)
"""Columns of the array that a dense front may take, times those that it has."""

LEAST_GAIN = 0.02
"""An order is worth its trouble from this part of the attentions' cycles on."""


@dataclass(frozen=True)
class OrderTokens(ModulePass):
    """Put the tokens of an encoder in the order in which its patterns cost least, if that is not the one they have."""

    name = "order-tokens"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite `@main`."""
        context = CompilerContext.of(ctx)
        block = main_of(op).body.block
        first = next((found for found in block.ops if isinstance(found, sattn.AttentionOp)), None)
        if first is None or not any(_may_gain(found) for found in block.ops):
            return
        entry = entry_of(block, first)
        if entry is None:
            return
        try:
            places = places_from(entry)
        except RefusalError:
            return
        order = _best(places, context)
        if order is not None:
            _rewrite(places, order, context.store)


def _may_gain(op: Operation) -> bool:
    """Whether the tokens of an attention may stand better in another order."""
    if not isinstance(op, sattn.AttentionOp):
        return False
    parts = [part for form in op.form.data for part in form.forms]
    return any(isinstance(p, Bitmap | RandomBlocks) or (isinstance(p, Window) and p.dilation > 1) for p in parts)


def _best(places: TokenPlaces, context: CompilerContext) -> Ints | None:
    """The order that costs least, with what it takes to bring tokens there; None for the one they have."""
    rates = Rates(planned_for(context.target))
    patterns = [
        (attention, runs) for attention in places.attentions for runs in _runs(attention, context.store) if runs
    ]
    now = np.arange(places.tokens)
    moved = _moving(places, rates)
    costs: dict[bytes | None, float] = {None: _cost(patterns, None, rates) * (1 - LEAST_GAIN)}
    orders = {order.tobytes(): order for order in _orders(places, patterns, rates.columns)}
    orders.pop(now.tobytes(), None)
    for key, order in orders.items():
        costs[key] = _cost(patterns, order, rates) + moved
    best = min(costs, key=lambda key: costs[key])
    return None if best is None else orders[best]


Patterns = Sequence[tuple[sattn.AttentionOp, KeyRuns]]


def _runs(attention: sattn.AttentionOp, store: ConstantStore) -> tuple[KeyRuns, ...]:
    """What each head sees, those of all heads where they are alike."""
    if attention.form.is_dense:
        return ()
    runs = attention.runs(None if attention.pattern is None else constant(attention.pattern, store))
    if runs is None:
        return ()
    return runs * attention.extents[1] if len(runs) == 1 else runs


def _orders(places: TokenPlaces, patterns: Patterns, columns: int) -> Iterator[Ints]:
    """Orders worth trying: so many tokens that are seen most in front, and the others by residue classes."""
    tokens = np.arange(places.tokens)
    seen = np.zeros(places.tokens, np.int64)
    for _, runs in patterns:
        steps = np.bincount(runs.starts, minlength=places.tokens + 1) - np.bincount(
            runs.stops, minlength=places.tokens + 1
        )
        seen += np.cumsum(steps[:-1])
    often = int((2 * seen > len(patterns) * places.tokens).sum())
    fronts = {0, often, *(part * columns for part in FRONTS)}
    ranked = np.argsort(-seen, kind="stable")
    parts = [part for op, _ in patterns for form in op.form.data for part in form.forms]
    dilations = {1, *(part.dilation for part in parts if isinstance(part, Window))}
    for front in sorted(fronts):
        if front <= places.tokens // 2:
            here, rest = np.sort(ranked[:front]), np.setdiff1d(tokens, ranked[:front])
            for dilation in sorted(dilations):
                yield np.concatenate([here, rest[np.lexsort((rest, rest % dilation))]])


def _cost(patterns: Patterns, order: Ints | None, rates: Rates) -> float:
    """Cycles of all heads, as attention is tiled: what the array or the vector engine takes, whichever takes longer."""
    known: dict[tuple[Products, KeyRuns], float] = {}
    total = 0.0
    for attention, runs in patterns:
        question = _products(attention), runs
        if question not in known:
            placed = runs if order is None else runs.ordered(order)
            known[question] = min(
                _head_cycles(question[0], placed, rows, rates) for rows in (rates.least_rows, 2 * rates.least_rows)
            )
        total += known[question]
    return total


def _products(attention: sattn.AttentionOp) -> Products:
    scoring = Arithmetic.of_elements(element_type(attention.q), element_type(attention.k))
    valuing = Arithmetic.of_elements(attention.p_element, element_type(attention.v))
    return Products(scoring, valuing, *attention.extents[5:])


def _head_cycles(products: Products, runs: KeyRuns, rows: int, rates: Rates) -> float:
    array = vector = 0
    for first, last in pairwise(zones(runs)):
        sight = Shown(runs, first, last, rates.columns // 2)
        layout = sight.layout(rows, 1)
        heights = np.diff(layout.bounds)[layout.stretches.rows]
        widths = layout.stretches.stops - layout.stretches.starts
        array += sum(array_cycles(products, sight, rows, rates, runs.keys, runs.keys))
        vector += PASSES * int(rates.vector(heights, widths).sum())
    return max(array, vector)


def _moving(places: TokenPlaces, rates: Rates) -> float:
    """Cycles of DRAM for the value that comes in, and outputs that have the tokens: there and back."""
    values = [places.entry, *(op.operands[place] for op, place in places.outputs)]
    moved = sum(2 * int(np.prod(shape_of(value))) * format_of(element_type(value)).bits // 8 for value in values)
    return moved / rates.machine.dram.bytes_per_cycle + 2 * len(values) * rates.start


def _rewrite(places: TokenPlaces, order: Ints, store: ConstantStore) -> None:
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    for op, index, axis in places.constants:
        made = constant(op.operands[index], store)
        assert made is not None
        op.operands[index] = Builder.before(op, store).constant(np.take(made, order, axis=axis))
    for op, axis in places.slices:
        starts = list(op.starts.get_values())
        starts[axis] = int(place[starts[axis]])
        new = nn.SliceOp(op.input, starts, shape_of(op.result), list(op.steps.get_values()))
        new.attributes.update(op.attributes)
        op.result.replace_all_uses_with(Builder.before(op, store).insert(new))
        op.detach()
        op.erase()
    for op, index in places.outputs:
        op.operands[index] = _gathered(Builder.before(op, store), op.operands[index], place, places.axes)
    for attention in places.attentions:
        if not attention.form.is_dense:
            build = Builder.before(attention, store)
            listed = build.constant(order.astype(np.int32))
            made = attention.of_form(
                attention.form.data, attention.pattern, None, attention.empty_row.data, order=listed
            )
            replace_attention(attention, made, build)
    users = list(places.entry.uses)
    build = Builder.after(places.entry, store, users[0].operation)
    moved = _gathered(build, places.entry, order, places.axes)
    for use in users:
        use.operation.operands[use.index] = moved
    _forget_values(moved.owner)


def _gathered(build: Builder, value: SSAValue, order: Ints, axes: dict[SSAValue, int]) -> SSAValue:
    """The tokens of a value in another order."""
    axis, shape = axes[value], shape_of(value)
    last = [at for at in range(len(shape)) if at != axis]
    turned = [axis, *last]
    rows = build.reshape(build.transpose(value, turned), (shape[axis], int(np.prod(shape)) // shape[axis]))
    moved = build.gather_rows(rows, build.constant(order.astype(np.int32)))
    back = build.reshape(moved, tuple(shape[at] for at in turned))
    return build.transpose(back, [turned.index(at) for at in range(len(shape))])


def _forget_values(first: object) -> None:
    """Operations from `first` on have no ONNX values any more: these are in the model's order."""
    assert isinstance(first, Operation)
    changed: set[SSAValue] = set(first.results)
    op = first.next_op
    while op is not None:
        if any(value in changed for value in op.operands):
            op.attributes.pop("value", None)
            changed.update(op.results)
        op = op.next_op
