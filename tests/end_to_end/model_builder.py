"""Builds ONNX models node by node, with drawn weights and the inputs to feed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.shape_inference import infer_node_outputs

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the model under construction."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


Operand = Value | np.ndarray | float | int | Sequence[int] | None


class Builder:
    """A model under construction; everything drawn comes from one seed.

    `dtype` is what float weights and inputs are stored in. Python floats given as operands become scalars of
    it, Python ints and sequences of them int64.
    """

    def __init__(self, seed: int, opset: int = 17, dtype: Any = np.float32) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.dtype = np.dtype(dtype)
        self.feed: dict[str, np.ndarray] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._outputs: list[Value] = []
        self._types: dict[str, onnx.TypeProto] = {}
        self._data: dict[str, onnx.TensorProto] = {}
        self._count = 0

    # Draws.

    def chance(self, probability: float = 0.5) -> bool:
        """True with a probability."""
        return bool(self.rng.random() < probability)

    def pick(self, *items: Any) -> Any:
        """One of the items."""
        return items[int(self.rng.integers(len(items)))]

    def between(self, low: int, high: int) -> int:
        """An integer of low..high, both included."""
        return int(self.rng.integers(low, high + 1))

    def normal(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        """Normally distributed floats of the model's type."""
        return (self.rng.standard_normal(shape) * scale).astype(self.dtype)

    # Values.

    def input(self, array: np.ndarray, name: str | None = None) -> Value:
        """A graph input, fed with an array."""
        array = np.asarray(array)
        made = self._name("input") if name is None else name
        code = helper.np_dtype_to_tensor_dtype(array.dtype)
        self._inputs.append(helper.make_tensor_value_info(made, code, array.shape))
        self._types[made] = helper.make_tensor_type_proto(code, array.shape)
        self.feed[made] = array
        return Value(made, array.shape, array.dtype)

    def constant(self, array: Any) -> Value:
        """An initializer, or now and then a Constant node."""
        array = np.asarray(array)
        name = self._name("constant")
        tensor = numpy_helper.from_array(array, name)
        if array.size < 50 and self.chance(0.2):
            self._nodes.append(helper.make_node("Constant", [], [name], name=self._name("Constant"), value=tensor))
        else:
            self._initializers.append(tensor)
        self._types[name] = helper.make_tensor_type_proto(tensor.data_type, array.shape)
        self._data[name] = tensor
        return Value(name, array.shape, array.dtype)

    def weight(self, *shape: int, scale: float | None = None) -> Value:
        """A drawn weight; its scale keeps what it multiplies about as large as before."""
        fan = shape[0] if len(shape) > 1 else 4
        return self.constant(self.normal(*shape, scale=fan**-0.5 if scale is None else scale))

    def operand(self, given: Operand, like: np.dtype[Any] | None = None) -> Value | None:
        """A value for what was given as an operand."""
        if given is None or isinstance(given, Value):
            return given
        if isinstance(given, float):
            return self.constant(np.array(given, self.dtype if like is None else like))
        return self.constant(given if isinstance(given, np.ndarray | np.generic) else np.array(given, np.int64))

    def nodes(
        self, operator: str, *inputs: Operand, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> list[Value]:
        """Add a node and give its results."""
        values = [self.operand(item) for item in inputs]
        names = ["" if value is None else value.name for value in values]
        results = [self._name(operator.lower()) for _ in range(outputs)]
        node = helper.make_node(operator, names, results, name=self._name(operator), domain=domain, **attributes)
        self._nodes.append(node)
        schema = onnx.defs.get_schema(operator, self.opset if not domain else 1, domain)
        types = infer_node_outputs(
            schema,
            node,
            {name: self._types[name] for name in names if name},
            {name: self._data[name] for name in names if name in self._data},
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=10,
        )
        made: list[Value] = []
        for name in results:
            self._types[name] = types[name]
            tensor = types[name].tensor_type
            shape = tuple(item.dim_value for item in tensor.shape.dim)
            if not tensor.HasField("shape"):
                # Operators that old opsets define by a function have no inference of their own.
                compared = values if operator.endswith("Equal") else values[:1]
                shape = np.broadcast_shapes(*[value.shape for value in compared if value is not None])
                self._types[name] = helper.make_tensor_type_proto(tensor.elem_type, shape)
            made.append(Value(name, shape, np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))))
        return made

    def __call__(self, operator: str, *inputs: Operand, domain: str = "", **attributes: Any) -> Value:
        """Add a node and give its first result."""
        return self.nodes(operator, *inputs, domain=domain, **attributes)[0]

    # Forms that changed from opset to opset.

    def unsqueeze(self, value: Value, axes: Sequence[int]) -> Value:
        """Unsqueeze, axes as the opset wants them."""
        if self.opset < 13:
            return self("Unsqueeze", value, axes=list(axes))
        return self("Unsqueeze", value, list(axes))

    def squeeze(self, value: Value, axes: Sequence[int]) -> Value:
        """Squeeze, axes as the opset wants them."""
        return self("Squeeze", value, axes=list(axes)) if self.opset < 13 else self("Squeeze", value, list(axes))

    def reduce(self, kind: str, value: Value, axes: Sequence[int], keepdims: int = 1) -> Value:
        """Reduce<kind>, axes as the opset wants them."""
        if self.opset < (13 if kind == "Sum" else 18):
            return self(f"Reduce{kind}", value, axes=list(axes), keepdims=keepdims)
        return self(f"Reduce{kind}", value, list(axes), keepdims=keepdims)

    def split(self, value: Value, axis: int, sizes: Sequence[int]) -> list[Value]:
        """Split into pieces of given sizes."""
        if self.opset < 13:
            return self.nodes("Split", value, outputs=len(sizes), axis=axis, split=list(sizes))
        if self.opset >= 18 and len(set(sizes)) == 1 and self.chance():
            return self.nodes("Split", value, outputs=len(sizes), axis=axis, num_outputs=len(sizes))
        return self.nodes("Split", value, list(sizes), outputs=len(sizes), axis=axis)

    # The end.

    def output(self, value: Value) -> None:
        """Make a value an output of the model."""
        if value not in self._outputs:
            self._outputs.append(value)

    @property
    def outputs(self) -> tuple[Value, ...]:
        """The outputs of the model."""
        return tuple(self._outputs)

    def widened(self) -> onnx.ModelProto:
        """The model with every 16-bit float as float32: the values that rounding departs from."""
        model = self.model()
        for tensor in (*model.graph.initializer, *(a.t for node in model.graph.node for a in node.attribute)):
            if tensor.data_type in NARROW:
                wide = numpy_helper.to_array(tensor).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
        for attribute in (a for node in model.graph.node if node.op_type == "Cast" for a in node.attribute):
            if attribute.name == "to" and attribute.i in NARROW:
                attribute.i = TensorProto.FLOAT
        for value in (*model.graph.input, *model.graph.output):
            if value.type.tensor_type.elem_type in NARROW:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        return model

    def model(self) -> onnx.ModelProto:
        """The model; its outputs carry their types."""
        produced = {name for node in self._nodes for name in node.output}
        for place, value in enumerate(self._outputs):
            if value.name not in produced:
                self._outputs[place] = self("Identity", value)
        outputs = [
            helper.make_tensor_value_info(value.name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for value in self._outputs
        ]
        graph = helper.make_graph(self._nodes, "drawn", self._inputs, outputs, self._initializers)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        # The newest ONNX Runtime refuses IR versions that the newest onnx package writes.
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8 if self.opset < 19 else 10)
        onnx.checker.check_model(model)
        return model

    def _name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"


NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)

FLOAT_CODES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float16): TensorProto.FLOAT16,
    BFLOAT16: TensorProto.BFLOAT16,
}
"""What Cast's `to` is for the float types of a model."""
