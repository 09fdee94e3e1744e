"""Lane graphs: what a cluster of elementwise operations and row reductions computes, free of shapes and memory.

A graph stands over a two-dimensional domain of rows and columns. Its leaves are stored values, its nodes lane
functions and reductions across columns. Which leaves vary with rows, columns, both or neither (`Extent`) is said
apart, because it depends on how the domain is cut into tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, replace
from enum import IntFlag

import numpy as np

from ...isa.formats import KIND_DTYPES, KIND_FORMATS, Format, Kind
from ...isa.frozen import frozen
from ...isa.lane_functions import LANE_FUNCTIONS, REDUCTIONS


class Extent(IntFlag):
    """What a value varies with: a full stream, a row of columns, a column of rows, or a scalar."""

    SCALAR = 0
    ROW = 1
    COLUMN = 2
    FULL = 3

    @property
    def broadcast(self) -> str:
        """The kind of broadcast operand of a pass; FULL is none."""
        return {Extent.SCALAR: "scalar", Extent.ROW: "row", Extent.COLUMN: "column"}[self]


@frozen
class Leaf:
    """A stored value: operand `index` of the graph, of a stored format."""

    index: int
    form: Format


@frozen
class Immediate:
    """A number: an int is int32, a float float32. Compared by text: -0.0 is not 0.0, and NaN is NaN."""

    value: int | float = field(compare=False)
    text: str


@frozen
class Operation:
    """A lane function of earlier nodes."""

    function: str
    sources: tuple[int, ...]


@frozen
class Reduce:
    """A reduction across columns of an earlier node: one 4-byte value a row."""

    reduction: str
    source: int


@frozen
class Stored:
    """An earlier node written to memory as `form` and read back: rounds to narrow floats, saturates, wraps.

    `extent` stretches it to more than its source varies with, None keeps that.
    """

    source: int
    form: Format
    extent: Extent | None = None


Node = Leaf | Immediate | Operation | Reduce | Stored


@frozen
class Output:
    """A node that is stored as `form`; `full` over rows and columns, else one value a row."""

    node: int
    form: Format
    full: bool


@frozen
class LaneGraph:
    """Nodes in topological order with the kind of each, and the outputs."""

    nodes: tuple[Node, ...]
    kinds: tuple[Kind, ...]
    outputs: tuple[Output, ...]

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """The leaves that nodes or outputs use, by index."""
        return tuple(sorted((node for node in self.nodes if isinstance(node, Leaf)), key=lambda leaf: leaf.index))

    @property
    def has_reductions(self) -> bool:
        """Whether any node is a reduction."""
        return any(isinstance(node, Reduce) for node in self.nodes)

    def extents(self, leaves: Sequence[Extent]) -> tuple[Extent, ...]:
        """What each node varies with, given what each leaf (by leaf index) does."""
        result: list[Extent] = []
        for node in self.nodes:
            match node:
                case Leaf():
                    result.append(leaves[node.index])
                case Immediate():
                    result.append(Extent.SCALAR)
                case Operation():
                    extent = Extent.SCALAR
                    for source in node.sources:
                        extent |= result[source]
                    result.append(extent)
                case Reduce():
                    result.append(Extent.COLUMN)
                case Stored():
                    result.append(result[node.source] if node.extent is None else node.extent)
        return tuple(result)


def kind_of(number: Immediate) -> Kind:
    """The kind of a number."""
    return "int" if isinstance(number.value, int) else "float"


def sources_of(node: Node) -> tuple[int, ...]:
    """The nodes that a node reads."""
    match node:
        case Operation():
            return node.sources
        case Reduce() | Stored():
            return (node.source,)
        case _:
            return ()


class LaneGraphBuilder:
    """Grows a lane graph; equal nodes are made once."""

    def __init__(self) -> None:
        self.single = False
        """Whether what is reduced from here on is single elements, so that reductions need no pass of their own."""
        self._nodes: list[Node] = []
        self._kinds: list[Kind] = []
        self._known: dict[Node, int] = {}
        self._outputs: list[Output] = []

    def _add(self, node: Node, kind: Kind) -> int:
        known = self._known.get(node)
        if known is not None:
            return known
        self._known[node] = len(self._nodes)
        self._nodes.append(node)
        self._kinds.append(kind)
        return len(self._nodes) - 1

    @property
    def everything(self) -> LaneGraph:
        """All nodes so far, needed or not."""
        return LaneGraph(tuple(self._nodes), tuple(self._kinds), tuple(self._outputs))

    def kind(self, node: int) -> Kind:
        """The kind of a node."""
        return self._kinds[node]

    def number(self, node: int) -> int | float | None:
        """The value of an immediate, None for other nodes."""
        known = self._nodes[node]
        return known.value if isinstance(known, Immediate) else None

    def leaf(self, index: int, form: Format) -> int:
        """Operand `index` of the graph."""
        return self._add(Leaf(index, form), form.kind)

    def immediate(self, value: int | float) -> int:
        """A number; bool counts as int."""
        if isinstance(value, int):
            return self._add(Immediate(int(value), str(int(value))), "int")
        return self._add(Immediate(value, repr(value)), "float")

    def apply(self, function: str, *sources: int) -> int:
        """A lane function of nodes. Raises UsageError where it has no form for their kinds."""
        kind = LANE_FUNCTIONS[function].result_kind(tuple(self._kinds[source] for source in sources))
        numbers = [node for source in sources if isinstance(node := self._nodes[source], Immediate)]
        if len(numbers) == len(sources) and kind != "bool":
            arrays = (np.asarray(number.value, KIND_DTYPES[kind_of(number)]) for number in numbers)
            value = LANE_FUNCTIONS[function].evaluate(*arrays)
            return self.immediate(float(value) if kind == "float" else int(value))
        return self._add(Operation(function, sources), kind)

    def reduce(self, reduction: str, source: int) -> int:
        """A reduction across columns."""
        kind = REDUCTIONS[reduction].signatures[self._kinds[source]]
        if not self.single:
            return self._add(Reduce(reduction, source), kind)
        value = self.as_kind(source, kind)
        if reduction != "variance":
            return value
        # Its distance from itself: zero, but NaN for what is not finite.
        return self.apply("abs", self.apply("sub", value, value))

    def stored(self, source: int, form: Format, extent: Extent | None = None) -> int:
        """The node as memory of `form` would give it back, stretched to `extent`."""
        return self._add(Stored(source, form, extent), form.kind)

    def as_kind(self, node: int, kind: Kind) -> int:
        """The node converted to a kind (`to_float`, `to_int`, `to_bool`) where it is another."""
        known = self._nodes[node]
        if self._kinds[node] == kind:
            return node
        if isinstance(known, Immediate) and kind == "float":
            return self.immediate(float(known.value))
        return self.apply(f"to_{kind}", node)

    def output(self, node: int, form: Format, full: bool) -> int:
        """Ask for a node to be stored; gives the index of the output."""
        self._outputs.append(Output(node, form, full))
        return len(self._outputs) - 1

    def copy(self, node: Node, sources: Sequence[int]) -> int:
        """A node of another graph, reading `sources` of this one."""
        match node:
            case Leaf():
                return self.leaf(node.index, node.form)
            case Immediate():
                return self.immediate(node.value)
            case Operation():
                return self.apply(node.function, *sources)
            case Reduce():
                return self.reduce(node.reduction, sources[0])
            case Stored():
                return self.stored(sources[0], node.form, node.extent)

    def extend(self, graph: LaneGraph) -> list[int]:
        """Every node of a graph (its outputs apart); gives where each went."""
        places: list[int] = []
        for node in graph.nodes:
            places.append(self.copy(node, [places[source] for source in sources_of(node)]))
        return places

    def build(self) -> LaneGraph:
        """The graph of the nodes that outputs need."""
        needed: set[int] = set()
        pending = [output.node for output in self._outputs]
        while pending:
            node = pending.pop()
            if node not in needed:
                needed.add(node)
                pending.extend(sources_of(self._nodes[node]))
        places = {old: new for new, old in enumerate(sorted(needed))}
        nodes = tuple(_moved(self._nodes[old], places) for old in places)
        outputs = tuple(replace(output, node=places[output.node]) for output in self._outputs)
        return LaneGraph(nodes, tuple(self._kinds[old] for old in places), outputs)


def _moved(node: Node, places: dict[int, int]) -> Node:
    match node:
        case Operation():
            return Operation(node.function, tuple(places[source] for source in node.sources))
        case Reduce() | Stored():
            return replace(node, source=places[node.source])
        case _:
            return node


Rewrite = Callable[[LaneGraphBuilder, int, tuple[int, ...]], int | None]
"""Makes a node of the old graph anew from its rebuilt sources, or None to keep it."""


def rebuilt(graph: LaneGraph, rewrite: Rewrite) -> LaneGraph:
    """The graph with nodes made by `rewrite(builder, old node, its new sources)` where that gives one."""
    builder = LaneGraphBuilder()
    places: list[int] = []
    for index, node in enumerate(graph.nodes):
        sources = tuple(places[source] for source in sources_of(node))
        made = rewrite(builder, index, sources)
        places.append(builder.copy(node, sources) if made is None else made)
    for output in graph.outputs:
        builder.output(places[output.node], output.form, output.full)
    return builder.build()


def without_means(graph: LaneGraph, columns: int) -> LaneGraph:
    """The graph with means and variances as sums divided by `columns`: sums can accumulate over pieces of a row.

    Variance stays the mean of squared distances from the mean.
    """

    def rewrite(builder: LaneGraphBuilder, index: int, sources: tuple[int, ...]) -> int | None:
        node = graph.nodes[index]
        if not isinstance(node, Reduce) or node.reduction not in ("mean", "variance"):
            return None
        values = builder.as_kind(sources[0], "float")
        count = builder.immediate(float(columns))
        mean = builder.apply("div", builder.reduce("sum", values), count)
        if node.reduction == "mean":
            return mean
        distance = builder.apply("sub", values, mean)
        squares = builder.reduce("sum", builder.apply("mul", distance, distance))
        return builder.apply("div", squares, count)

    return rebuilt(graph, rewrite)


def without_wide_selects(graph: LaneGraph, leaves: Sequence[Extent]) -> LaneGraph:
    """The graph with each choice between two full values by a third as a sum of two masked values.

    A pass reads two streams, such a choice three. Exact: x + -0.0 is x, for -0.0, infinities and NaN too.
    """
    extents = graph.extents(leaves)

    def rewrite(builder: LaneGraphBuilder, index: int, sources: tuple[int, ...]) -> int | None:
        node = graph.nodes[index]
        if not isinstance(node, Operation) or node.function != "select":
            return None
        if len({source for source in node.sources if extents[source] is Extent.FULL}) < 3:
            return None
        condition, then, other = sources
        if graph.kinds[index] == "bool":
            first = builder.apply("and", condition, then)
            second = builder.apply("and", builder.apply("not", condition), other)
            return builder.apply("or", first, second)
        nothing = builder.immediate(0 if graph.kinds[index] == "int" else -0.0)
        first = builder.apply("select", condition, then, nothing)
        second = builder.apply("select", condition, nothing, other)
        return builder.apply("add", first, second)

    return rebuilt(graph, rewrite)


def temporary_format(kind: Kind) -> Format:
    """The format that keeps a node of `kind` between passes without loss."""
    return KIND_FORMATS[kind]
