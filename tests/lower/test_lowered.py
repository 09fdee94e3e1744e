"""What lowering leaves: locations, names of values, the account of nodes; and the page of operators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx.parser
from xdsl.dialects.builtin import ModuleOp, StringAttr, UnknownLoc
from xdsl.dialects.func import FuncOp

from attnc.dialects.nn import NnOperation
from attnc.dialects.provenance import folded_nodes, module_nodes
from attnc.passes.graph.lower.manual import manual
from attnc.passes.graph.lower.refused import REASONS
from attnc.passes.graph.lower.table import LOWERINGS

MODEL = onnx.parser.parse_model("""
<ir_version: 10, opset_import: ["" : 22]>
g (int64[1, 4] ids, float[1, 4] mask) => (float[1, 4, 2] y)
<float[3, 2] table = {0, 1, 2, 3, 4, 5}, float[2] scale = {1, 2}> {
    rows = Gather <axis = 0> (table, ids)
    normal = LayerNormalization (rows, scale)
    same = Identity (normal)
    axes = Constant <value = int64[1] {2}> ()
    column = Unsqueeze (mask, axes)
    y = Mul (same, column)
}
""")


def operations(module: ModuleOp) -> list[NnOperation]:
    return [operation for operation in module.walk() if isinstance(operation, NnOperation)]


def test_every_operation_is_located(lower: Callable[..., Any]) -> None:
    module = lower(MODEL).module
    assert operations(module)
    assert not [op for op in operations(module) if isinstance(op.location, UnknownLoc)]


def test_values_are_named_where_they_are_made(lower: Callable[..., Any]) -> None:
    module = lower(MODEL).module
    named = {op.value.data: op.name for op in operations(module) if isinstance(op.value, StringAttr)}
    assert named == {
        "rows": "nn.gather_rows",
        "normal": "nn.layer_norm",
        "column": "nn.reshape",
        "y": "nn.map",
    }


def test_nodes_that_need_no_operation_are_accounted_for(lower: Callable[..., Any]) -> None:
    module = lower(MODEL).module
    folded = {node.operator: node for node in folded_nodes(module)}
    assert folded["Identity"].phase == "graph"
    assert folded["Identity"].reason == "its result is an operand as it stands"
    present = [node.operator for node in module_nodes(module)]
    assert sorted([*present, *folded]) == sorted(node.op_type for node in MODEL.graph.node)


def test_int64_becomes_int32_in_the_signature(lower: Callable[..., Any]) -> None:
    module = lower(MODEL).module
    main = next(op for op in module.ops if isinstance(op, FuncOp))
    assert list(map(str, main.function_type.inputs)) == ["tensor<1x4xi32>", "tensor<1x4xf32>"]


def test_no_operator_is_both_lowered_and_refused() -> None:
    assert not {operator for domain, operator in LOWERINGS if not domain} & REASONS.keys()


def test_page_of_operators_is_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "operators.md"
    assert page.read_text() == manual(), "write it anew with python -m attnc.passes.graph.lower.manual"
