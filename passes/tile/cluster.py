"""A cluster of lane operations over one shape: its lane graph, and the views of what it reads and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xdsl.ir import Operation, SSAValue

from ...dialects.elements import shape_of
from ...dialects.shapes import broadcast
from ...isa.formats import Format
from .expand import EXPANSIONS, Lanes, domain_of, reduced_axes
from .kernel import Scope
from .lane_graph import LaneGraph, LaneGraphBuilder
from .view import View


@dataclass(frozen=True, slots=True)
class ClusterLeaf:
    """A leaf of the graph: the value, its format, and its view stretched to the cluster's domain (stride 0 where it
    repeats); `view` is None for a value that is given on chip (the accumulator of a product)."""

    value: SSAValue
    form: Format
    view: View | None


@dataclass(frozen=True, slots=True)
class ClusterOutput:
    """An output of the graph: the value, its format, whether it has all columns, and its view over the domain.

    Of an output with one value a row the view has extents of 1 on the reduced axes.
    """

    value: SSAValue
    form: Format
    full: bool
    view: View


@dataclass(frozen=True)
class Cluster:
    """Operations as a lane graph over `domain`, which `reduced` axes make the columns of (none: no reductions)."""

    domain: tuple[int, ...]
    reduced: tuple[int, ...]
    graph: LaneGraph
    leaves: tuple[ClusterLeaf, ...]
    outputs: tuple[ClusterOutput, ...]


def make_cluster(
    operations: Sequence[Operation],
    results: Sequence[SSAValue],
    scope: Scope,
    given: Mapping[SSAValue, Format] | None = None,
) -> Cluster:
    """The cluster of `operations` (in order), which stores `results`.

    `given` are values that others leave on chip, with their formats there: leaves without a view, of the lowest
    indices, in order. A result may be a given value itself, where there is no operation.
    """
    return _Maker(operations, scope, given or {}).make(results)


class _Maker:
    def __init__(self, operations: Sequence[Operation], scope: Scope, given: Mapping[SSAValue, Format]) -> None:
        self._operations = operations
        self._scope = scope
        self._builder = LaneGraphBuilder()
        self._lanes: dict[SSAValue, Lanes] = {}
        self._leaves: list[ClusterLeaf] = []
        self._indices: dict[tuple[View, Format], int] = {}
        shapes = [tuple(domain_of(op)) for op in operations] + [shape_of(value) for value in given]
        self._domain = broadcast(*shapes)
        self._reduced = self._reduced_axes()
        for value, form in given.items():
            node = self._builder.leaf(len(self._leaves), form)
            self._leaves.append(ClusterLeaf(value, form, None))
            wanted = scope.form(value)
            exact = self._builder.as_kind(node, wanted.kind)
            self._lanes[value] = Lanes(exact, exact)

    def make(self, results: Sequence[SSAValue]) -> Cluster:
        """Expand every operation and ask for the results."""
        for op in self._operations:
            expansion = EXPANSIONS[type(op)]
            shape = domain_of(op)
            self._builder.single = all(shape[axis] == 1 for axis in reduced_axes(op))

            def leaf(value: SSAValue, axis: int | None, op: Operation = op) -> Lanes:
                return self._operand(op, value, axis)

            for result, lanes in zip(op.results, expansion(self._builder, op, leaf), strict=True):
                self._lanes[result] = lanes
        outputs: list[ClusterOutput] = []
        self._builder.single = False
        for value in results:
            form = self._scope.form(value)
            shape = _aligned(shape_of(value), len(self._domain))
            full = all(shape[axis] == self._domain[axis] for axis in range(len(shape)))
            view = _aligned_view(self._scope.view(value), len(self._domain))
            self._builder.output(self._lanes[value].store, form, full)
            outputs.append(ClusterOutput(value, form, full, view))
        graph = self._builder.build()
        return Cluster(self._domain, self._reduced, graph, tuple(self._leaves), tuple(outputs))

    def _reduced_axes(self) -> tuple[int, ...]:
        rank = len(self._domain)
        axes: set[int] = set()
        for op in self._operations:
            lead = rank - len(domain_of(op))
            axes.update(axis + lead for axis in reduced_axes(op) if self._domain[axis + lead] != 1)
        return tuple(sorted(axes))

    def _operand(self, op: Operation, value: SSAValue, axis: int | None) -> Lanes:
        known = self._lanes.get(value)
        if known is not None:
            return known
        number = self._scope.scalar(value)
        if number is not None and self._scope.form(value).kind != "bool":
            node = self._builder.immediate(number)
            return Lanes(node, node)
        view = self._scope.view(value)
        if axis is not None and shape_of(value):
            shape = tuple(size if index == axis else 1 for index, size in enumerate(domain_of(op)))
            strides = tuple(view.strides[0] if index == axis else 0 for index in range(len(shape)))
            view = View(view.root, view.offset, shape, strides)
        stretched = view.broadcast(self._domain)
        form = self._scope.form(value)
        index = self._indices.get((stretched, form))
        if index is None:
            index = self._indices[stretched, form] = len(self._leaves)
            self._leaves.append(ClusterLeaf(value, form, stretched))
        node = self._builder.leaf(index, form)
        return Lanes(node, node)


def _aligned(shape: Sequence[int], rank: int) -> tuple[int, ...]:
    return (*(1 for _ in range(rank - len(shape))), *shape)


def _aligned_view(view: View, rank: int) -> View:
    """The view with axes of extent 1 put in front (or taken from there) until it has `rank`."""
    lead = rank - view.rank
    if lead >= 0:
        return View(view.root, view.offset, _aligned(view.shape, rank), (*(0 for _ in range(lead)), *view.strides))
    return View(view.root, view.offset, view.shape[-rank:] if rank else (), view.strides[-rank:] if rank else ())


