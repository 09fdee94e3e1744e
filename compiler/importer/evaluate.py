"""The value of a node whose inputs are all known, in numpy; newest operator forms only.

Shape arithmetic and the tables that models compute from constants are here; what is not goes to ONNX's own
reference implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from onnx import AttributeProto, NodeProto, helper

from ...dialects import onnx_types as types
from ...dialects.constants import Array
from ...dialects.onnx_signatures import Signature

Attributes: TypeAlias = Mapping[str, Any]
Evaluator: TypeAlias = Callable[[Attributes, Sequence[Any]], Array | list[Array] | None]


class NotEvaluatedError(Exception):
    """The node's value cannot be computed here; it stays in the graph."""


def evaluate(node: NodeProto, form: Signature, inputs: Sequence[Array | None]) -> list[Array]:
    """The outputs of a node of the default domain.

    Raises NotEvaluatedError where that fails for whatever reason.
    """
    try:
        with np.errstate(all="ignore"):
            made = _direct(node, form, inputs)
            return _reference(node, inputs) if made is None else made
    except Exception as error:  # an invalid node may fail in any way; it is reported where it is verified
        raise NotEvaluatedError(str(error)) from error


def _direct(node: NodeProto, form: Signature, inputs: Sequence[Array | None]) -> list[Array] | None:
    """The outputs by the table here; None if it leaves the node to the reference implementation."""
    evaluator = _EVALUATORS.get(node.op_type)
    if evaluator is None or not all(array is None or _is_plain(array.dtype) for array in inputs):
        return None
    made = evaluator(node_attributes(node, form), inputs)
    if made is None:
        return None
    return [np.asarray(array) for array in made] if isinstance(made, list) else [np.asarray(made)]


def is_direct(node: NodeProto, dtypes: Sequence[types.DType]) -> bool:
    """Whether the node is computed by numpy alone, so that its value can be made later without a surprise."""
    return node.op_type in _EVALUATORS and all(map(_is_plain, dtypes))


def node_attributes(node: NodeProto, form: Signature) -> dict[str, Any]:
    """The node's attributes as Python values (tensors stay TensorProto), defaults filled in."""
    attributes: dict[str, Any] = {
        name: attribute.default for name, attribute in form.attributes.items() if attribute.default is not None
    }
    for attribute in node.attribute:
        attributes[attribute.name] = attribute_value(attribute)
    return attributes


def attribute_value(attribute: AttributeProto) -> Any:
    """An attribute as a Python value, text decoded."""
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return value


def _reference(node: NodeProto, inputs: Sequence[Array | None]) -> list[Array]:
    from onnx.reference import ReferenceEvaluator

    names = [name for name in node.input if name]
    feeds = {name: array for name, array in zip(node.input, inputs, strict=False) if name}
    graph = helper.make_graph(
        [node],
        "constant",
        [helper.make_value_info(name, _proto(feeds[name])) for name in dict.fromkeys(names)],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    evaluator: Any = ReferenceEvaluator(helper.make_model(graph))
    outputs = evaluator.run(None, feeds)
    made = iter(list(outputs))
    arrays = [next(made) if name else np.zeros(0) for name in node.output]
    if not all(isinstance(array, np.ndarray | np.generic) for array in arrays):
        raise NotEvaluatedError(f"{node.op_type} makes something that is no tensor")
    return [np.asarray(array) for array in arrays]


def _proto(array: Any) -> Any:
    return helper.make_tensor_type_proto(types.code_of(types.element_of_dtype(array.dtype)), array.shape)


def _is_plain(dtype: types.DType) -> bool:
    return (dtype.isbuiltin == 1 and dtype.kind in "biuf") or dtype.name == "bfloat16"


def _integers(array: Array | None) -> list[int]:
    return [] if array is None else [int(item) for item in np.asarray(array).reshape(-1)]


def _operand(inputs: Sequence[Any], index: int) -> Any:
    """An optional input; None if it is left out."""
    return inputs[index] if index < len(inputs) else None


def _shape(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    return np.array(inputs[0].shape[attributes["start"] : attributes.get("end")], np.int64)


def _gather(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    data, indices = inputs
    return np.take(data, indices, axis=attributes["axis"], mode="raise")


def _concat(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    return np.concatenate(inputs, axis=attributes["axis"])


def _unsqueeze(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    return np.expand_dims(inputs[0], tuple(_integers(inputs[1])))


def _squeeze(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    axes = _operand(inputs, 1)
    return np.squeeze(inputs[0], None if axes is None else tuple(_integers(axes)))


def _slice(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    data, starts, ends = inputs[0], _integers(inputs[1]), _integers(inputs[2])
    axes = _integers(_operand(inputs, 3)) or list(range(len(starts)))
    steps = _integers(_operand(inputs, 4)) or [1] * len(starts)
    index = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        extent = data.shape[axis]
        start, end = (value + extent if value < 0 else value for value in (start, end))
        if step > 0:
            index[axis] = slice(min(max(start, 0), extent), min(max(end, 0), extent), step)
        else:
            last = min(max(end, -1), extent - 1)
            index[axis] = slice(min(max(start, 0), extent - 1), None if last < 0 else last, step)
    return data[tuple(index)]


def _reshape(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    data, target = inputs[0], _integers(inputs[1])
    if not attributes["allowzero"]:
        target = [data.shape[axis] if extent == 0 else extent for axis, extent in enumerate(target)]
    return np.reshape(data, target)


def _flatten(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    data, axis = inputs[0], attributes["axis"]
    rows = int(np.prod(data.shape[: axis if axis >= 0 else axis + data.ndim], dtype=np.int64))
    return data.reshape(rows, data.size // rows if rows else 0)


def _transpose(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    return np.transpose(inputs[0], attributes.get("perm"))


def _expand(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    shape = np.broadcast_shapes(inputs[0].shape, tuple(_integers(inputs[1])))
    return np.broadcast_to(inputs[0], shape)


def _tile(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    return np.tile(inputs[0], _integers(inputs[1]))


def _range(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    start, limit, delta = (np.asarray(array).reshape(()) for array in inputs)
    count = max(int(np.ceil((limit - start) / delta)), 0)
    return (start + np.arange(count, dtype=start.dtype) * delta).astype(start.dtype)


def _constant_of_shape(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    from onnx import numpy_helper

    value = attributes.get("value")
    fill = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
    return np.broadcast_to(np.asarray(fill).reshape(()), tuple(_integers(inputs[0])))


def _cast(attributes: Attributes, inputs: Sequence[Any]) -> Array | None:
    target = types.dtype_of(types.element_of_code(attributes["to"]))
    return _cast_to(inputs[0], target)


def _cast_like(attributes: Attributes, inputs: Sequence[Any]) -> Array | None:
    return _cast_to(inputs[0], inputs[1].dtype)


def _cast_to(data: Array, target: types.DType) -> Array | None:
    if not _is_plain(target):
        return None
    return data != 0 if target == np.bool_ else data.astype(target)


def _split(attributes: Attributes, inputs: Sequence[Any]) -> list[Array]:
    data, axis, sizes = inputs[0], attributes["axis"], _integers(_operand(inputs, 1))
    if not sizes:
        count = attributes["num_outputs"]
        chunk = -(-data.shape[axis] // count)
        sizes = [min(chunk, data.shape[axis] - chunk * index) for index in range(count)]
    return list(np.split(data, np.cumsum(sizes)[:-1], axis=axis))


def _divide(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    a: Array = inputs[0]
    b: Array = inputs[1]
    if a.dtype.kind not in "iu":
        return a / b
    quotient = np.abs(a) // np.abs(b)
    return np.where((a < 0) != (b < 0), -quotient, quotient).astype(a.dtype)


def _mod(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    return np.fmod(*inputs) if attributes["fmod"] else np.mod(*inputs)


def _power(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    return np.power(inputs[0], inputs[1]).astype(inputs[0].dtype)


def _clip(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    data: Array = inputs[0]
    low, high = _operand(inputs, 1), _operand(inputs, 2)
    raised: Array = data if low is None else np.maximum(data, low)
    return raised if high is None else np.minimum(raised, high)


def _where(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    return cast("Array", np.where(inputs[0], inputs[1], inputs[2]))


def _trilu(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    diagonal = _operand(inputs, 1)
    cut = np.triu if attributes["upper"] else np.tril
    return cut(inputs[0], 0 if diagonal is None else int(np.asarray(diagonal).reshape(())))


def _cumsum(attributes: Attributes, inputs: Sequence[Any]) -> Array | None:
    if attributes["exclusive"] or attributes["reverse"]:
        return None
    return np.cumsum(inputs[0], axis=int(np.asarray(inputs[1]).reshape(())), dtype=inputs[0].dtype)


def _nonzero(attributes: Attributes, inputs: Sequence[Any]) -> Array:
    return np.array(np.nonzero(inputs[0]), np.int64).reshape(inputs[0].ndim, -1)


def _unary(function: Callable[[Any], Any]) -> Evaluator:
    return lambda attributes, inputs: np.asarray(function(inputs[0])).astype(inputs[0].dtype, copy=False)


def _binary(function: Callable[[Any, Any], Any]) -> Evaluator:
    return lambda attributes, inputs: function(inputs[0], inputs[1])


def _comparison(function: Callable[[Any, Any], Any]) -> Evaluator:
    return lambda attributes, inputs: np.asarray(function(inputs[0], inputs[1])).astype(np.bool_)


def _variadic(function: Callable[[Any, Any], Any]) -> Evaluator:
    def evaluator(attributes: Attributes, inputs: Sequence[Any]) -> Array:
        result = inputs[0]
        for other in inputs[1:]:
            result = function(result, other)
        return result

    return evaluator


def _reduction(function: Callable[..., Any]) -> Evaluator:
    def evaluator(attributes: Attributes, inputs: Sequence[Any]) -> Array:
        data, axes = inputs[0], _operand(inputs, 1)
        named = _integers(axes)
        if not named and attributes["noop_with_empty_axes"]:
            return data
        made = function(data, axis=tuple(named) if named else None, keepdims=bool(attributes["keepdims"]))
        return np.asarray(made).astype(data.dtype, copy=False)

    return evaluator


_EVALUATORS: dict[str, Evaluator] = {
    "Abs": _unary(np.abs),
    "Add": _binary(np.add),
    "And": _binary(np.logical_and),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Ceil": _unary(np.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Cos": _unary(np.cos),
    "CumSum": _cumsum,
    "Div": _divide,
    "Equal": _comparison(np.equal),
    "Exp": _unary(np.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _unary(np.floor),
    "Gather": _gather,
    "Greater": _comparison(np.greater),
    "GreaterOrEqual": _comparison(np.greater_equal),
    "Identity": lambda attributes, inputs: inputs[0],
    "Less": _comparison(np.less),
    "LessOrEqual": _comparison(np.less_equal),
    "Log": _unary(np.log),
    "Max": _variadic(np.maximum),
    "Min": _variadic(np.minimum),
    "Mod": _mod,
    "Mul": _binary(np.multiply),
    "Neg": _unary(np.negative),
    "NonZero": _nonzero,
    "Not": _unary(np.logical_not),
    "Or": _binary(np.logical_or),
    "Pow": _power,
    "Range": _range,
    "Reciprocal": _unary(np.reciprocal),
    "ReduceMax": _reduction(np.max),
    "ReduceMean": _reduction(np.mean),
    "ReduceMin": _reduction(np.min),
    "ReduceProd": _reduction(np.prod),
    "ReduceSum": _reduction(np.sum),
    "Reshape": _reshape,
    "Round": _unary(np.rint),
    "Shape": _shape,
    "Sign": _unary(np.sign),
    "Sin": _unary(np.sin),
    "Size": lambda attributes, inputs: np.array(inputs[0].size, np.int64),
    "Slice": _slice,
    "Split": _split,
    "Sqrt": _unary(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _binary(np.subtract),
    "Tanh": _unary(np.tanh),
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
    "Xor": _binary(np.logical_xor),
}
