"""Control flow: If, Loop, Scan and other nodes that hold graphs, as operations with regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto
from xdsl.ir import Block, Region

from ...dialects.onnx import YieldOp
from ...dialects.onnx_signatures import normal_domain, signature
from ...isa.frozen import frozen
from .inference import InferenceError, infer
from .order import subgraphs
from .prototypes import attribute_of, code_of, merged, shape_of, tensor_proto_type
from .values import Known, Live, Scope, Value, name_hint

if TYPE_CHECKING:
    from .graph import GraphBuilder

_SCAN_WITHOUT_BATCH = 9
"""The version that took the batch axis out of Scan; older nodes stay as they are."""

_ROUNDS = 3
"""Types of values carried around a loop are widened at most so often before they are given up as unknown."""


@frozen
class Body:
    """A subgraph built as a region, and what it yields: each output's value and type."""

    region: Region
    yields: tuple[Value, ...]

    @property
    def types(self) -> tuple[TypeProto, ...]:
        """The types of the outputs."""
        return tuple(value.type for value in self.yields)


def import_subgraphs(builder: GraphBuilder, node: NodeProto, name: str, opsets: Mapping[str, int]) -> bool:
    """Import a node that holds graphs; False if it is to be imported like any other."""
    control = ControlFlow(builder, node, name, opsets)
    if normal_domain(node.domain) == "":
        match node.op_type:
            case "If":
                control.branch()
                return True
            case "Loop":
                control.loop()
                return True
            case "Scan" if opsets.get("", 0) >= _SCAN_WITHOUT_BATCH:
                control.scan()
                return True
            case _:
                pass
    control.other()
    return True


@frozen
class ControlFlow:
    """One node that holds graphs, being imported."""

    builder: GraphBuilder
    node: NodeProto
    name: str
    opsets: Mapping[str, int]

    def branch(self) -> None:
        """An `If`: one branch in its place where the condition is constant, else a region each."""
        condition = self._input(0)
        graphs = {a.name: a.g for a in self.node.attribute if a.type == AttributeProto.GRAPH}
        if set(graphs) != {"then_branch", "else_branch"}:
            raise self._error("it needs a then_branch and an else_branch")
        if isinstance(condition, Known) and condition.elements == 1:
            taken = bool(np.asarray(self.builder.shared.constants.array(condition)).reshape(()))
            self._inline(graphs["then_branch" if taken else "else_branch"])
            self._drop(graphs["else_branch" if taken else "then_branch"])
            return
        bodies = {key: self._body(graph, []) for key, graph in graphs.items()}
        one, two = bodies["then_branch"].types, bodies["else_branch"].types
        if len(one) != len(two) or len(one) < len(self.node.output):
            raise self._error("its branches do not have as many outputs as it has")
        self._add(bodies, [merged(a, b) for a, b in zip(one, two, strict=True)])

    def loop(self) -> None:
        """A `Loop`.

        The body's types are those of the carried values, widened until they fit what it yields.
        """
        graph = self._graph("body")
        trips, condition = self._input(0), self._input(1)
        carried = [None if value is None else value.type for value in self._inputs()[2:]]
        if len(graph.input) != len(carried) + 2 or len(graph.output) < len(carried) + 1:
            raise self._error("its body does not fit its inputs")
        scalars = [tensor_proto_type(TensorProto.INT64, ()), tensor_proto_type(TensorProto.BOOL, ())]
        body, carried = self._fixed_point(graph, scalars, carried, 1)
        goes_on = body.yields[0]
        always = condition is None or (isinstance(condition, Known) and self._is_true(condition))
        stays_true = (isinstance(goes_on, Known) and self._is_true(goes_on)) or (
            isinstance(goes_on, Live) and goes_on.value is body.region.block.args[1]
        )
        count = self._number(trips) if always and stays_true else None
        collected = [_stacked(proto, 0, count) for proto in body.types[1 + len(carried) :]]
        self._add({"body": body}, [*carried, *collected])

    def scan(self) -> None:
        """A `Scan`: the body sees one slice of each scanned input."""
        graph = self._graph("body")
        attributes = {a.name: list(a.ints) for a in self.node.attribute if a.type == AttributeProto.INTS}
        scanned = next((a.i for a in self.node.attribute if a.name == "num_scan_inputs"), 0)
        inputs = [None if value is None else value.type for value in self._inputs()]
        states = len(inputs) - scanned
        if states < 0 or len(graph.input) != len(inputs) or len(graph.output) < states:
            raise self._error("its body does not fit its inputs")
        axes = attributes.get("scan_input_axes", [0] * scanned)
        slices = [_unstacked(proto, axis) for proto, axis in zip(inputs[states:], axes, strict=False)]
        count = next((n for p, a in zip(inputs[states:], axes, strict=False) if (n := _extent(p, a)) is not None), None)
        body, carried = self._fixed_point(graph, [], inputs[:states], 0, slices)
        out_axes = attributes.get("scan_output_axes", [0] * (len(body.types) - states))
        collected = [_stacked(p, a, count) for p, a in zip(body.types[states:], out_axes, strict=False)]
        self._add({"body": body}, [*carried, *collected])

    def other(self) -> None:
        """Any other node with graphs: their inputs are as they are declared, or slices of sequences."""
        bodies = {
            a.name: self._body(a.g, self._declared(a.g)) for a in self.node.attribute if a.type == AttributeProto.GRAPH
        }
        version = self.opsets.get(normal_domain(self.node.domain), 1)
        try:
            protos = infer(self.node, version, self._inputs())
        except InferenceError:
            protos = [None] * len(self.node.output)
        self._add(bodies, protos)

    def _declared(self, graph: GraphProto) -> list[TypeProto | None]:
        """The types of a graph's inputs.

        An element of the node's sequence, the node's input, or as declared.
        """
        types: list[TypeProto | None] = []
        given = self._inputs()
        for index, value in enumerate(graph.input):
            source = given[index] if index < len(given) else None
            known = None if source is None else source.type
            if known is not None and known.HasField("sequence_type"):
                known = known.sequence_type.elem_type
            types.append(value.type if value.type.WhichOneof("value") else known)
        return types

    def _fixed_point(
        self,
        graph: GraphProto,
        before: Sequence[TypeProto | None],
        carried: Sequence[TypeProto | None],
        skip: int,
        after: Sequence[TypeProto | None] = (),
    ) -> tuple[Body, list[TypeProto | None]]:
        """The body, and types of the carried values that hold on every turn."""
        current = list(carried)
        shared = self.builder.shared
        for rounds_left in range(_ROUNDS, 0, -1):
            nodes, reasons = dict(shared.nodes), dict(shared.reasons)
            body = self._body(graph, [*before, *current, *after])
            made = body.types[skip : skip + len(current)]
            wider = [None if a is None else merged(a, b) for a, b in zip(current, made, strict=True)]
            if wider == current:
                return body, current
            current = wider if rounds_left > 1 else list[TypeProto | None]([None] * len(wider))
            shared.nodes, shared.reasons = nodes, reasons
        return self._body(graph, [*before, *current, *after]), current

    def _body(self, graph: GraphProto, inputs: Sequence[TypeProto | None]) -> Body:
        """Build a subgraph whose inputs have these types."""
        builder = self.builder
        protos = [proto if proto is not None else TypeProto() for proto in inputs]
        if len(protos) != len(graph.input):
            raise self._error(f"a graph of it takes {len(graph.input)} inputs, not {len(protos)}")
        block = Block(arg_types=[attribute_of(proto) for proto in protos])
        inner = replace(
            builder,
            block=block,
            scope=Scope(builder.scope),
            declared={value.name: value.type for value in (*graph.value_info, *graph.output)},
            placed={},
        )
        for value, argument, proto in zip(graph.input, block.args, protos, strict=True):
            argument.name_hint = name_hint(value.name)
            inner.scope.values[value.name] = Live(argument, proto)
        inner.initializers(graph)
        inner.nodes(graph.node, self.opsets)
        yields = tuple(inner.value(output.name, f"outputs of a graph of node {self.name!r}") for output in graph.output)
        block.add_op(YieldOp(*(inner.operand(value) for value in yields)))
        return Body(Region(block), yields)

    def _inline(self, graph: GraphProto) -> None:
        """Import the branch that is always taken in the node's place."""
        builder = self.builder
        inner = replace(builder, scope=Scope(builder.scope))
        inner.initializers(graph)
        inner.nodes(graph.node, self.opsets)
        for name, output in zip(self.node.output, graph.output, strict=False):
            if name:
                builder.scope.values[name] = inner.value(output.name, f"outputs of a branch of node {self.name!r}")
        builder.shared.reasons[self.name] = "its condition is constant"

    def _drop(self, graph: GraphProto) -> None:
        """Account for the nodes of a branch that is never taken."""
        shared = self.builder.shared
        for position, node in enumerate(graph.node):
            name = shared.name(node, position, "")
            shared.reasons[name] = "its branch is never taken"
            for inner in subgraphs(node):
                self._drop(inner)

    def _add(self, bodies: Mapping[str, Body], protos: Sequence[TypeProto | None]) -> None:
        version = self.opsets.get(normal_domain(self.node.domain), 1)
        form = signature(normal_domain(self.node.domain), self.node.op_type, version)
        graphs = {key: body.region for key, body in bodies.items()}
        outputs = list(self.node.output)
        types = [*protos, *[None] * len(outputs)][: len(outputs)]
        self.builder.add(self.node, self.name, outputs, types, form.since if form else version, graphs)

    def _graph(self, name: str) -> GraphProto:
        for attribute in self.node.attribute:
            if attribute.name == name and attribute.type == AttributeProto.GRAPH:
                return attribute.g
        raise self._error(f"it is without its graph {name!r}")

    def _inputs(self) -> list[Value | None]:
        return [self.builder.value(n, f"the inputs of node {self.name!r}") if n else None for n in self.node.input]

    def _input(self, index: int) -> Value | None:
        inputs = self._inputs()
        return inputs[index] if index < len(inputs) else None

    def _is_true(self, value: Known) -> bool:
        return bool(np.asarray(self.builder.shared.constants.array(value)).all())

    def _number(self, value: Value | None) -> int | None:
        if not isinstance(value, Known) or value.elements != 1:
            return None
        return max(int(np.asarray(self.builder.shared.constants.array(value)).reshape(())), 0)

    def _error(self, reason: str) -> Exception:
        shared = self.builder.shared
        return shared.error(f"node {self.name!r} ({shared.nodes[self.name]}): {reason}")


def _stacked(proto: TypeProto, axis: int, count: int | None) -> TypeProto | None:
    """The type of `count` values of a type, stacked along a new axis."""
    shape = shape_of(proto)
    if not code_of(proto):
        return None
    if shape is None:
        return tensor_proto_type(code_of(proto), None)
    place = axis if axis >= 0 else axis + len(shape) + 1
    return tensor_proto_type(code_of(proto), (*shape[:place], count, *shape[place:]))


def _unstacked(proto: TypeProto | None, axis: int) -> TypeProto | None:
    """The type of one slice along an axis."""
    shape = shape_of(proto)
    if shape is None or not -len(shape) <= axis < len(shape):
        return None if proto is None else tensor_proto_type(code_of(proto), None)
    place = axis % len(shape)
    return tensor_proto_type(code_of(proto), (*shape[:place], *shape[place + 1 :]))


def _extent(proto: TypeProto | None, axis: int) -> int | None:
    shape = shape_of(proto)
    return shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
