"""How the sums of a product grow panel by panel of its depth, and where they rest in between.

A product followed by an affine epilogue into a float result (scales, bias, residual) grows in the result itself: the
first panel's part goes through the whole epilogue, and each later one adds its share, rounded as the result is stored
(or as the residual is that the epilogue adds, where that is narrower).
Any other epilogue waits for the last panel: until then sums rest in the accumulator's format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum
from typing import TYPE_CHECKING

from ...isa.formats import Format
from ...isa.frozen import frozen
from .lane_graph import Extent, LaneGraph, LaneGraphBuilder, Leaf, Operation, rebuilt, sources_of
from .tile_epilogue import TileEpilogue
from .tiles import Spread

if TYPE_CHECKING:
    from .matmul import MatmulLowering


class Rest(IntEnum):
    """Where unfinished sums rest: nowhere (there is one panel), in the result, in a buffer on chip, or in DRAM."""

    NOWHERE = 0
    RESULT = 1
    CHIP = 2
    DRAM = 3

    @property
    def label(self) -> str:
        """Its name in plans."""
        return ("accumulator", "result", "chip", "dram")[self]


@frozen(eq=False)
class Stages:
    """The epilogues of the first panel, of those between, and of the last one. All read and write tiles."""

    first: TileEpilogue
    middle: TileEpilogue
    last: TileEpilogue


def rest_form(product: MatmulLowering) -> Format:
    """The format in which unfinished sums rest: the result's where they can grow in it (or that of the residual, where
    it is narrower: both belong to one stream), else the accumulator's."""
    epilogue = product.epilogue
    if _growth(epilogue, epilogue.output.form) is None:
        return product.mode.accumulator
    added = [leaf.form for leaf in epilogue.leaves.leaves if leaf.extent is Extent.FULL and leaf.form.kind == "float"]
    return min((epilogue.output.form, *added), key=lambda form: form.bits)


def grows_in_result(product: MatmulLowering) -> bool:
    """Whether shares of the sums may be added to a result that the first share has gone through the epilogue to."""
    return rest_form(product) is product.epilogue.output.form


def stages(product: MatmulLowering, rest: Spread | None) -> Stages:
    """The epilogues of a product whose sums rest where `rest` says, if anywhere, in the form of `rest_form`."""
    epilogue = product.epilogue
    if rest is None:
        return Stages(epilogue, epilogue, epilogue)
    grown = _growth(epilogue, rest.form)
    if grown is not None:
        graph, sources = grown
        last = _reading(epilogue, graph, (rest, *sources))
        middle = replace(last, graph=_stored_as(graph, rest.form), output=rest)
        return Stages(replace(epilogue, graph=_stored_as(epilogue.graph, rest.form), output=rest), middle, last)
    form = product.mode.accumulator
    first, middle = _reading(epilogue, _carried(form, False), ()), _reading(epilogue, _carried(form, True), (rest,))
    resumed = product.resumed_epilogue
    last = _reading(epilogue, resumed.graph, (rest, *resumed.sources[2:]))
    return Stages(replace(first, output=rest), replace(middle, output=rest), last)


def _reading(epilogue: TileEpilogue, graph: LaneGraph, stored: Sequence[Spread | None]) -> TileEpilogue:
    """An epilogue with another graph, which reads the accumulator and stored values."""
    leaves = replace(epilogue.leaves, leaves=tuple(leaf for leaf in stored if leaf is not None))
    return replace(epilogue, graph=graph, sources=(None, *stored), leaves=leaves)


def _stored_as(graph: LaneGraph, form: Format) -> LaneGraph:
    """The graph with its result in another format."""
    return replace(graph, outputs=(replace(graph.outputs[0], form=form), *graph.outputs[1:]))


def _carried(form: Format, more: bool) -> LaneGraph:
    """The accumulator (leaf 0) as it is, added to what rests (leaf 1) if there is `more`."""
    builder = LaneGraphBuilder()
    node = builder.leaf(0, form)
    if more:
        node = builder.apply("add", node, builder.leaf(1, form))
    builder.output(node, form, True)
    return builder.build()


def _growth(epilogue: TileEpilogue, rest: Format) -> tuple[LaneGraph, tuple[Spread | None, ...]] | None:
    """What a later share of the sums (leaf 0) adds to the result so far (leaf 1, in the format `rest`), and the stored
    values behind the leaves from 2 on; None where the result is no float or not affine in the sums."""
    graph = epilogue.graph
    output = graph.outputs[0]
    if output.form.kind != "float":
        return None
    builder = LaneGraphBuilder()
    places: list[int] = []
    shares: dict[int, int] = {}
    for index, node in enumerate(graph.nodes):
        if isinstance(node, Leaf):
            places.append(builder.leaf(node.index + (node.index > 0), node.form))
            if node.index == 0:
                shares[index] = places[index]
            continue
        places.append(builder.copy(node, [places[source] for source in sources_of(node)]))
        dependent = [source for source in sources_of(node) if source in shares]
        if dependent:
            share = _share(graph, index, places, shares, builder)
            if share is None:
                return None
            shares[index] = share
    if output.node not in shares:
        return None
    sums = builder.apply("add", builder.leaf(1, rest), builder.as_kind(shares[output.node], "float"))
    builder.output(sums, output.form, output.full)
    return _compact(builder.build(), epilogue.sources)


def _share(
    graph: LaneGraph, index: int, places: list[int], shares: dict[int, int], builder: LaneGraphBuilder
) -> int | None:
    """The part of a node that is proportional to the sums; None where the node is not affine in them."""
    node = graph.nodes[index]
    if not isinstance(node, Operation):
        return None
    sources = node.sources
    match node.function:
        case "to_float" | "neg":
            return builder.apply(node.function, shares[sources[0]])
        case "add" | "sub":
            parts = [shares.get(source) for source in sources]
            if parts[0] is None and parts[1] is not None:
                return parts[1] if node.function == "add" else builder.apply("neg", parts[1])
            if parts[1] is None:
                return parts[0]
            return builder.apply(node.function, *(shares[source] for source in sources))
        case "mul" | "div" if graph.kinds[index] == "float":
            inside = [source in shares for source in sources]
            if all(inside) or (node.function == "div" and inside[1]):
                return None
            scaled = (shares[source] if source in shares else places[source] for source in sources)
            return builder.apply(node.function, *scaled)
        case _:
            return None


def _compact(graph: LaneGraph, sources: tuple[Spread | None, ...]) -> tuple[LaneGraph, tuple[Spread | None, ...]]:
    """A graph whose leaves from 2 on are `sources` from 1 on, without those that it does not use."""
    used = [leaf.index for leaf in graph.leaves if leaf.index > 1]
    moved = {0: 0, 1: 1, **{old: new for new, old in enumerate(used, 2)}}

    def rewrite(builder: LaneGraphBuilder, index: int, _: tuple[int, ...]) -> int | None:
        node = graph.nodes[index]
        return builder.leaf(moved[node.index], node.form) if isinstance(node, Leaf) else None

    return rebuilt(graph, rewrite), tuple(sources[old - 1] for old in used)
