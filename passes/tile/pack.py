"""Packing: a lane graph cut into the fewest passes of the vector engine that the machine's pass rule allows.

The rule: at most two full streams in, four broadcasts, eight operations of which one transcendental, four numbers,
one element stream out and two reductions; what a pass reduces or stores can only be read by a later one.

Nodes that vary with rows only, with columns only or with neither can be computed inside any pass that needs them,
or apart in a small pass of their own; both are tried. Full nodes are put in a good topological order, and dynamic
programming over the cut points of that order finds the fewest segments that each obey the rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations

from ...isa.formats import Format, Kind
from ...isa.frozen import frozen
from ...isa.lane_functions import LANE_FUNCTIONS
from ...isa.lanes import (
    MAXIMUM_IMMEDIATES,
    MAXIMUM_OPERATIONS,
    MAXIMUM_REDUCTIONS,
    LaneOperation,
    LaneProgram,
    Source,
)
from .lane_graph import (
    Extent,
    Immediate,
    LaneGraph,
    LaneGraphBuilder,
    Leaf,
    Node,
    Operation,
    Reduce,
    Stored,
    sources_of,
    temporary_format,
    without_wide_selects,
)

MAXIMUM_STREAMS = 2
MAXIMUM_BROADCASTS = 4
MAXIMUM_CHOICES = 4
"""So many nodes are tried in every combination of inside and apart; more only all together."""
MARK = 1 << 20
"""Numbers from here on stand for those of a graph while it is packed; those that packing itself brings are smaller."""
MAXIMUM_SEGMENT = 16
"""A pass never holds more nodes: eight operations, two reductions, a store, and some to spare."""


@frozen
class Slot:
    """Where a pass finds or leaves a value: leaf `index` of the graph, or temporary `index` of the packing."""

    leaf: bool
    index: int


@frozen
class Temporary:
    """A buffer that passes write: what it varies with, and its stored format."""

    extent: Extent
    form: Format


@frozen
class PassPlan:
    """One pass: its domain (FULL, or the smaller one that all its streams have), program and operands.

    In a smaller domain the streams are rows of 1 x rows (COLUMN), 1 x columns (ROW) or 1 x 1 (SCALAR) elements.
    `broadcasts` say by the extent of what they read how it is repeated over the domain.
    """

    domain: Extent
    program: LaneProgram
    streams: tuple[Slot, ...]
    broadcasts: tuple[tuple[str, Slot], ...]
    out: Slot | None
    reductions: tuple[Slot, ...]


@frozen
class Packing:
    """Passes in order, the temporaries they use, and which temporary holds each output of the graph."""

    passes: tuple[PassPlan, ...]
    temporaries: tuple[Temporary, ...]
    outputs: tuple[int, ...]

    @property
    def full_passes(self) -> int:
        """How many passes run over all rows and columns."""
        return sum(plan.domain is Extent.FULL for plan in self.passes)


def reads_before_writing(packing: Packing, leaf: int, temporary: int) -> bool:
    """Whether no pass after the one that writes a temporary reads a leaf, so that they may lie in the same place."""
    slot = Slot(True, leaf)
    written = next(place for place, plan in enumerate(packing.passes) if plan.out == Slot(False, temporary))
    later = packing.passes[written + 1 :]
    return not any(slot in plan.streams or any(slot == read for _, read in plan.broadcasts) for plan in later)


@lru_cache(maxsize=4096)
def pack(graph: LaneGraph, leaves: tuple[Extent, ...], acc_leaves: frozenset[int] = frozenset()) -> Packing:
    """The best packing found. `leaves`: what each leaf varies with; `acc_leaves`: those that lie in ACC, of which a
    pass reads one as a stream. Raises ValueError if a node obeys no rule (none of today's functions)."""
    numbers: dict[float, int | float] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node, Immediate):
            mark = type(node.value)(MARK + len(numbers))
            numbers[mark] = node.value
            node = Immediate(mark, repr(mark))
        nodes.append(node)
    packing = _packing(replace(graph, nodes=tuple(nodes)), leaves, acc_leaves)
    passes = (replace(plan, program=_with_numbers(plan.program, numbers)) for plan in packing.passes)
    return replace(packing, passes=tuple(passes)) if numbers else packing


def _with_numbers(program: LaneProgram, numbers: Mapping[float, int | float]) -> LaneProgram:
    """A program with numbers in the place of their marks."""
    immediates = tuple(numbers.get(value, value) for value in program.immediates)
    return replace(program, immediates=immediates) if immediates else program


@lru_cache(maxsize=4096)
def _packing(graph: LaneGraph, leaves: tuple[Extent, ...], acc_leaves: frozenset[int]) -> Packing:
    """The best packing of a graph with marks for its numbers: layers that only differ in their scales share it."""
    packing = _best(graph, leaves, acc_leaves)
    if packing is None:
        packing = _best(without_wide_selects(graph, leaves), leaves, acc_leaves)
    if packing is None:
        raise ValueError("a lane graph has a node that no pass can hold")
    return packing


def _best(graph: LaneGraph, leaves: tuple[Extent, ...], acc_leaves: frozenset[int]) -> Packing | None:
    problem = _Problem.of(graph, leaves, acc_leaves)
    best: tuple[tuple[int, int, int], Packing] | None = None
    for apart in problem.choices():
        for order in problem.orders():
            segments = _segments(problem, order, apart)
            if segments is None:
                continue
            packing = _Assembly(problem, apart).run(segments)
            cost = (packing.full_passes, len(packing.passes), len(packing.temporaries))
            if best is None or cost < best[0]:
                best = (cost, packing)
    return None if best is None else best[1]


@frozen(eq=False)
class _Problem:
    """A graph made ready: every output is an operation, a fitting reduction or a Stored node of its own extent."""

    graph: LaneGraph
    extents: tuple[Extent, ...]
    acc_leaves: frozenset[int]
    users: Mapping[int, tuple[int, ...]]
    outputs: Mapping[int, tuple[Format, ...]]

    @staticmethod
    def of(graph: LaneGraph, leaves: tuple[Extent, ...], acc_leaves: frozenset[int]) -> _Problem:
        graph = _with_stored_outputs(graph, leaves)
        users: dict[int, list[int]] = {}
        for index, node in enumerate(graph.nodes):
            for source in set(sources_of(node)):
                users.setdefault(source, []).append(index)
        outputs: dict[int, list[Format]] = {}
        for output in graph.outputs:
            forms = outputs.setdefault(output.node, [])
            if output.form not in forms:
                forms.append(output.form)
        return _Problem(
            graph,
            graph.extents(leaves),
            acc_leaves,
            {node: tuple(found) for node, found in users.items()},
            {node: tuple(forms) for node, forms in outputs.items()},
        )

    def is_side(self, index: int) -> bool:
        """Whether a node is computed, but not over all rows and columns."""
        return isinstance(self.graph.nodes[index], Operation | Stored) and self.extents[index] is not Extent.FULL

    def is_main(self, index: int) -> bool:
        """Whether a node is a reduction, or computed over all rows and columns."""
        return not isinstance(self.graph.nodes[index], Leaf | Immediate) and not self.is_side(index)

    def is_barrier(self, index: int) -> bool:
        """Whether a node can only be read by a later pass than its own."""
        return isinstance(self.graph.nodes[index], Reduce | Stored)

    def choices(self) -> list[frozenset[int]]:
        """Sets of side nodes to compute apart: those that must be, with none, all or (of few) any of the others.

        Others are the side nodes that full nodes read.
        """
        side = [index for index in range(len(self.graph.nodes)) if self.is_side(index)]
        forced = [index for index in side if index in self.outputs or self.is_barrier(index)]
        free = [
            index
            for index in side
            if index not in forced
            and any(self.is_main(user) for user in self.users.get(index, ()))
            and self._varies(index)
        ]
        sizes = range(len(free) + 1) if len(free) <= MAXIMUM_CHOICES else (0, len(free))
        return [frozenset((*forced, *chosen)) for size in sizes for chosen in combinations(free, size)]

    def _varies(self, index: int) -> bool:
        """Whether a node is computed from anything but numbers."""
        node = self.graph.nodes[index]
        return isinstance(node, Leaf | Reduce) or any(self._varies(source) for source in sources_of(node))

    def orders(self) -> list[tuple[int, ...]]:
        """Topological orders of the main nodes worth trying: as early as can be, as late as can be, as they stand."""
        nodes = self.graph.nodes
        early: list[int] = []
        for node in nodes:
            early.append(max((early[source] + self.is_barrier(source) for source in sources_of(node)), default=0))
        late = [max(early, default=0)] * len(nodes)
        for index in reversed(range(len(nodes))):
            users = self.users.get(index, ())
            late[index] = min((late[user] - self.is_barrier(index) for user in users), default=late[index])
        main = tuple(index for index in range(len(nodes)) if self.is_main(index))
        orders = [tuple(sorted(main, key=lambda index: (level[index], index))) for level in (early, late)]
        return list(dict.fromkeys((*orders, main)))

    def stores(self, index: int, used_later: bool) -> tuple[Format, ...]:
        """The formats that a full node of a segment has to be written in."""
        node = self.graph.nodes[index]
        if isinstance(node, Stored):
            return (node.form,)
        forms = self.outputs.get(index, ())
        if used_later and not any(_rereads(self.graph.kinds[index], form) for form in forms):
            return (*forms, temporary_format(self.graph.kinds[index]))
        return forms


def _rereads(kind: Kind, form: Format) -> bool:
    """Whether later passes may read a node where it was stored as `form`: as the unfused program would."""
    return form.kind == kind and (kind != "int" or form is Format.I32)


def _with_stored_outputs(graph: LaneGraph, leaves: Sequence[Extent]) -> LaneGraph:
    """Outputs that no pass would write by itself (leaves, numbers, stretched values) become Stored nodes."""
    extents = graph.extents(leaves)
    used = {source for node in graph.nodes for source in sources_of(node)}
    written: dict[int, Format] = {}
    builder = LaneGraphBuilder()
    places = builder.extend(graph)
    for output in graph.outputs:
        node, wanted = output.node, Extent.FULL if output.full else Extent.COLUMN
        match source := graph.nodes[node]:
            case Operation():
                # A pass writes one stream: a node that others read where it is stored has to be stored as it is.
                alone = node not in used and len({o.form for o in graph.outputs if o.node == node}) == 1
                whole = alone or _rereads(graph.kinds[node], output.form)
                direct = extents[node] is wanted and whole and written.setdefault(node, output.form) is output.form
            case Reduce():
                direct = not output.full and output.form is temporary_format(graph.kinds[node])
            case Stored():
                direct = extents[node] is wanted and source.form is output.form
            case _:
                direct = False
        place = places[node] if direct else builder.stored(places[node], output.form, wanted)
        builder.output(place, output.form, output.full)
    return builder.build()


@dataclass(eq=False)
class _Segment:
    """One pass in the making: the sources of its program, as nodes of the graph."""

    problem: _Problem
    apart: frozenset[int]
    members: tuple[int, ...]
    operations: list[LaneOperation] = field(default_factory=list[LaneOperation])
    streams: list[int] = field(default_factory=list[int])
    broadcasts: list[int] = field(default_factory=list[int])
    numbers: list[Immediate] = field(default_factory=list[Immediate])
    places: dict[int, Source] = field(default_factory=dict[int, Source])
    reduced: list[tuple[int, str, Source]] = field(default_factory=list[tuple[int, str, Source]])
    stored: list[tuple[int, Format, Source]] = field(default_factory=list[tuple[int, Format, Source]])

    def build(self) -> bool:
        """Make the program; False where the pass rule is broken."""
        problem, nodes = self.problem, self.problem.graph.nodes
        inside = set(self.members)
        for index in self.members:
            node = nodes[index]
            sources = [self._source(source, inside) for source in sources_of(node)]
            known = [source for source in sources if source is not None]
            if len(known) < len(sources):
                return False
            match node:
                case Reduce():
                    self.reduced.append((index, node.reduction, known[0]))
                case Stored():
                    self.stored.append((index, node.form, known[0]))
                case Operation():
                    if not self._operate(index, node.function, known):
                        return False
                    later = any(user not in inside for user in problem.users.get(index, ()))
                    self.stored += [(index, form, self.places[index]) for form in problem.stores(index, later)]
                case _:
                    return False
        return self._obeys()

    def _obeys(self) -> bool:
        transcendental = sum(LANE_FUNCTIONS[operation.function].transcendental for operation in self.operations)
        nodes = self.problem.graph.nodes
        acc = sum(isinstance(leaf := nodes[s], Leaf) and leaf.index in self.problem.acc_leaves for s in self.streams)
        return (
            transcendental <= 1
            and acc <= 1
            and len(self.stored) <= 1
            and len(self.reduced) <= MAXIMUM_REDUCTIONS
            and len(self.numbers) <= MAXIMUM_IMMEDIATES
        )

    def _operate(self, index: int, function: str, sources: list[Source]) -> bool:
        if len(self.operations) == MAXIMUM_OPERATIONS:
            return False
        self.places[index] = Source.result(len(self.operations))
        self.operations.append(LaneOperation(function, tuple(sources)))
        return True

    def _source(self, index: int, inside: set[int]) -> Source | None:
        """Where the program finds a node; computes side nodes on the way. None where the pass rule is broken."""
        if index in self.places:
            return self.places[index]
        problem = self.problem
        node = problem.graph.nodes[index]
        if isinstance(node, Immediate):
            self.places[index] = Source.immediate(min(len(self.numbers), MAXIMUM_IMMEDIATES - 1))
            self.numbers.append(node)
        elif problem.is_side(index) and index not in self.apart:
            assert isinstance(node, Operation)
            sources = [self._source(source, inside) for source in node.sources]
            known = [source for source in sources if source is not None]
            if len(known) < len(sources) or not self._operate(index, node.function, known):
                return None
        elif index in inside or (problem.is_side(index) and not inside.isdisjoint(_beneath(problem, index))):
            return None
        elif problem.extents[index] is Extent.FULL:
            if len(self.streams) == MAXIMUM_STREAMS:
                return None
            self.places[index] = Source.stream(len(self.streams))
            self.streams.append(index)
        else:
            if len(self.broadcasts) == MAXIMUM_BROADCASTS:
                return None
            self.places[index] = Source.broadcast(len(self.broadcasts))
            self.broadcasts.append(index)
        return self.places[index]

    def program(self) -> LaneProgram:
        """The lane program."""
        return LaneProgram(
            tuple(self.operations),
            tuple(number.value for number in self.numbers),
            self.stored[0][2] if self.stored else None,
            tuple((reduction, source) for _, reduction, source in self.reduced),
        )


def _beneath(problem: _Problem, index: int) -> set[int]:
    """The main nodes that a side node is computed from."""
    found: set[int] = set()
    pending = [index]
    while pending:
        for source in sources_of(problem.graph.nodes[pending.pop()]):
            if problem.is_main(source):
                found.add(source)
            else:
                pending.append(source)
    return found


def _segments(problem: _Problem, order: tuple[int, ...], apart: frozenset[int]) -> list[_Segment] | None:
    """The fewest segments of `order` that each make a pass, by dynamic programming over cut points."""
    fewest: list[tuple[int, int, _Segment | None] | None] = [(0, 0, None)]
    for end in range(1, len(order) + 1):
        best: tuple[int, int, _Segment | None] | None = None
        for start in range(end - 1, max(-1, end - 1 - MAXIMUM_SEGMENT), -1):
            before = fewest[start]
            if before is None or (best is not None and before[0] + 1 >= best[0]):
                continue
            segment = _Segment(problem, apart, order[start:end])
            if segment.build():
                best = (before[0] + 1, start, segment)
        fewest.append(best)
    segments: list[_Segment] = []
    end = len(order)
    while end:
        step = fewest[end]
        if step is None or step[2] is None:
            return None
        segments.append(step[2])
        end = step[1]
    return segments[::-1]


class _Assembly:
    """Turns segments into passes: gives temporaries, and puts side nodes that are computed apart before their use."""

    def __init__(self, problem: _Problem, apart: frozenset[int]) -> None:
        self._problem = problem
        self._apart = apart
        self._passes: list[PassPlan] = []
        self._temporaries: list[Temporary] = []
        self._slots: dict[int, Slot] = {}
        self._stores: dict[tuple[int, Format], int] = {}

    def run(self, segments: Sequence[_Segment]) -> Packing:
        """The packing of these segments."""
        for segment in segments:
            self._compute_apart(index for index in segment.broadcasts if index in self._apart)
            self._pass(segment)
        self._compute_apart(self._apart)
        outputs = tuple(self._stores[output.node, output.form] for output in self._problem.graph.outputs)
        return Packing(tuple(self._passes), tuple(self._temporaries), outputs)

    def _slot(self, index: int) -> Slot:
        node = self._problem.graph.nodes[index]
        return Slot(True, node.index) if isinstance(node, Leaf) else self._slots[index]

    def _temporary(self, extent: Extent, form: Format) -> Slot:
        self._temporaries.append(Temporary(extent, form))
        return Slot(False, len(self._temporaries) - 1)

    def _written(self, index: int, form: Format, slot: Slot) -> None:
        """Note where a node was stored; later passes read it there if they may."""
        self._stores[index, form] = slot.index
        if self._problem.is_barrier(index) or _rereads(self._problem.graph.kinds[index], form):
            self._slots[index] = slot

    def _pass(self, segment: _Segment) -> None:
        problem = self._problem
        out: Slot | None = None
        for index, form, _ in segment.stored:
            out = self._temporary(Extent.FULL, form)
            self._written(index, form, out)
        reductions: list[Slot] = []
        for index, _, _ in segment.reduced:
            form = temporary_format(problem.graph.kinds[index])
            reductions.append(self._temporary(Extent.COLUMN, form))
            self._written(index, form, reductions[-1])
        broadcasts = tuple((problem.extents[index].broadcast, self._slot(index)) for index in segment.broadcasts)
        streams = tuple(self._slot(index) for index in segment.streams)
        plan = PassPlan(Extent.FULL, segment.program(), streams, broadcasts, out, tuple(reductions))
        self._passes.append(plan)

    def _compute_apart(self, wanted: Iterable[int]) -> None:
        """Passes over rows, columns or one element that compute side nodes, those they need first."""
        missing = set(wanted) - self._slots.keys() - {index for index, _ in self._stores}
        pending = list(missing)
        while pending:
            for source in sources_of(self._problem.graph.nodes[pending.pop()]):
                if not self._problem.is_side(source) or source in self._slots:
                    continue
                pending.append(source)
                if source in self._apart:
                    missing.add(source)
        for extent in (Extent.SCALAR, Extent.ROW, Extent.COLUMN):
            self._compute_group(extent, sorted(i for i in missing if self._problem.extents[i] is extent))

    def _compute_group(self, extent: Extent, group: list[int]) -> None:
        problem = self._problem
        if not group:
            return
        builder = LaneGraphBuilder()
        leaves: list[int] = []
        places: dict[int, int] = {}

        def place(index: int) -> int:
            if index not in places:
                node = problem.graph.nodes[index]
                if isinstance(node, Immediate):
                    places[index] = builder.immediate(node.value)
                elif problem.is_side(index) and index not in self._slots:
                    sources = [place(source) for source in sources_of(node)]
                    if isinstance(node, Stored):
                        places[index] = builder.stored(sources[0], node.form, Extent.FULL)
                    else:
                        assert isinstance(node, Operation)
                        places[index] = builder.apply(node.function, *sources)
                else:
                    places[index] = builder.leaf(len(leaves), self._form(index))
                    leaves.append(index)
            return places[index]

        written: list[tuple[int, Format]] = []
        for index in group:
            node = problem.graph.nodes[index]
            forms = (node.form,) if isinstance(node, Stored) else self._side_forms(index)
            for form in forms:
                builder.output(place(index), form, full=True)
                written.append((index, form))
        extents = tuple(Extent.FULL if problem.extents[index] is extent else Extent.SCALAR for index in leaves)
        inner = pack(builder.build(), extents)
        slots = self._adopt(inner, extent, leaves)
        for (index, form), temporary in zip(written, inner.outputs, strict=True):
            self._written(index, form, slots[temporary])

    def _side_forms(self, index: int) -> tuple[Format, ...]:
        problem = self._problem
        forms = problem.outputs.get(index, ())
        if problem.users.get(index) and not any(_rereads(problem.graph.kinds[index], form) for form in forms):
            return (*forms, temporary_format(problem.graph.kinds[index]))
        return forms

    def _form(self, index: int) -> Format:
        node = self._problem.graph.nodes[index]
        if isinstance(node, Leaf):
            return node.form
        return self._temporaries[self._slots[index].index].form

    def _adopt(self, inner: Packing, extent: Extent, leaves: Sequence[int]) -> list[Slot]:
        """Append the passes of a packing over a smaller domain; gives the slots of its temporaries."""

        def outer(found: Extent) -> Extent:
            return extent if found is Extent.FULL else Extent.SCALAR

        slots = [self._temporary(outer(temporary.extent), temporary.form) for temporary in inner.temporaries]

        def moved(slot: Slot) -> Slot:
            return self._slot(leaves[slot.index]) if slot.leaf else slots[slot.index]

        for plan in inner.passes:
            self._passes.append(
                PassPlan(
                    outer(plan.domain),
                    plan.program,
                    tuple(moved(slot) for slot in plan.streams),
                    tuple((kind, moved(slot)) for kind, slot in plan.broadcasts),
                    None if plan.out is None else moved(plan.out),
                    (),
                )
            )
        return slots
