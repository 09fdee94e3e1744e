"""What operators take: the official schemas, and a table of com.microsoft and QONNX operators beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from functools import cache
from typing import Any, TypeAlias

from ..isa.frozen import frozen

Value: TypeAlias = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
"""A plain attribute value; tensors, graphs and types are not plain."""

QONNX_DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
"""Domains under which exporters have written the QONNX quantizers."""


class Option(Enum):
    """How often a formal parameter occurs."""

    SINGLE = "single"
    OPTIONAL = "optional"
    VARIADIC = "variadic"


@frozen
class Formal:
    """A formal input or output."""

    name: str
    option: Option = Option.SINGLE


@frozen
class AttributeForm:
    """An attribute of an operator: ONNX's kind (`INT`, `TENSOR`, ...), and its default, None without one."""

    name: str
    kind: str
    required: bool = False
    default: Value | None = None


@frozen
class Signature:
    """An operator's form: inputs, outputs and attributes; `since` is the version that brought this form."""

    domain: str
    operator: str
    since: int
    inputs: tuple[Formal, ...]
    outputs: tuple[Formal, ...]
    attributes: Mapping[str, AttributeForm] = field(default_factory=dict[str, AttributeForm])
    deprecated: bool = False

    def input_index(self, name: str) -> int:
        """The position of the input called `name`. Raises KeyError naming the inputs that there are."""
        for index, formal in enumerate(self.inputs):
            if formal.name == name:
                return index
        names = ", ".join(formal.name for formal in self.inputs)
        raise KeyError(f"{self.operator} has no input {name!r}; it has {names}")


def normal_domain(domain: str) -> str:
    """The domain as the IR spells it: the default one is empty."""
    return "" if domain == "ai.onnx" else domain


@cache
def signature(domain: str, operator: str, opset: int) -> Signature | None:
    """The form of an operator as of an opset version of its domain; None if nothing here knows it."""
    from onnx import defs

    domain = normal_domain(domain)
    if defs.has(operator, opset, domain):
        return _from_schema(defs.get_schema(operator, opset, domain))
    family = "qonnx" if domain in QONNX_DOMAINS else domain
    text = _CONTRIBUTED.get((family, operator))
    return None if text is None else _from_text(domain, operator, text)


@cache
def newest(operator: str) -> Signature | None:
    """The newest form of an operator of ONNX's own; None for one that it does not have."""
    from onnx import defs

    version = defs.onnx_opset_version()
    return _from_schema(defs.get_schema(operator, version, "")) if defs.has(operator, version, "") else None


MEANING_SINCE: Mapping[str, int] = {
    "BatchNormalization": 14,
    "Clip": 11,
    "DFT": 20,
    "Dropout": 12,
    "GridSample": 20,
    "GroupNormalization": 21,
    "Hardmax": 13,
    "LogSoftmax": 13,
    "Pad": 11,
    "ReduceL1": 18,
    "ReduceL2": 18,
    "ReduceLogSum": 18,
    "ReduceLogSumExp": 18,
    "ReduceMax": 18,
    "ReduceMean": 18,
    "ReduceMin": 18,
    "ReduceProd": 18,
    "ReduceSum": 13,
    "ReduceSumSquare": 18,
    "Resize": 13,
    "RoiAlign": 16,
    "Scan": 9,
    "Scatter": 12,
    "Slice": 10,
    "Softmax": 13,
    "Split": 18,
    "Squeeze": 13,
    "TopK": 10,
    "Unsqueeze": 13,
    "Upsample": 11,
}
"""From which version on an operator's nodes say the same as in its newest form, letter for letter; operators
that are not listed have done so since opset 7."""


def _from_schema(schema: Any) -> Signature:
    def formals(parameters: Any) -> tuple[Formal, ...]:
        return tuple(Formal(p.name, Option(p.option.name.lower())) for p in parameters)

    return Signature(
        normal_domain(schema.domain),
        schema.name,
        schema.since_version,
        formals(schema.inputs),
        formals(schema.outputs),
        {
            name: AttributeForm(name, a.type.name, a.required, _default(a.default_value))
            for name, a in schema.attributes.items()
        },
        schema.deprecated,
    )


def _default(proto: Any) -> Value | None:
    """The value of an `AttributeProto` that holds a schema's default."""
    match proto.type:
        case 1:
            return proto.f
        case 2:
            return proto.i
        case 3:
            return proto.s.decode()
        case 6:
            return tuple(proto.floats)
        case 7:
            return tuple(proto.ints)
        case 8:
            return tuple(text.decode() for text in proto.strings)
        case _:
            return None


def _from_text(domain: str, operator: str, text: str) -> Signature:
    """Read `a b? c* -> y; axis=1, epsilon=0.5, K!` (`?` optional, `*` variadic, `!` required integer)."""
    parameters, _, attributes = text.partition(";")
    inputs, _, outputs = parameters.partition("->")

    def formals(words: str) -> tuple[Formal, ...]:
        options = {"?": Option.OPTIONAL, "*": Option.VARIADIC}
        return tuple(Formal(w.rstrip("?*"), options.get(w[-1], Option.SINGLE)) for w in words.split())

    forms: dict[str, AttributeForm] = {}
    for word in attributes.split(","):
        name, _, default = word.strip().partition("=")
        if name.endswith("!"):
            forms[name[:-1]] = AttributeForm(name[:-1], "INT", required=True)
        elif name.endswith(":ints"):
            forms[name[:-5]] = AttributeForm(name[:-5], "INTS")
        elif name and (default.lstrip("-").isdigit() or not default):
            forms[name] = AttributeForm(name, "INT", default=int(default) if default else None)
        elif name and default[0].isalpha():
            forms[name] = AttributeForm(name, "STRING", default=default)
        elif name:
            forms[name] = AttributeForm(name, "FLOAT", default=float(default))
    return Signature(domain, operator, 1, formals(inputs), formals(outputs), forms)


_LINEAR = "A A_scale A_zero_point? B B_scale B_zero_point? C_scale C_zero_point? -> C"
_LINEAR_UNARY = "X X_scale X_zero_point? Y_scale Y_zero_point? -> Y"

_CONTRIBUTED: dict[tuple[str, str], str] = {
    # https://github.com/fastmachinelearning/qonnx/tree/main/docs/qonnx-custom-ops
    ("qonnx", "Quant"): "X scale zeropt bitwidth -> Y; signed=1, narrow=0, rounding_mode=ROUND",
    ("qonnx", "IntQuant"): "X scale zeropt bitwidth -> Y; signed=1, narrow=0, rounding_mode=ROUND",
    ("qonnx", "BipolarQuant"): "X scale -> Y",
    ("qonnx", "Trunc"): "X scale zeropt in_bitwidth out_bitwidth_or_scale out_bitwidth? -> Y;"
    " rounding_mode=FLOOR, signed=1, narrow=0",
    ("qonnx", "FloatQuant"): "X scale exponent_bitwidth mantissa_bitwidth exponent_bias max_val? -> Y;"
    " has_inf=0, has_nan=0, has_subnormal=1, saturation=1, rounding_mode=ROUND",
    # https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
    ("com.microsoft", "Attention"): "input weights bias? mask_index? past? attention_bias?"
    " past_sequence_length? -> output present?; num_heads!, unidirectional=0, scale=0.0,"
    " mask_filter_value=-10000.0, do_rotary=0, rotary_embedding_dim=0, past_present_share_buffer,"
    " qkv_hidden_sizes:ints",
    ("com.microsoft", "BiasGelu"): "A B -> C",
    ("com.microsoft", "DequantizeLinear"): "x x_scale x_zero_point? -> y; axis=1, block_size=0",
    ("com.microsoft", "DynamicQuantizeMatMul"): "A B b_scale b_zero_point? bias? -> Y",
    ("com.microsoft", "EmbedLayerNormalization"): "input_ids segment_ids? word_embedding"
    " position_embedding segment_embedding? gamma beta mask? position_ids? -> output mask_index?"
    " embedding_sum?; epsilon=1.0e-12, mask_index_type=1",
    ("com.microsoft", "FastGelu"): "X bias? -> Y",
    ("com.microsoft", "FusedConv"): "X W B? Z? -> Y; auto_pad=NOTSET, group=1, activation=None,"
    " kernel_shape:ints, pads:ints, strides:ints, dilations:ints",
    ("com.microsoft", "FusedGemm"): "A B C? -> Y; transA=0, transB=0, alpha=1.0, beta=1.0, activation=None",
    ("com.microsoft", "FusedMatMul"): "A B -> Y; transA=0, transB=0, transBatchA=0, transBatchB=0, alpha=1.0",
    ("com.microsoft", "GatherBlockQuantized"): "data indices scales zero_points? -> output;"
    " gather_axis=0, quantize_axis=1, block_size=128, bits=4",
    ("com.microsoft", "Gelu"): "X -> Y",
    ("com.microsoft", "GroupQueryAttention"): "query key? value? past_key? past_value? seqlens_k"
    " total_sequence_length cos_cache? sin_cache? position_ids? attention_bias? head_sink? -> output"
    " present_key? present_value? output_qk?; num_heads!, kv_num_heads!, scale=0.0, softcap=0.0,"
    " local_window_size=-1, do_rotary=0, rotary_interleaved=0, smooth_softmax=-1, qk_output=0",
    ("com.microsoft", "MatMulIntegerToFloat"): "A B a_scale b_scale a_zero_point? b_zero_point? bias? -> Y",
    ("com.microsoft", "MatMulNBits"): "A B scales zero_points? g_idx? bias? -> Y; K!, N!, bits=4,"
    " block_size!, accuracy_level=0",
    ("com.microsoft", "MultiHeadAttention"): "query key? value? bias? key_padding_mask? attention_bias?"
    " past_key? past_value? past_sequence_length? cache_indirection? -> output present_key?"
    " present_value? qk?; num_heads!, scale=0.0, mask_filter_value=-10000.0, unidirectional=0",
    ("com.microsoft", "QAttention"): "input weight bias input_scale weight_scale mask_index?"
    " input_zero_point? weight_zero_point? past? -> output present?; num_heads!, unidirectional=0,"
    " do_rotary=0, scale=0.0, mask_filter_value=-10000.0",
    ("com.microsoft", "QGemm"): "A a_scale a_zero_point B b_scale b_zero_point C? y_scale? y_zero_point?"
    " -> Y; transA=0, transB=0, alpha=1.0",
    ("com.microsoft", "QLinearAdd"): _LINEAR,
    ("com.microsoft", "QLinearAveragePool"): "X x_scale x_zero_point? y_scale y_zero_point? -> Y;"
    " auto_pad=NOTSET, ceil_mode=0, count_include_pad=0, channels_last=0, kernel_shape:ints,"
    " pads:ints, strides:ints",
    ("com.microsoft", "QLinearConcat"): "Y_scale Y_zero_point inputs* -> Y; axis!",
    ("com.microsoft", "QLinearConv"): "x x_scale x_zero_point w w_scale w_zero_point y_scale y_zero_point"
    " B? -> y; auto_pad=NOTSET, group=1, channels_last=0, kernel_shape:ints, pads:ints, strides:ints,"
    " dilations:ints",
    ("com.microsoft", "QLinearGlobalAveragePool"): "X x_scale x_zero_point y_scale y_zero_point -> Y; channels_last=0",
    ("com.microsoft", "QLinearLeakyRelu"): f"{_LINEAR_UNARY}; alpha=0.01",
    ("com.microsoft", "QLinearMul"): _LINEAR,
    ("com.microsoft", "QLinearReduceMean"): "data data_scale data_zero_point? reduced_scale"
    " reduced_zero_point? -> reduced; axes:ints, keepdims=1",
    ("com.microsoft", "QLinearSigmoid"): _LINEAR_UNARY,
    ("com.microsoft", "QLinearSoftmax"): f"{_LINEAR_UNARY}; axis=-1, opset!",
    ("com.microsoft", "QLinearWhere"): "condition X x_scale x_zero_point Y y_scale y_zero_point z_scale"
    " z_zero_point -> Z",
    ("com.microsoft", "QuantizeLinear"): "x y_scale y_zero_point? -> y; axis=1, saturate=1",
    ("com.microsoft", "QuickGelu"): "X -> Y; alpha=1.702",
    ("com.microsoft", "RotaryEmbedding"): "input position_ids cos_cache sin_cache -> output;"
    " interleaved=0, num_heads=0, rotary_embedding_dim=0, is_packed_batching=0, scale=1.0",
    ("com.microsoft", "SkipLayerNormalization"): "input skip gamma beta? bias? -> output mean?"
    " inv_std_var? input_skip_bias_sum?; epsilon=1.0e-12",
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): "input skip gamma bias? -> output mean?"
    " inv_std_var? input_skip_bias_sum?; epsilon=1.0e-12",
    ("com.microsoft", "TransposeMatMul"): "A B -> Y; transA=0, transB=0, alpha=1.0",
    ("com.microsoft", "Trilu"): "X k? -> Y; upper=1",
    # ONNX Runtime's optimizer writes this one into the default domain.
    ("", "SimplifiedLayerNormalization"): "X scale -> Y inv_std_var?; axis=-1, epsilon=1.0e-05, stash_type=1",
}
