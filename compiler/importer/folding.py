"""Which nodes are computed at import, and which stay although all their inputs are known.

Quantized and binarized weights stay as the model spells them: folding `DequantizeLinear(int8 weights)`, or
`Where(weights >= 0, 1, -1) * scale`, would turn them into float tables and lose what makes them small.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np
from onnx import NodeProto

from ...dialects import onnx_types as types
from ...dialects.constants import Array
from ...dialects.onnx import RANDOM_OPERATORS
from ...dialects.onnx_signatures import Signature
from .evaluate import Attributes, NotEvaluatedError, evaluate, is_direct, node_attributes
from .inference import InferenceError, infer
from .prototypes import code_of, static_shape
from .values import Constants, Known

LARGE = 1024
"""Tensors with more elements than this are taken for weights."""

EAGER = 1 << 16
"""Results of up to so many elements are computed at once, larger ones when something needs them."""

_SMALL = 1024
"""Inputs of up to so many elements make no large results, except in operators that grow them."""

_LARGEST_UNKNOWN = 1 << 22
"""Results of unknown shape are computed from up to so many elements."""

_GROWING = frozenset(
    (
        "CenterCropPad",
        "ConstantOfShape",
        "Expand",
        "EyeLike",
        "OneHot",
        "Pad",
        "Range",
        "Resize",
        "Tile",
        "Upsample",
    )
)
"""Operators whose results can be larger than their inputs tell."""

_QUANTIZERS = frozenset(
    (
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
    )
)
_REARRANGE = frozenset(
    (
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    )
)
"""Operators that move elements and do not change them."""

_COMPARE = frozenset(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"))

_DISCRETIZE = frozenset(("Ceil", "Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Round", "Sign"))
"""Operators that make few values of many: on trained weights, the first step of a quantizer or binarizer."""

_MASKED = -1000.0
"""A constant below this, chosen by a boolean table, is an attention mask and no weight."""


def initializer(name: str, array: Array) -> Known:
    """A tensor that the model holds, marked as trained or stored weights where its type and size say so."""
    dtype, large = array.dtype, array.size > LARGE
    is_plain = dtype.isbuiltin == 1
    is_wide = (is_plain and dtype.kind in "fb") or is_bfloat(dtype)
    is_narrow = (is_plain and dtype.kind in "iu" and dtype.itemsize <= 2) or not (is_plain or is_wide)
    stored = is_narrow and (large or array.ndim >= 2)
    return Known(name, array.shape, dtype, array, trained=large and is_wide, stored=stored)


def stays(operator: str, attributes: Attributes, inputs: Sequence[Known | None]) -> bool:
    """Whether a node of the default domain stays in the graph although all its inputs are known."""
    known = [value for value in inputs if value is not None]
    if operator in _QUANTIZERS or operator in RANDOM_OPERATORS:
        return True
    if operator == "Cast" or operator == "CastLike":
        to_bool = attributes.get("to") == _BOOL or (operator == "CastLike" and known[-1].dtype == np.bool_)
        return (known[0].stored and not to_bool) or (known[0].trained and _narrows(attributes))
    if any(value.stored for value in known):
        return operator not in _REARRANGE and operator not in _COMPARE and operator not in ("Shape", "Size")
    if any(value.trained for value in known) and operator in _DISCRETIZE:
        return True
    return operator == "Where" and _chooses_weights(known)


def fold(node: NodeProto, form: Signature, inputs: Sequence[Known | None], constants: Constants) -> list[Known] | None:
    """What a node of the default domain makes of known inputs; None if it stays in the graph."""
    attributes = node_attributes(node, form)
    if stays(node.op_type, attributes, inputs):
        return None
    if node.op_type == "Identity" and inputs[0] is not None:
        return [inputs[0]]
    trained, stored = marks(node.op_type, inputs)
    known = [value for value in inputs if value is not None]
    taken = sum(value.elements for value in known)
    if taken > _SMALL or node.op_type in _GROWING:
        expected = _expected(node, form, inputs)
        if expected is None and taken > _LARGEST_UNKNOWN:
            return None
        if expected is not None and max(prod(shape) for shape, _ in expected) > EAGER:
            made = [
                Known(name, shape, dtype, None, trained, stored)
                for name, (shape, dtype) in zip(node.output, expected, strict=True)
            ]
            return _later(node, form, inputs, made, constants)
    try:
        arrays = evaluate(node, form, [None if value is None else constants.array(value) for value in inputs])
    except NotEvaluatedError:
        return None
    return [
        Known(name, array.shape, array.dtype, array, trained, stored)
        for name, array in zip(node.output, arrays, strict=True)
    ]


def _later(
    node: NodeProto,
    form: Signature,
    inputs: Sequence[Known | None],
    made: Sequence[Known],
    constants: Constants,
) -> list[Known] | None:
    """The results of a node that are computed when something needs them."""
    known = tuple(value for value in inputs if value is not None)
    if not is_direct(node, [value.dtype for value in (*known, *made)]):
        return None

    def result(index: int, *arrays: Array) -> Array:
        given = iter(arrays)
        return evaluate(node, form, [None if value is None else next(given) for value in inputs])[index]

    return [constants.derive(like.key, partial(result, index), known, like) for index, like in enumerate(made)]


def _expected(
    node: NodeProto, form: Signature, inputs: Sequence[Known | None]
) -> list[tuple[tuple[int, ...], types.DType]] | None:
    """The shapes and dtypes of the node's results; None if they depend on more than small inputs."""
    try:
        inferred = infer(node, form.since, inputs)
    except InferenceError:
        return None
    expected: list[tuple[tuple[int, ...], types.DType]] = []
    for proto in inferred:
        shape, element = static_shape(proto), types.element_of_code(code_of(proto))
        if shape is None or isinstance(element, types.UnknownType):
            return None
        expected.append((shape, types.dtype_of(element)))
    return expected


def marks(operator: str, inputs: Sequence[Known | None]) -> tuple[bool, bool]:
    """The (trained, stored) marks of what a folded node makes of its inputs."""
    known = [value for value in inputs if value is not None]
    if operator in ("Shape", "Size") or operator in _COMPARE:
        return False, False
    trained = any(value.trained for value in known)
    return trained, operator in _REARRANGE and known[0].stored


_BOOL = 9
_FLOATS = frozenset((1, 10, 11, 16))
"""ONNX's codes of bool, and of float, float16, double and bfloat16."""


def _narrows(attributes: Attributes) -> bool:
    return attributes.get("to") not in _FLOATS


def is_bfloat(dtype: types.DType) -> bool:
    """Whether elements are bfloat16: the one format beyond numpy's own that is as wide as a float."""
    return dtype.name == "bfloat16"


def _chooses_weights(inputs: Sequence[Known]) -> bool:
    """Whether a `Where` over a large boolean table makes weights of it, not a mask."""
    condition, *branches = inputs
    if condition.dtype != np.bool_ or condition.elements <= LARGE or not condition.trained:
        return False
    scalars = [float(np.asarray(b.array).reshape(())) for b in branches if b.elements == 1 and b.array is not None]
    return not any(scalar < _MASKED for scalar in scalars)
