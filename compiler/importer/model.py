"""The import of a whole model: from a file to a module of the `onnx` dialect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import numpy as np
from onnx import TypeProto, ValueInfoProto
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, ModuleOp, TensorType
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute, Block, Region
from xdsl.traits import IsTerminator

from ...dialects import onnx_types as types
from ...dialects.constants import Array
from ...dialects.context import CompilerContext
from ...dialects.onnx_interface import describe
from ...dialects.provenance import FoldedNode, module_nodes, record_folded
from ...isa.errors import UsageError
from .external import ExternalData
from .folding import initializer
from .functions import Functions
from .graph import GraphBuilder, Import
from .load import Source, load_model
from .prototypes import attribute_of, code_of
from .shapes import Binding, dimensions
from .tensors import TensorReader
from .values import Constants, Live, Scope, name_hint

PHASE = "import"
"""The name under which nodes that left the IR here are listed."""


def import_model(
    source: Source,
    shapes: Mapping[str, Sequence[int]] = {},
    constants: Mapping[str, Array] = {},
    context: CompilerContext | None = None,
) -> ModuleOp:
    """Import a model (a path, a file's bytes or a ModelProto) as a module with one function, `main`.

    `shapes` fixes dimensions of inputs, named ones everywhere; `constants` binds inputs to values at compile
    time, so that they are inputs no longer. The context's store takes the constants. Raises InputError for a
    model that is not valid or lacks a dimension, UsageError for shapes and constants that do not fit it.
    """
    context = CompilerContext() if context is None else context
    model = load_model(source)
    reader = TensorReader(model.name, ExternalData(model.folder, model.name))
    functions = Functions.of(model.name, model.proto.functions)
    shared = Import(model, Constants(context.store), reader, functions)
    graph = model.proto.graph
    held = {tensor.name for tensor in graph.initializer}
    held |= {tensor.values.name for tensor in graph.sparse_initializer}
    inputs = [value for value in graph.input if value.name not in held]
    _check_constants(constants, inputs, held)
    given = {name: tuple(map(int, shape)) for name, shape in shapes.items()}
    given |= {name: np.shape(array) for name, array in constants.items()}
    fixed = Binding(model.name, inputs).fix(given)
    arguments = [value for value in inputs if value.name not in constants]
    block = Block(arg_types=[attribute_of(fixed[value.name]) for value in arguments])
    builder = GraphBuilder(
        shared, block, Scope(), {value.name: value.type for value in (*graph.value_info, *graph.output)}
    )
    for value, argument in zip(arguments, block.args, strict=True):
        argument.name_hint = name_hint(value.name)
        builder.scope.values[value.name] = Live(argument, fixed[value.name])
    for name, array in constants.items():
        builder.scope.values[name] = initializer(name, _bound(name, array, fixed[name]))
    builder.initializers(graph, model.weights)
    builder.nodes(graph.node, model.opsets)
    block.add_op(ReturnOp(*builder.outputs(graph)))
    module = ModuleOp([_main(block, arguments, graph.output)])
    _remove_unused(block)
    _account(module, shared)
    return module


def _check_constants(constants: Mapping[str, Array], inputs: Sequence[ValueInfoProto], held: set[str]) -> None:
    names = [value.name for value in inputs]
    for name in constants:
        if name in held:
            raise UsageError(f"{name!r} is a constant of the model already")
        if name not in names:
            raise UsageError(f"there is no input {name!r}; the model's inputs are: {', '.join(names) or 'none'}")


def _bound(name: str, array: Array, proto: TypeProto) -> Array:
    """The value that an input is bound to, checked against the input's element type."""
    array = np.asarray(array)
    element = types.element_of_code(code_of(proto))
    if isinstance(element, types.UnknownType) or array.dtype != types.dtype_of(element):
        raise UsageError(f"the constant for {name!r} is {array.dtype}, and the input is {types.name_of(element)}")
    return array


def _main(block: Block, inputs: Iterable[ValueInfoProto], outputs: Iterable[ValueInfoProto]) -> FuncOp:
    last = block.last_op
    results = () if last is None else tuple(last.operand_types)
    return FuncOp(
        "main",
        (block.arg_types, results),
        Region(block),
        arg_attrs=ArrayAttr([_described(value, None) for value in inputs]),
        res_attrs=ArrayAttr([_described(v, r) for v, r in zip(outputs, results, strict=True)]),
    )


def _described(value: ValueInfoProto, result: Attribute | None) -> DictionaryAttr:
    """What the model says of an input or output.

    An output's element type is taken from its value if need be.
    """
    element = types.element_of_code(code_of(value.type))
    if isinstance(element, types.UnknownType) and isinstance(result, TensorType):
        element = cast("TensorType[Attribute]", result).element_type
    dims = dimensions(value.type)
    spelled = None if dims is None else ["?" if dim is None else dim for dim in dims]
    return describe(value.name, types.name_of(element), spelled)


def _remove_unused(block: Block) -> None:
    """Remove operations whose results nothing uses, last first, so that what only they used goes too."""
    for operation in reversed(tuple(block.ops)):
        is_used = operation.has_trait(IsTerminator) or any(result.first_use for result in operation.results)
        if not is_used:
            block.erase_op(operation)
            continue
        for region in operation.regions:
            for inner in region.blocks:
                _remove_unused(inner)


def _account(module: ModuleOp, shared: Import) -> None:
    """List the nodes that are not in the IR, each with the reason."""
    present = {node.name for node in module_nodes(module)}
    record_folded(
        module,
        (
            FoldedNode(name, operator, PHASE, shared.reasons.get(name, "nothing uses what it makes"))
            for name, operator in shared.nodes.items()
            if name not in present
        ),
    )
