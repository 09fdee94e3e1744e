"""Small models made with onnx.helper, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from xdsl.dialects.builtin import ModuleOp

from attnc.compiler.importer import import_model
from attnc.dialects.context import CompilerContext
from attnc.dialects.onnx import ConstantOp, OnnxOperation, constant_array
from attnc.dialects.onnx_interface import main_of
from attnc.dialects.provenance import folded_nodes, module_nodes


@dataclass
class Imported:
    """An imported model."""

    module: ModuleOp
    context: CompilerContext

    @property
    def operations(self) -> list[OnnxOperation]:
        """The operations that stand for nodes, in order."""
        return [operation for operation in self.module.walk() if isinstance(operation, OnnxOperation)]

    @property
    def operators(self) -> list[str]:
        """Their operators."""
        return [operation.operator for operation in self.operations]

    @property
    def folded(self) -> dict[str, str]:
        """Why each node that left the IR did."""
        return {node.name: node.reason for node in folded_nodes(self.module)}

    @property
    def nodes(self) -> list[str]:
        """All nodes that the IR or its list of folded ones names."""
        return sorted([node.name for node in (*module_nodes(self.module), *folded_nodes(self.module))])

    @property
    def keys(self) -> list[str | None]:
        """The names of the constants in the IR, None for one that stands in the IR itself."""
        return [operation.key for operation in self.module.walk() if isinstance(operation, ConstantOp)]

    def outputs(self) -> list[np.ndarray | str]:
        """The graph's outputs: the value of a constant one, the type of any other."""
        last = main_of(self.module).body.block.last_op
        assert last is not None
        arrays = [(constant_array(operand, self.context.store), operand) for operand in last.operands]
        return [str(operand.type) if array is None else array for array, operand in arrays]


class Build:
    """Makes models, and imports them."""

    node = staticmethod(helper.make_node)

    @staticmethod
    def value(name: str, *shape: int | str | None, element: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        """A graph input; a dimension is a number, a name or unknown."""
        return helper.make_tensor_value_info(name, element, shape)

    @staticmethod
    def model(
        nodes: Sequence[onnx.NodeProto],
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[str],
        constants: Mapping[str, np.ndarray] = {},
        opset: int = 22,
        **parts: Any,
    ) -> onnx.ModelProto:
        """A model of these nodes; its outputs do not say their types."""
        graph = helper.make_graph(
            nodes,
            "graph",
            inputs,
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        opsets = [helper.make_opsetid("", opset), *parts.pop("opsets", [])]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10, **parts)

    @staticmethod
    def imported(source: Any, *arguments: Any, **options: Any) -> Imported:
        """Import a model and verify what comes out."""
        context = CompilerContext()
        module = import_model(source, *arguments, context=context, **options)
        module.verify()
        return Imported(module, context)


@pytest.fixture
def build() -> Build:
    """Make small models and import them."""
    return Build()
