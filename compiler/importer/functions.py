"""Local functions: the nodes of a call, written out with the call's own values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto

from ...dialects.onnx_signatures import normal_domain
from ...isa.errors import InputError
from ...isa.frozen import frozen


@frozen
class Functions:
    """The local functions of a model."""

    model: str
    table: Mapping[tuple[str, str, str], FunctionProto]

    @staticmethod
    def of(model: str, functions: Iterable[FunctionProto]) -> Functions:
        """The functions by domain, name and overload."""
        table = {(normal_domain(f.domain), f.name, f.overload): f for f in functions}
        return Functions(model, table)

    def find(self, node: NodeProto) -> FunctionProto | None:
        """The function that a node calls; None if it calls none."""
        return self.table.get((normal_domain(node.domain), node.op_type, node.overload))


@dataclass
class Call:
    """One call of a function: its body with the names and attributes that it has there."""

    function: FunctionProto
    node: NodeProto
    name: str
    model: str
    names: dict[str, str] = field(default_factory=dict[str, str])
    attributes: dict[str, AttributeProto] = field(default_factory=dict[str, AttributeProto])

    def __post_init__(self) -> None:
        function, node = self.function, self.node
        if len(node.input) > len(function.input) or len(node.output) > len(function.output):
            raise InputError(self.model, f"node {self.name!r} has more inputs or outputs than {function.name!r}")
        given = [*node.input, *[""] * (len(function.input) - len(node.input))]
        self.names.update(zip(function.input, given, strict=True))
        self.names.update((f, n) for f, n in zip(function.output, node.output, strict=False) if n)
        self.attributes.update((a.name, a) for a in function.attribute_proto)
        self.attributes.update((a.name, a) for a in node.attribute)

    @property
    def opsets(self) -> dict[str, int]:
        """The operator sets that the function's body is written in."""
        return {normal_domain(entry.domain): entry.version for entry in self.function.opset_import}

    def body(self) -> list[NodeProto]:
        """The nodes that the call stands for."""
        nodes = [self._renamed(node) for node in self.function.node]
        # A function may hand an input straight through, under the name of an output.
        passed = set(self.function.input) & set(self.function.output)
        for name in passed:
            outputs = [n for f, n in zip(self.function.output, self.node.output, strict=False) if f == name and n]
            source = self.node.input[list(self.function.input).index(name)]
            nodes += [NodeProto(op_type="Identity", input=[source], output=[output]) for output in outputs]
        return nodes

    def _name(self, name: str) -> str:
        if not name:
            return ""
        if name not in self.names:
            self.names[name] = f"{self.name}/{name}"
        return self.names[name]

    def _renamed(self, node: NodeProto) -> NodeProto:
        made = NodeProto()
        made.CopyFrom(node)
        del made.input[:], made.output[:], made.attribute[:]
        made.input.extend(map(self._name, node.input))
        made.output.extend(map(self._name, node.output))
        for attribute in node.attribute:
            bound = self._bound(attribute)
            if bound is not None:
                made.attribute.append(bound)
        return made

    def _bound(self, attribute: AttributeProto) -> AttributeProto | None:
        """An attribute of the body: one that refers to the call's takes its value, or is left out with it."""
        made = AttributeProto()
        if attribute.ref_attr_name:
            source = self.attributes.get(attribute.ref_attr_name)
            if source is None:
                return None
            made.CopyFrom(source)
            made.name = attribute.name
            return made
        made.CopyFrom(attribute)
        if attribute.type == AttributeProto.GRAPH:
            made.g.CopyFrom(self._graph(attribute.g))
        elif attribute.type == AttributeProto.GRAPHS:
            del made.graphs[:]
            made.graphs.extend(self._graph(graph) for graph in attribute.graphs)
        return made

    def _graph(self, graph: GraphProto) -> GraphProto:
        """A subgraph of the body with all its names as in this call."""
        made = GraphProto()
        made.CopyFrom(graph)
        del made.node[:]
        made.node.extend(self._renamed(node) for node in graph.node)
        for value in (*made.input, *made.output, *made.value_info):
            value.name = self._name(value.name)
        for tensor in made.initializer:
            tensor.name = self._name(tensor.name)
        for sparse in made.sparse_initializer:
            sparse.values.name = self._name(sparse.values.name)
        return made
