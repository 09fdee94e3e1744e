"""The types of results of com.microsoft and QONNX operators, which have no official schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto, TypeProto, helper

from ...dialects.onnx_signatures import QONNX_DOMAINS, normal_domain, signature
from ...isa.frozen import frozen
from .evaluate import attribute_value
from .prototypes import Extents, code_of, shape_of, tensor_proto_type
from .values import Known, Value

Types: TypeAlias = list[TypeProto | None]


@frozen
class Call:
    """A node and what is known of its inputs, by position."""

    node: NodeProto
    inputs: Sequence[Value | None]
    attributes: dict[str, Any]

    def type(self, index: int) -> TypeProto | None:
        """The type of input `index`; None if it is left out."""
        value = self.inputs[index] if index < len(self.inputs) else None
        return None if value is None else value.type

    def shape(self, index: int) -> Extents | None:
        """The extents of input `index`; None if its rank is unknown or it is left out."""
        return shape_of(self.type(index))

    def code(self, index: int) -> int:
        """The element type of input `index`; 0 if it is left out."""
        return code_of(self.type(index))

    def extent(self, index: int, axis: int) -> int | None:
        """One extent of input `index`, None if it is unknown."""
        shape = self.shape(index)
        return shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None


def contributed_types(node: NodeProto, inputs: Sequence[Value | None]) -> Types:
    """The types of the node's results, None for each that no rule here tells."""
    domain = normal_domain(node.domain)
    rule = _RULES.get(("qonnx" if domain in QONNX_DOMAINS else domain, node.op_type))
    known = signature(domain, node.op_type, 1)
    attributes: dict[str, Any] = {}
    if known is not None:
        attributes.update((n, f.default) for n, f in known.attributes.items() if f.default is not None)
    attributes.update((a.name, attribute_value(a)) for a in node.attribute if a.type != AttributeProto.GRAPH)
    made = [] if rule is None else rule(Call(node, inputs, attributes))
    return [*made, *[None] * len(node.output)][: len(node.output)]


def _like(*indices: int) -> Callable[[Call], Types]:
    """Result i has the type of input `indices[i]`."""
    return lambda call: [call.type(index) for index in indices]


def _broadcast(code_from: int, *indices: int) -> Callable[[Call], Types]:
    def rule(call: Call) -> Types:
        return [_tensor(call.code(code_from), broadcast_extents([call.shape(index) for index in indices]))]

    return rule


def broadcast_extents(shapes: Sequence[Extents | None]) -> Extents | None:
    """The extents that broadcasting gives, unknown where they depend on unknown ones."""
    if any(shape is None for shape in shapes):
        return None
    known = [shape for shape in shapes if shape is not None]
    rank = max(map(len, known), default=0)
    result: list[int | None] = []
    for axis in range(-rank, 0):
        extents = {shape[axis] for shape in known if len(shape) >= -axis} - {1}
        sizes = [extent for extent in extents if extent is not None]
        # An unknown extent beside a known one greater than 1 is that one, or 1.
        result.append(max(sizes) if sizes else None if extents else 1)
    return tuple(result)


def _tensor(code: int, shape: Extents | None) -> TypeProto | None:
    return tensor_proto_type(code, shape) if code else None


def _skip_normalization(call: Call) -> Types:
    shape = call.shape(0)
    statistics = None if shape is None else (*shape[:-1], 1)
    one = _tensor(TensorProto.FLOAT, statistics)
    return [call.type(0), one, one, call.type(0)]


def _simplified_normalization(call: Call) -> Types:
    return [call.type(0), _skip_normalization(call)[1]]


def _embed_normalization(call: Call) -> Types:
    ids, width = call.shape(0), call.extent(2, -1)
    if ids is None or len(ids) != 2:
        return [None, None, None]
    embedded = _tensor(call.code(2), (*ids, width))
    return [embedded, _tensor(TensorProto.INT32, (ids[0],)), embedded]


def _product(left: Extents | None, right: Extents | None) -> Extents | None:
    """The extents of a matrix product as numpy defines it."""
    if left is None or right is None or not left or not right:
        return None
    leading = broadcast_extents([left[:-2], right[:-2]])
    if leading is None:
        return None
    rows = left[-2:-1]
    columns = right[-1:] if len(right) > 1 else ()
    return (*leading, *rows, *columns)


def _fused_product(call: Call) -> Types:
    left, right = call.shape(0), call.shape(1)
    if left is None or right is None:
        return [_tensor(call.code(0), None)]
    sides: list[Extents] = []
    for side, name in ((left, "A"), (right, "B")):
        turned = side
        if call.attributes.get(f"transBatch{name}"):
            turned = (*turned[1:-1], turned[0], turned[-1])
        if call.attributes.get(f"trans{name}") and len(turned) > 1:
            turned = (*turned[:-2], turned[-1], turned[-2])
        sides.append(turned)
    return [_tensor(call.code(0), _product(*sides))]


def _scaled_product(code_from: int) -> Callable[[Call], Types]:
    return lambda call: [_tensor(call.code(code_from), _product(call.shape(0), call.shape(1)))]


def _packed_product(call: Call) -> Types:
    shape = call.shape(0)
    return [_tensor(call.code(0), None if shape is None else (*shape[:-1], call.attributes.get("N")))]


def _gemm(call: Call) -> Types:
    left, right = call.shape(0), call.shape(3)
    if left is None or right is None or len(left) != 2 or len(right) != 2:
        return [None]
    rows = left[1] if call.attributes["transA"] else left[0]
    columns = right[0] if call.attributes["transB"] else right[1]
    return [_tensor(call.code(0) if call.code(7) else TensorProto.FLOAT, (rows, columns))]


def _concatenation(call: Call) -> Types:
    shapes = [call.shape(index) for index in range(2, len(call.inputs), 3)]
    parts = [shape for shape in shapes if shape is not None]
    if not parts or len(parts) < len(shapes) or any(len(part) != len(parts[0]) for part in parts):
        return [None]
    first, axis = parts[0], int(call.attributes["axis"]) % len(parts[0])
    extents = [extent for part in parts if (extent := part[axis]) is not None]
    total = sum(extents) if len(extents) == len(parts) else None
    return [_tensor(call.code(2), (*first[:axis], total, *first[axis + 1 :]))]


def _attention(call: Call) -> Types:
    """`Attention` and `QAttention`: packed projections of one input."""
    shape, columns = call.shape(0), call.extent(1, -1)
    if shape is None or len(shape) != 3:
        return [None, None]
    sizes = call.attributes.get("qkv_hidden_sizes")
    width = sizes[2] if sizes else None if columns is None else columns // 3
    is_float = call.node.op_type == "Attention"
    code, past = (call.code(0), call.shape(4)) if is_float else (call.code(3), call.shape(8))
    heads: int = call.attributes["num_heads"]
    keys = _sum(shape[1], 0 if past is None else past[3])
    present = (2, shape[0], heads, keys, None if width is None else width // heads)
    return [_tensor(code, (shape[0], shape[1], width)), _tensor(code, present)]


def _sum(*extents: int | None) -> int | None:
    known = [extent for extent in extents if extent is not None]
    return sum(known) if len(known) == len(extents) else None


def _multi_head_attention(call: Call) -> Types:
    query, value = call.shape(0), call.shape(2)
    heads: int = call.attributes["num_heads"]
    if query is None:
        return [None]
    presents = [_present(call, 1, 6), _present(call, 2, 7)]
    if len(query) == 5:
        width = None if query[2] is None or query[4] is None else query[2] * query[4]
        return [_tensor(call.code(0), (query[0], query[1], width)), *presents]
    if value is not None and len(value) == 4:
        width = None if value[3] is None else value[3] * heads
    else:
        width = query[-1] if value is None else value[-1]
    return [_tensor(call.code(0), (query[0], query[1], width)), *presents]


def _present(call: Call, new: int, past: int) -> TypeProto | None:
    """The type of the keys or values, by head, of input `new` behind those of input `past`."""
    shape, before, heads = call.shape(new), call.shape(past), call.attributes["num_heads"]
    if shape is None or len(shape) not in (3, 4):
        return None
    if len(shape) == 4:
        batch, _, count, width = shape
    else:
        batch, count, width = shape
        width = None if width is None else width // heads
    total = count if before is None else _sum(count, before[2])
    return _tensor(call.code(0), (batch, heads, total, width))


def _grouped_attention(call: Call) -> Types:
    query = call.shape(0)
    if query is None or len(query) != 3:
        return [None]
    width, heads, shared = query[2], call.attributes["num_heads"], call.attributes["kv_num_heads"]
    if call.type(1) is None and width is not None:
        width = width // (heads + 2 * shared) * heads
    return [_tensor(call.code(0), (query[0], query[1], width))]


def _block_gather(call: Call) -> Types:
    data, indices = call.shape(0), call.shape(1)
    if data is None or indices is None:
        return [None]
    axis, packing = call.attributes["gather_axis"], 8 // call.attributes["bits"]
    if call.code(0) == TensorProto.UINT8 and data[-1] is not None:
        data = (*data[:-1], data[-1] * packing)
    return [_tensor(call.code(2), (*data[:axis], *indices, *data[axis + 1 :]))]


def _dynamic_product(call: Call) -> Types:
    return [_tensor(TensorProto.FLOAT, _product(call.shape(0), call.shape(1)))]


def _official(operator: str, version: int, *positions: int) -> Callable[[Call], Types]:
    """The type of an official operator that takes the inputs at `positions`."""

    def rule(call: Call) -> Types:
        from .inference import infer

        chosen = [p for p in positions if p < len(call.inputs)]
        forms = signature("", operator, version)
        kept = [a for a in call.node.attribute if forms is not None and a.name in forms.attributes]
        names = [call.node.input[p] for p in chosen]
        official = helper.make_node(operator, names, [n or f"_{i}" for i, n in enumerate(call.node.output[:1])])
        official.attribute.extend(kept)
        return infer(official, version, [call.inputs[p] for p in chosen])

    return rule


def _quantized(operator: str, version: int) -> Callable[[Call], Types]:
    """The type of an official operator that is defined for floats only, its first input quantized."""
    official = _official(operator, version, 0)

    def rule(call: Call) -> Types:
        source = call.inputs[0]
        made = [] if source is None else official(replace(call, inputs=[_as_float(source)]))
        return [_tensor(call.code(0), shape_of(proto)) for proto in made]

    return rule


def _as_float(value: Value) -> Value:
    """A value of the same shape and of float32, of which only the type counts."""
    if isinstance(value, Known):
        return replace(value, dtype=np.dtype(np.float32), array=None)
    return replace(value, type=tensor_proto_type(TensorProto.FLOAT, shape_of(value.type)))


_MICROSOFT: dict[str, Callable[[Call], Types]] = {
    "Attention": _attention,
    "BiasGelu": _like(0),
    "DequantizeLinear": lambda call: [_tensor(call.code(1), call.shape(0))],
    "DynamicQuantizeMatMul": _dynamic_product,
    "EmbedLayerNormalization": _embed_normalization,
    "FastGelu": _like(0),
    "FusedConv": _official("Conv", 22, 0, 1, 2),
    "FusedGemm": _official("Gemm", 13, 0, 1, 2),
    "FusedMatMul": _fused_product,
    "GatherBlockQuantized": _block_gather,
    "Gelu": _like(0),
    "GroupQueryAttention": _grouped_attention,
    "MatMulIntegerToFloat": _scaled_product(2),
    "MatMulNBits": _packed_product,
    "MultiHeadAttention": _multi_head_attention,
    "QAttention": _attention,
    "QGemm": _gemm,
    "QLinearAdd": _broadcast(0, 0, 3),
    "QLinearAveragePool": _quantized("AveragePool", 22),
    "QLinearConcat": _concatenation,
    "QLinearConv": _official("QLinearConv", 10, 0, 1, 2, 3, 4, 5, 6, 7, 8),
    "QLinearGlobalAveragePool": _quantized("GlobalAveragePool", 22),
    "QLinearLeakyRelu": _like(0),
    "QLinearMul": _broadcast(0, 0, 3),
    "QLinearReduceMean": _quantized("ReduceMean", 13),
    "QLinearSigmoid": _like(0),
    "QLinearSoftmax": _like(0),
    "QLinearWhere": _broadcast(1, 0, 1, 4),
    "QuantizeLinear": lambda call: [_tensor(call.code(2) or TensorProto.UINT8, call.shape(0))],
    "QuickGelu": _like(0),
    "RotaryEmbedding": _like(0),
    "SkipLayerNormalization": _skip_normalization,
    "SkipSimplifiedLayerNormalization": _skip_normalization,
    "TransposeMatMul": _fused_product,
    "Trilu": _like(0),
}
_QONNX: dict[str, Callable[[Call], Types]] = {
    "BipolarQuant": _broadcast(0, 0, 1),
    "FloatQuant": _broadcast(0, 0, 1),
    "IntQuant": _broadcast(0, 0, 1, 2),
    "Quant": _broadcast(0, 0, 1, 2),
    "Trunc": _like(0),
}
_RULES: dict[tuple[str, str], Callable[[Call], Types]] = {
    **{("com.microsoft", operator): rule for operator, rule in _MICROSOFT.items()},
    **{("qonnx", operator): rule for operator, rule in _QONNX.items()},
    ("", "SimplifiedLayerNormalization"): _simplified_normalization,
}
