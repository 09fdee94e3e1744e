"""The `sattn` dialect: attention as one operation, whose form (dense now; patterns, pruned and linear later)
is decided level by level."""

from __future__ import annotations

from math import isfinite
from typing import TypeAlias

from xdsl.dialects.builtin import UnitAttr, bf16, f16, f32, i1, i8, i32
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import Dialect, Operation, SpacedOpaqueSyntaxAttribute, SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
    result_def,
)
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum

from . import shapes
from .elements import Element, element_type, is_float, shape_of, tensor
from .nn import FLOATS, INTEGER, REAL, EmptyRow, EmptyRowAttr, NnOperation, integer, real, tensors_of

Value: TypeAlias = SSAValue | Operation

OPERAND = tensors_of(f32, f16, bf16, i8)
MASK = tensors_of(f32, f16, bf16, i1)
FACTOR = tensors_of(f32)


class Form(StrEnum):
    """How an attention is computed."""

    DENSE = "dense"


@irdl_attr_definition
class FormAttr(EnumAttribute[Form], SpacedOpaqueSyntaxAttribute):
    """`dense`: every score is computed."""

    name = "sattn.form"


@irdl_op_definition
class AttentionOp(NnOperation):
    """Scaled dot-product attention: for queries [B, H, Lq, Dk], keys [B, Hkv, Lk, Dk] and values [B, Hkv, Lk,
    Dv] gives [B, H, Lq, Dv]. Query head h uses key and value head h // (H / Hkv).

    scores = q @ k^T * scale, in float32; with `softcap` c: c * tanh(scores / c). Then a float `mask` is
    added, or where an i1 `mask` is false the score becomes `fill` (-inf unless given); with `causal`, query i
    sees key j only if j <= i + `offset`, other scores become `fill` likewise. Softmax over keys, then @ v:
    weights exp(score - maximum) are rounded to the format of v, and the product is divided by their sum.
    `empty_row` says what a row without any key to see gives: `nan` as IEEE does, `zero` (every NaN of the
    softmax becomes 0, the exporters' IsNaN guard), or `uniform`, which goes with a finite `fill`.

    int8 operands carry their dequantization factors, f32: `q_scale` [B, H, Lq, 1] and `k_scale` [B, Hkv, Lk, 1] for the
    scores, `v_scale` [B, Hkv, 1, Dv] for the output, each or its broadcastable reduction to extents of 1. Probabilities
    are then requantized to int8 for the product with v: by 127 times a row's greatest (with a `key_block`, so many keys
    after the other: by 127 times the greatest so far, so that no row need be known to its end), or where `p_scale` is
    given as saturate(rint(p / p_scale) + p_zero_point), NaN counting as 0. `v_offset` i32 [B, Hkv, 1, Dv] is taken off
    that product before it is scaled: p_zero_point times the sums of v over the keys. Where int8 0 does not stand for 0,
    `q_offset` i32 [B, H, Lq, 1] and `k_offset` i32 [B, Hkv, Lk, 1] are taken off q @ k^T before it is scaled, and
    `v_zero_point` times the sum of a row's int8 probabilities off their product with v.

    ```
    %3 = sattn.attention q %0 k %1 v %2 scale 2.500000e-01
         : (tensor<1x4x17x16xf32>, tensor<1x4x17x16xf32>, tensor<1x4x17x16xf32>) -> tensor<1x4x17x16xf32>
    %5 = sattn.attention q %0 k %1 v %2 mask %4 : tensor<1x1x17x17xf32> scale 2.500000e-01 empty_row zero
         : (tensor<1x4x17x16xf32>, tensor<1x2x17x16xf32>, tensor<1x2x17x16xf32>) -> tensor<1x4x17x16xf32>
    %6 = sattn.attention q %0 k %1 v %2 scale 2.500000e-01 causal
         : (tensor<1x4x17x16xf32>, tensor<1x4x17x16xf32>, tensor<1x4x17x16xf32>) -> tensor<1x4x17x16xf32>
    ```
    """

    name = "sattn.attention"
    q = operand_def(OPERAND)
    k = operand_def(OPERAND)
    v = operand_def(OPERAND)
    mask = opt_operand_def(MASK)
    q_scale = opt_operand_def(FACTOR)
    k_scale = opt_operand_def(FACTOR)
    v_scale = opt_operand_def(FACTOR)
    p_scale = opt_operand_def(FACTOR)
    v_offset = opt_operand_def(tensors_of(i32))
    q_offset = opt_operand_def(tensors_of(i32))
    k_offset = opt_operand_def(tensors_of(i32))
    p_zero_point = prop_def(INTEGER, default_value=integer(0))
    v_zero_point = prop_def(INTEGER, default_value=integer(0))
    key_block = prop_def(INTEGER, default_value=integer(0))
    form = prop_def(FormAttr, default_value=FormAttr(Form.DENSE))
    scale = prop_def(REAL)
    causal = opt_prop_def(UnitAttr)
    causal_offset = prop_def(INTEGER, default_value=integer(0))
    fill = prop_def(REAL, default_value=real(float("-inf")))
    softcap = opt_prop_def(REAL)
    empty_row = prop_def(EmptyRowAttr, default_value=EmptyRowAttr(EmptyRow.NAN))
    result = result_def(FLOATS)
    irdl_options = (AttrSizedOperandSegments(as_property=True),)
    assembly_format = (
        "`q` $q `k` $k `v` $v (`mask` $mask^ `:` type($mask))? (`q_scale` $q_scale^ `:` type($q_scale))?"
        " (`k_scale` $k_scale^ `:` type($k_scale))? (`v_scale` $v_scale^ `:` type($v_scale))?"
        " (`p_scale` $p_scale^ `:` type($p_scale))? (`p_zero_point` $p_zero_point^)?"
        " (`v_offset` $v_offset^ `:` type($v_offset))? (`q_offset` $q_offset^ `:` type($q_offset))?"
        " (`k_offset` $k_offset^ `:` type($k_offset))? (`v_zero_point` $v_zero_point^)?"
        " (`key_block` $key_block^)? (`form` $form^)? `scale` $scale"
        " (`causal` $causal^)? (`offset` $causal_offset^)? (`fill` $fill^)? (`softcap` $softcap^)?"
        " (`empty_row` $empty_row^)? attr-dict `:` `(` type($q) `,` type($k) `,` type($v) `)` `->` type($result)"
    )

    def __init__(
        self,
        q: Value,
        k: Value,
        v: Value,
        mask: Value | None = None,
        *,
        scale: float,
        causal: bool = False,
        causal_offset: int = 0,
        fill: float = float("-inf"),
        softcap: float | None = None,
        empty_row: EmptyRow = EmptyRow.NAN,
        q_scale: Value | None = None,
        k_scale: Value | None = None,
        v_scale: Value | None = None,
        p_scale: Value | None = None,
        p_zero_point: int = 0,
        v_offset: Value | None = None,
        q_offset: Value | None = None,
        k_offset: Value | None = None,
        v_zero_point: int = 0,
        key_block: int = 0,
        element: Element | None = None,
    ):
        queries, keys, values = SSAValue.get(q), SSAValue.get(k), SSAValue.get(v)
        given = (mask, q_scale, k_scale, v_scale, p_scale, v_offset, q_offset, k_offset)
        optional = [None if x is None else SSAValue.get(x) for x in given]
        if element is None:
            element = f32 if element_type(queries) == i8 else element_type(queries)
        super().__init__(
            operands=[queries, keys, values, *optional],
            properties={
                "p_zero_point": integer(p_zero_point),
                "v_zero_point": integer(v_zero_point),
                "key_block": integer(key_block),
                "form": FormAttr(Form.DENSE),
                "scale": real(scale),
                "causal": UnitAttr() if causal else None,
                "causal_offset": integer(causal_offset),
                "fill": real(fill),
                "softcap": None if softcap is None else real(softcap),
                "empty_row": EmptyRowAttr(empty_row),
            },
            result_types=[tensor(element, *shape_of(queries)[:3], shape_of(values)[3])],
        )

    @property
    def extents(self) -> tuple[int, int, int, int, int, int, int]:
        """(B, H, Hkv, Lq, Lk, Dk, Dv)."""
        batch, heads, queries, key_width = shape_of(self.q)
        _, groups, keys, value_width = shape_of(self.v)
        return batch, heads, groups, queries, keys, key_width, value_width

    def verify_(self) -> None:
        """Shapes fit as the docstring says; empty rows are uniform only if the fill is finite; int8 operands
        have their factors and floats have none."""
        if self.empty_row.data == EmptyRow.UNIFORM and not isfinite(self.fill.value.data):
            raise VerifyException(f"a fill of {self.fill.value.data} makes no row uniform")
        for value, what in ((self.q, "q"), (self.k, "k"), (self.v, "v"), (self.result, "result")):
            if len(shape_of(value)) != 4:
                raise VerifyException(
                    f"{what} has the axes [batch, heads, rows, width], got {shapes.dims(shape_of(value))}"
                )
        batch, heads, groups, queries, keys, key_width, value_width = self.extents
        if shape_of(self.k) != (batch, groups, keys, key_width):
            expected = shapes.dims((batch, groups, keys, key_width))
            raise VerifyException(f"k is {shapes.dims(shape_of(self.k))}, expected {expected}")
        if shape_of(self.v)[0] != batch or groups == 0 or heads % groups:
            raise VerifyException(f"{heads} query heads do not share {groups} key heads of batch {shape_of(self.v)[0]}")
        if shape_of(self.result) != (batch, heads, queries, value_width):
            raise VerifyException(f"result is {shapes.dims(shape_of(self.result))}")
        for value, target, what in (
            (self.mask, (batch, heads, queries, keys), "mask"),
            (self.q_scale, (batch, heads, queries, 1), "q_scale"),
            (self.k_scale, (batch, groups, keys, 1), "k_scale"),
            (self.v_scale, (batch, groups, 1, value_width), "v_scale"),
            (self.p_scale, (batch, heads, queries, 1), "p_scale"),
            (self.v_offset, (batch, groups, 1, value_width), "v_offset"),
            (self.q_offset, (batch, heads, queries, 1), "q_offset"),
            (self.k_offset, (batch, groups, keys, 1), "k_offset"),
        ):
            if value is not None and not shapes.broadcasts_to(shape_of(value), target):
                raise VerifyException(
                    f"{what} {shapes.dims(shape_of(value))} does not stretch to {shapes.dims(target)}"
                )
        if element_type(self.q) != element_type(self.k):
            raise VerifyException(f"q is {element_type(self.q)}, k is {element_type(self.k)}")
        if (element_type(self.q) == i8) != (self.q_scale is not None and self.k_scale is not None):
            raise VerifyException("q_scale and k_scale come with int8 q and k, and only with them")
        if (element_type(self.v) == i8) != (self.v_scale is not None):
            raise VerifyException("v_scale comes with int8 v, and only with it")
        if self.p_scale is not None and element_type(self.v) != i8:
            raise VerifyException("p_scale comes with int8 v only")
        zeros = [point.value.data for point in (self.p_zero_point, self.v_zero_point)]
        for zero in zeros:
            if not -128 <= zero <= 127:
                raise VerifyException(f"a zero point of {zero} is no int8")
        if (any(zeros) or self.v_offset is not None) and self.p_scale is None:
            raise VerifyException("p_zero_point, v_zero_point and v_offset come with p_scale only")
        if (self.q_offset is not None or self.k_offset is not None) and self.q_scale is None:
            raise VerifyException("q_offset and k_offset come with int8 q and k only")
        key_block = self.key_block.value.data
        if key_block < 0 or (key_block and (self.p_scale is not None or element_type(self.v) != i8)):
            raise VerifyException("key_block comes with int8 v without p_scale only")
        if (
            is_float(element_type(self.q))
            and is_float(element_type(self.v))
            and element_type(self.q) != element_type(self.v)
        ):
            raise VerifyException(f"q is {element_type(self.q)}, v is {element_type(self.v)}")


Sattn = Dialect("sattn", [AttentionOp], [FormAttr])
