"""Walking the nodes of a graph: each is folded, or becomes an operation with inferred types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import GraphProto, NodeProto, TypeProto
from xdsl.dialects.builtin import TensorType
from xdsl.ir import Attribute, Block, Region, SSAValue
from xdsl.utils.exceptions import VerifyException

from ...dialects import onnx_types as types
from ...dialects.constants import Array, RefAttr
from ...dialects.onnx import ConstantOp, CustomOp, OnnxOperation, constant_attribute, operation_class
from ...dialects.onnx_signatures import MEANING_SINCE, Signature, newest, normal_domain, signature
from ...dialects.provenance import node_location
from ...isa.errors import InputError
from . import folding
from .attributes import constant_value, encode
from .functions import Call, Functions
from .inference import InferenceError, infer
from .load import LoadedModel
from .order import ordered, subgraphs
from .prototypes import attribute_of, static_shape
from .sequences import taken
from .subgraphs import import_subgraphs
from .tensors import TensorReader
from .values import Constants, Known, Live, Scope, Value, name_hint
from .versions import OLDEST_OPSET, OldNode, upgrade

_DEEPEST = 64
"""Calls of local functions within one another; more are a function that calls itself."""


@dataclass
class Import:
    """What one import shares: the model, its constants and functions, and the account of its nodes.

    `nodes` are all nodes met, by unique name, with their operators; `reasons` say why a node was folded or
    removed; `splits` are the nodes that split a tensor into a sequence, by the sequence's name.
    """

    model: LoadedModel
    constants: Constants
    reader: TensorReader
    functions: Functions
    nodes: dict[str, str] = field(default_factory=dict[str, str])
    reasons: dict[str, str] = field(default_factory=dict[str, str])
    splits: dict[str, NodeProto] = field(default_factory=dict[str, NodeProto])

    def name(self, node: NodeProto, position: int, prefix: str) -> str:
        """A name for a node that no other has: its own, or one made of its operator and position."""
        base = prefix + (node.name or f"{node.op_type}_{position}")
        name, count = base, 1
        while name in self.nodes:
            name, count = f"{base}_{count}", count + 1
        domain = normal_domain(node.domain)
        self.nodes[name] = f"{domain}::{node.op_type}" if domain else node.op_type
        return name

    def error(self, reason: str) -> InputError:
        """An error in the model."""
        return InputError(self.model.name, reason)


@dataclass
class GraphBuilder:
    """Builds the operations of one graph, or subgraph, into `block`."""

    shared: Import
    block: Block
    scope: Scope
    declared: dict[str, TypeProto] = field(default_factory=dict[str, TypeProto])
    placed: dict[str, SSAValue] = field(default_factory=dict[str, SSAValue])
    depth: int = 0

    def initializers(self, graph: GraphProto, raw: Mapping[int, memoryview] = {}) -> None:
        """Make the graph's own tensors known; `raw` are the bytes of those that stayed in the file."""
        reader = self.shared.reader
        for index, tensor in enumerate(graph.initializer):
            array = reader.read(tensor, raw.get(index))
            self.scope.values[tensor.name] = folding.initializer(tensor.name, array)
        for sparse in graph.sparse_initializer:
            name = sparse.values.name
            self.scope.values[name] = folding.initializer(name, reader.read_sparse(sparse))

    def nodes(self, nodes: Sequence[NodeProto], opsets: Mapping[str, int], prefix: str = "") -> None:
        """Import nodes, each after those that it reads from."""
        names = [self.shared.name(node, position, prefix) for position, node in enumerate(nodes)]
        for position in ordered(nodes, self.scope.__contains__, names, self.shared.model.name):
            self._node(nodes[position], names[position], opsets)

    def outputs(self, graph: GraphProto) -> list[SSAValue]:
        """The graph's outputs as operands. Raises InputError for one that nothing makes."""
        return [self.operand(self.value(output.name, "the graph's outputs")) for output in graph.output]

    def value(self, name: str, reader: str) -> Value:
        """The value called `name`. Raises InputError naming its reader if nothing makes it."""
        found = self.scope.find(name)
        if found is None:
            raise self.shared.error(f"{reader} name {name!r}, which nothing makes")
        return found

    def operand(self, value: Value) -> SSAValue:
        """A value as an operand in this block; a constant is placed before its first use."""
        if isinstance(value, Live):
            return value.value
        if value.key not in self.placed:
            array, constants = value.array, self.shared.constants
            is_made = array is not None
            attribute = constant_attribute(array, lambda: constants.key(value)) if is_made else RefAttr(value.key)
            element = types.element_of_dtype(value.dtype)
            operation = ConstantOp(attribute, TensorType(element, value.shape))
            operation.result.name_hint = name_hint(value.key)
            self.block.add_op(operation)
            self.placed[value.key] = operation.result
        return self.placed[value.key]

    def _node(self, node: NodeProto, name: str, opsets: Mapping[str, int]) -> None:
        shared, domain = self.shared, normal_domain(node.domain)
        function = shared.functions.find(node)
        if function is not None:
            self._inline(Call(function, node, name, shared.model.name))
            return
        if any(True for _ in subgraphs(node)) and import_subgraphs(self, node, name, opsets):
            return
        version = opsets.get(domain)
        if version is None and not domain:
            raise shared.error(f"node {name!r} is ONNX's own {node.op_type}, and no version of ONNX is imported")
        form = signature(domain, node.op_type, version or 1)
        if form is None and not domain:
            raise shared.error(f"node {name!r} is a {node.op_type}, which operator set {version} does not have")
        if domain or form is None or newest(node.op_type) is None:
            self._emit(node, name, form, version or 1)
        elif node.op_type == "Constant":
            self.scope.values[node.output[0]] = self._constant(node, name)
            shared.reasons[name] = "it is a constant"
        else:
            self._official(node, name, form)

    def _official(self, node: NodeProto, name: str, form: Signature) -> None:
        """Import a node of the default domain, in its newest form if that can be said."""
        oldest = signature("", node.op_type, OLDEST_OPSET)
        if oldest is not None and form.since < oldest.since:
            raise InputError(
                self.shared.model.name,
                f"node {name!r} is a {node.op_type} of operator set {form.since}, older than {OLDEST_OPSET}",
                "export the model again, or convert it with onnx.version_converter",
            )
        shared, inputs = self.shared, self._inputs(node, name)
        try:
            upgraded = upgrade(OldNode(node, inputs, self._made_constant(name)), form)
        except IndexError as error:
            told = f"node {name!r} has {len(node.input)} inputs, too few for a {node.op_type}"
            raise shared.error(told) from error
        if upgraded is None:
            self._emit(node, name, form, form.since)
            return
        if node.op_type == "SplitToSequence":
            shared.splits[node.output[0]] = node
        for made in taken(node, shared.splits, self._array, self._made_constant(name)) or upgraded:
            current = newest(made.op_type)
            assert current is not None
            if not self._folded(made, name, current):
                self._emit(made, name, current, current.since)

    def _folded(self, node: NodeProto, name: str, form: Signature) -> bool:
        """Fold the node if all it depends on is known."""
        inputs = self._inputs(node, name)
        known = [value for value in inputs if isinstance(value, Known)]
        made: list[Known] | None = None
        if known and len(known) == sum(1 for value in inputs if value is not None):
            made = folding.fold(
                node, form, [v if isinstance(v, Known) else None for v in inputs], self.shared.constants
            )
        elif node.op_type in ("Shape", "Size") and inputs and inputs[0] is not None:
            shape = static_shape(inputs[0].type)
            # Only the extents are read, so a tensor of zeros that takes no memory stands for the value.
            stand_in = (
                None if shape is None else Known("", shape, np.dtype(np.bool_), np.broadcast_to(np.False_, shape))
            )
            made = None if stand_in is None else folding.fold(node, form, [stand_in], self.shared.constants)
        if made is None:
            return False
        self.scope.values.update((output, value) for output, value in zip(node.output, made, strict=True) if output)
        self.shared.reasons[name] = "all it depends on is constant"
        return True

    def _emit(self, node: NodeProto, name: str, form: Signature | None, version: int) -> None:
        inputs = self._inputs(node, name)
        outputs = list(node.output)
        while outputs and not outputs[-1]:
            outputs.pop()
        protos = self._types(node, name, inputs, version)[: len(outputs)]
        self.add(node, name, outputs, protos, form.since if form is not None else version)

    def add(
        self,
        node: NodeProto,
        name: str,
        outputs: Sequence[str],
        protos: Sequence[TypeProto | None],
        since: int,
        graphs: Mapping[str, Region] = {},
    ) -> OnnxOperation:
        """Add the operation of a node with these results, and make them known by their names."""
        shared, domain = self.shared, normal_domain(node.domain)
        attributes: dict[str, Attribute] = {}
        for attribute in node.attribute:
            encoded = encode(attribute, name, shared.reader, shared.constants)
            if encoded is not None:
                attributes[attribute.name] = encoded
        found = self._inputs(node, name)
        while found and found[-1] is None:
            found.pop()
        operands = [None if value is None else self.operand(value) for value in found]
        results = [attribute_of(p) if n else types.NoneType() for n, p in zip(outputs, protos, strict=True)]
        current = None if domain else newest(node.op_type)
        if current is not None and since >= MEANING_SINCE.get(node.op_type, 0):
            since = current.since
        if current is None:
            operation: OnnxOperation = CustomOp.of(
                domain, node.op_type, operands, results, outputs, since, attributes, graphs
            )
        else:
            kind = operation_class(node.op_type, None if since == current.since else since)
            operation = kind.make(operands, results, outputs, since, attributes, graphs)
        operation.location = node_location(name, shared.nodes[name])
        self.block.add_op(operation)
        try:
            operation.verify_()
        except VerifyException as error:
            raise shared.error(f"node {name!r} ({shared.nodes[name]}): {error}") from error
        for output, result, proto in zip(outputs, operation.results, protos, strict=True):
            if output:
                result.name_hint = name_hint(output)
                self.scope.values[output] = Live(result, proto or TypeProto())
        return operation

    def _types(
        self, node: NodeProto, name: str, inputs: Sequence[Value | None], version: int
    ) -> list[TypeProto | None]:
        """The types of the node's results; what no rule tells is as the model declares it."""
        try:
            made = infer(node, version, inputs)
        except InferenceError as error:
            if all(value is None or static_shape(value.type) is not None for value in inputs):
                raise self.shared.error(f"node {name!r} ({self.shared.nodes[name]}): {error}") from error
            made = [None] * len(node.output)
        return [
            self.declared.get(output) if proto is None or proto.WhichOneof("value") is None else proto
            for output, proto in zip(node.output, made, strict=True)
        ]

    def _inputs(self, node: NodeProto, name: str) -> list[Value | None]:
        return [self.value(n, f"the inputs of node {name!r}") if n else None for n in node.input]

    def _array(self, name: str) -> Array | None:
        """What a name stands for, if it is constant."""
        value = self.scope.find(name)
        return self.shared.constants.array(value) if isinstance(value, Known) else None

    def _constant(self, node: NodeProto, name: str) -> Known:
        if len(node.attribute) != 1 or len(node.output) != 1:
            raise self.shared.error(f"node {name!r} (Constant): it holds {len(node.attribute)} values, not one")
        array = constant_value(node.attribute[0], self.shared.reader)
        if array is None:
            raise self.shared.error(f"node {name!r} (Constant): {node.attribute[0].name!r} is no kind of value")
        return folding.initializer(node.output[0], array)

    def _made_constant(self, name: str) -> Callable[[Array], str]:
        """A function that makes a constant for node `name` and returns the name of its value."""

        def constant(array: Array) -> str:
            key = f"{name}/constant"
            count = 1
            while key in self.scope:
                key, count = f"{name}/constant_{count}", count + 1
            self.scope.values[key] = Known(key, array.shape, array.dtype, array)
            return key

        return constant

    def _inline(self, call: Call) -> None:
        if self.depth >= _DEEPEST:
            raise self.shared.error(f"the function {call.function.name!r} calls itself")
        self.shared.reasons[call.name] = "its function is inlined"
        inner = replace(self, depth=self.depth + 1)
        inner.nodes(call.body(), call.opsets, f"{call.name}/")
