"""A cluster of lane operations over one shape: its lane graph, and the views of what it reads and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from xdsl.ir import Operation, SSAValue

from ...dialects import nn
from ...dialects.elements import shape_of
from ...dialects.shapes import broadcast
from ...isa.formats import Format
from ...isa.frozen import frozen
from .expand import EXPANSIONS, Lanes, domain_of, reduced_axes
from .kernel import Scope
from .lane_graph import LaneGraph, LaneGraphBuilder
from .view import View


@frozen
class ClusterLeaf:
    """A leaf of the graph: the value, its format, and its view stretched to the cluster's domain (stride 0 where it
    repeats); `view` is None for a value that is given on chip (the accumulator of a product)."""

    value: SSAValue
    form: Format
    view: View | None


@frozen
class ClusterOutput:
    """An output of the graph: the value, its format, whether it has all columns, and its view over the domain.

    Of an output with one value a row the view has extents of 1 on the reduced axes.
    """

    value: SSAValue
    form: Format
    full: bool
    view: View


@frozen
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
        shapes = [shape_of(value) for value in given] or [tuple(domain_of(op)) for op in operations]
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
            view = self._aligned(self._scope.view(value))
            full = view.shape == self._domain
            self._builder.output(self._lanes[value].store, form, full)
            outputs.append(ClusterOutput(value, form, full, view))
        graph = self._builder.build()
        return Cluster(self._domain, self._reduced, graph, tuple(self._leaves), tuple(outputs))

    def _reduced_axes(self) -> tuple[int, ...]:
        rank = len(self._domain)
        axes: set[int] = set()
        for op in self._operations:
            shape = domain_of(op)
            axes.update(axis + rank - len(shape) for axis in reduced_axes(op) if shape[axis] != 1)
        return tuple(sorted(axes))

    def _operand(self, op: Operation, value: SSAValue, axis: int | None) -> Lanes:
        known = self._known(value)
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
        stretched = self._aligned(view, tuple(domain_of(op))).broadcast(self._domain)
        form = self._scope.form(value)
        index = self._indices.get((stretched, form))
        if index is None:
            index = self._indices[stretched, form] = len(self._leaves)
            self._leaves.append(ClusterLeaf(value, form, stretched))
        node = self._builder.leaf(index, form)
        return Lanes(node, node)

    def _known(self, value: SSAValue) -> Lanes | None:
        """The nodes of a value that the cluster computes, seen through reshapes (which kernel formation allowed)."""
        while value not in self._lanes:
            if not isinstance(value.owner, nn.ReshapeOp):
                return None
            value = value.owner.input
        return self._lanes[value]

    def _aligned(self, view: View, domain: tuple[int, ...] | None = None) -> View:
        """A view of the domain of one operation (or a result's) as one of the cluster's: of its rank, and in its shape
        where the operation has the same elements under another."""
        shape = view.shape if domain is None else domain
        if _trimmed(shape) != _trimmed(self._domain) and prod(shape) == prod(self._domain):
            seen = view.broadcast(shape).reshape(self._domain)
            assert seen is not None, "kernel formation only fuses through reshapes that all operands can follow"
            return seen
        lead = len(self._domain) - view.rank
        if lead < 0:
            return View(view.root, view.offset, view.shape[-lead:], view.strides[-lead:])
        ones, still = (1,) * lead, (0,) * lead
        return View(view.root, view.offset, ones + view.shape, still + view.strides)


def _trimmed(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape without leading ones."""
    start = next((index for index, extent in enumerate(shape) if extent != 1), len(shape))
    return tuple(shape[start:])
