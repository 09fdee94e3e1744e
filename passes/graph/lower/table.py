"""The table of lowering rules, keyed by (domain, operator)."""

from __future__ import annotations

from collections.abc import Mapping

from ....dialects.onnx_signatures import QONNX_DOMAINS
from . import (
    activation,
    attention,
    cast,
    convolution,
    einsum,
    elementwise,
    few_bits,
    indexing,
    layout,
    matrix,
    microsoft,
    normalization,
    pooling,
    qonnx,
    quantization,
    reduction,
    rotary,
    runtime_attention,
    runtime_quantization,
    scatter,
    shape,
    spectrum,
)
from .lowering import Lowering, Rules

FAMILIES: Mapping[str, Rules] = {
    "Elementwise": (*elementwise.RULES, *cast.RULES),
    "Activation": activation.RULES,
    "Reduction": reduction.RULES,
    "Layout": layout.RULES,
    "Indexing": (*indexing.RULES, *scatter.RULES),
    "Shape": shape.RULES,
    "Matrix product": (*matrix.RULES, *einsum.RULES, *spectrum.RULES),
    "Convolution": convolution.RULES,
    "Pooling": pooling.RULES,
    "Normalization": normalization.RULES,
    "Attention": (*attention.RULES, *rotary.RULES),
    "Quantization": quantization.RULES,
    "QONNX": qonnx.RULES,
    "ONNX Runtime": (*microsoft.RULES, *few_bits.RULES, *runtime_attention.RULES, *runtime_quantization.RULES),
}
"""Rules by family, in the order of docs/operators.md."""


def _table() -> dict[tuple[str, str], type[Lowering]]:
    table: dict[tuple[str, str], type[Lowering]] = {}
    for rules in FAMILIES.values():
        for rule in rules:
            for operator in rule.operators:
                assert (rule.domain, operator) not in table, f"two rules for {operator}"
                table[rule.domain, operator] = rule
    return table


LOWERINGS: Mapping[tuple[str, str], type[Lowering]] = _table()
"""The rule for each operator that can be lowered."""


def rule_domain(domain: str) -> str:
    """The domain under which rules of a node's domain stand: QONNX has had several names."""
    return "qonnx" if domain in QONNX_DOMAINS else domain
