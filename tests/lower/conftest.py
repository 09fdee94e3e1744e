"""Small ONNX models, lowered to `nn` and run by its numpy interpreter, beside ONNX Runtime."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner
from xdsl.dialects.builtin import ModuleOp

from attnc.compiler.importer import import_model
from attnc.dialects.context import CompilerContext
from attnc.dialects.interpret.function import run
from attnc.dialects.onnx_interface import inputs_of, main_of
from attnc.isa.errors import UnsupportedError
from attnc.passes.graph.lower.lower_onnx import LowerOnnx, inputs_to_know

Arrays = Sequence[np.ndarray | None]

TYPES = frozenset(
    (
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.BOOL,
    )
)
"""Element types of the machine, and int64, which travels as int32."""


@dataclass
class Lowered:
    """A model at the graph level."""

    module: ModuleOp
    context: CompilerContext

    def run(self, feed: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """The outputs, int64 inputs given as int32."""
        inputs = [feed[item.name] for item in inputs_of(main_of(self.module))]
        narrow = [array.astype(np.int32) if array.dtype == np.int64 else array for array in inputs]
        return run(self.module, narrow, self.context.store)


def lower_model(
    model: onnx.ModelProto,
    shapes: Mapping[str, tuple[int, ...]] = {},
    constants: Mapping[str, np.ndarray] = {},
) -> Lowered:
    """Import a model, lower it and verify what comes out."""
    context = CompilerContext()
    module = import_model(model, shapes, constants, context)
    LowerOnnx().apply(context, module)
    module.verify()
    return Lowered(module, context)


@pytest.fixture
def lower() -> Callable[..., Lowered]:
    """Import and lower a model."""
    return lower_model


@dataclass
class Single:
    """A model of one node, its operands `i0`, `i1`, ... and what they are fed."""

    model: onnx.ModelProto
    feed: dict[str, np.ndarray] = field(default_factory=dict)

    def reference(self) -> list[np.ndarray]:
        """ONNX Runtime's outputs, unoptimized."""
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            self.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return session.run(None, self.feed)

    def lowered(self) -> Lowered:
        """The model at the graph level."""
        return lower_model(self.model)


def make_single(
    operator: str,
    inputs: Arrays,
    attributes: Mapping[str, Any] = {},
    *,
    known: Collection[int] = (),
    outputs: int = 1,
    domain: str = "",
    opset: int = 22,
) -> Single:
    """One node; inputs whose positions are in `known` are initializers, None is left out."""
    names = ["" if array is None else f"i{place}" for place, array in enumerate(inputs)]
    results = [f"o{place}" for place in range(outputs)]
    node = helper.make_node(operator, names, results, name="node", domain=domain, **attributes)
    arguments: list[onnx.ValueInfoProto] = []
    initializers: list[onnx.TensorProto] = []
    feed: dict[str, np.ndarray] = {}
    for place, (name, array) in enumerate(zip(names, inputs, strict=True)):
        if array is None:
            continue
        if place in known:
            initializers.append(numpy_helper.from_array(array, name))
        else:
            code = helper.np_dtype_to_tensor_dtype(array.dtype)
            arguments.append(helper.make_tensor_value_info(name, code, array.shape))
            feed[name] = array
    made = [helper.make_empty_tensor_value_info(name) for name in results]
    graph = helper.make_graph([node], "single", arguments, made, initializers)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return Single(helper.make_model(graph, opset_imports=opsets, ir_version=10), feed)


@pytest.fixture
def single() -> Callable[..., Single]:
    """Make a model of one node."""
    return make_single


@dataclass(frozen=True)
class Outcome:
    """What became of a node test: `pass`, `refused`, `excluded` (by type) or `wrong`, and why."""

    test: str
    operator: str
    verdict: str
    reason: str = ""


def _outcome(test: Any) -> Outcome:
    graph = test.model.graph
    operator = "+".join(sorted({node.op_type for node in graph.node}))
    for value in (*graph.input, *graph.output):
        if value.type.WhichOneof("value") != "tensor_type" or value.type.tensor_type.elem_type not in TYPES:
            return Outcome(test.name, operator, "excluded", value.name)
    inputs, expected = ([_array(item) for item in items] for items in test.data_sets[0])
    feed = dict(zip([value.name for value in graph.input], inputs, strict=False))
    constants = _to_know(test.model, feed)
    shapes = {name: array.shape for name, array in feed.items() if name not in constants}
    try:
        outputs = lower_model(test.model, shapes, constants).run(feed)
    except UnsupportedError as error:
        return Outcome(test.name, operator, "refused", str(error))
    wide = [
        output.astype(np.int64) if wanted.dtype == np.int64 and output.dtype == np.int32 else output
        for output, wanted in zip(outputs, expected, strict=True)
    ]
    try:
        Runner.assert_similar_outputs(expected, wide, test.rtol, test.atol)
    except AssertionError as error:
        return Outcome(test.name, operator, "wrong", str(error))
    return Outcome(test.name, operator, "pass")


def _to_know(model: onnx.ModelProto, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs that determine a shape, a direction or an axis: the tests feed them, a compiler must know them."""
    constants: dict[str, np.ndarray] = {}
    while True:
        context = CompilerContext()
        shapes = {name: array.shape for name, array in feed.items() if name not in constants}
        wanted = inputs_to_know(import_model(model, shapes, constants, context), context.store)
        if not wanted:
            return constants
        constants |= {name: feed[name] for name in wanted}


def _array(item: Any) -> np.ndarray:
    return numpy_helper.to_array(item) if isinstance(item, TensorProto) else item


@pytest.fixture(scope="session")
def node_suite() -> Callable[[Collection[str] | None], list[Outcome]]:
    """Run the official node tests of some operators (None: of all) through import, lowering and interpreter.

    Expanded forms are left out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = [test for test in load_model_tests(kind="node") if "_expanded" not in test.name]

    def outcomes(operators: Collection[str] | None) -> list[Outcome]:
        return [
            _outcome(test)
            for test in tests
            if operators is None or {node.op_type for node in test.model.graph.node} & set(operators)
        ]

    return outcomes
