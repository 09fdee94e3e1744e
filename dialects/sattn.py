"""The `sattn` dialect: attention as one operation, whose `form` says what of it is computed.

A form is a name with parameters (`window:64`), told and defined by one file of `dialects/forms`: which keys a query
sees whatever the data (patterns, which unite), which scores stay (pruning), or other arithmetic in the softmax's place
(linear). The attribute, its verifier and the operation's meaning ask `forms.registry` and know no form by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, prod
from typing import TypeAlias

import numpy as np
from xdsl.dialects.builtin import DenseArrayBase, IntegerType, UnitAttr, bf16, f16, f32, i1, i8, i32, i64
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import Data, Dialect, Operation, SpacedOpaqueSyntaxAttribute, SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    opt_result_def,
    prop_def,
    result_def,
)
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum

from ..isa.errors import UsageError
from . import shapes
from .bnn import mode_of
from .bnn_types import uint2, uint4, unipolar
from .constants import Array
from .elements import PACKED, Element, element_type, is_float, is_packed, shape_of, tensor
from .forms.bitmap import Bitmap
from .forms.dense import Dense
from .forms.form import Tokens
from .forms.progressive import Progressive
from .forms.pruning import Pruning
from .forms.registry import Union
from .forms.work import Extents, Work
from .key_runs import KeyRuns
from .nn import FLOATS, INTEGER, REAL, EmptyRow, EmptyRowAttr, NnOperation, integer, real, tensors_of

Value: TypeAlias = SSAValue | Operation

OPERAND = tensors_of(f32, f16, bf16, i8, *PACKED)
MASK = tensors_of(f32, f16, bf16, i1)
FACTOR = tensors_of(f32)


DENSE = Union((Dense(),))

MEAN_MAP = "mean_map"
"""The attribute, a `RefAttr` to float32 [heads, Lq, Lk], of an attention whose weights were averaged over samples."""

HEADS = "heads"
"""The attribute, a `DenseArrayBase` of two numbers, of an attention of some of the heads that the model's has: the
first of them, and how many there are in all."""

LOWERED_FORM = "form"
"""The attribute, a `FormAttr`, of the operation that gives the result of an attention of a linear form."""


def heads_attribute(first: int, count: int) -> DenseArrayBase[IntegerType]:
    """The value of `HEADS`."""
    return DenseArrayBase.from_list(i64, [first, count])


@irdl_attr_definition
class FormAttr(Data[tuple[Union, ...]], SpacedOpaqueSyntaxAttribute):
    """The form of all heads, or one for each: `"window:64,global:1"` or `["window:64", "dense"]`."""

    name = "sattn.form"

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> tuple[Union, ...]:
        texts = parser.parse_optional_comma_separated_list(parser.Delimiter.SQUARE, parser.parse_str_literal)
        position = parser.pos
        try:
            return tuple(map(Union.parse, [parser.parse_str_literal()] if texts is None else texts))
        except UsageError as error:
            parser.raise_error(str(error), position)

    def print_parameter(self, printer: Printer) -> None:
        if len(self.data) == 1:
            printer.print_string_literal(str(self.data[0]))
            return
        with printer.in_square_brackets():
            printer.print_list(self.data, lambda form: printer.print_string_literal(str(form)))

    @property
    def is_dense(self) -> bool:
        """Whether every head sees every key."""
        return all(form == DENSE for form in self.data)

    @property
    def pruning(self) -> Pruning | None:
        """The form of all heads that keeps scores by their values; None where they have others."""
        first = self.data[0].forms[0]
        return first if isinstance(first, Pruning) else None

    @property
    def progressive(self) -> Progressive | None:
        """The form of all heads that takes keys by their high and low bits; None where they have others."""
        first = self.data[0].forms[0]
        return first if isinstance(first, Progressive) else None

    @property
    def text(self) -> str:
        """The forms as a person reads them."""
        return "; ".join(map(str, self.data))


class Weights(StrEnum):
    """What the values are weighted by."""

    SOFTMAX = "softmax"
    LOG_SOFTMAX = "log_softmax"
    SCORES = "scores"


@irdl_attr_definition
class WeightsAttr(EnumAttribute[Weights], SpacedOpaqueSyntaxAttribute):
    """`softmax` of the scores, its logarithm, or the `scores` themselves."""

    name = "sattn.weights"


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
    `bounded` says that no score that is shown exceeds 64 in magnitude: weights then are exp(score) over their sum,
    which neither overflows nor loses digits, and no maximum is taken off. It comes with p_scale or p_thresholds.

    `form` is that of all heads, or one a head. What a pattern does not show is absent from the softmax, whatever masks
    and `fill` say; a row to which it shows nothing gives zeros, NaN where `empty_row` is `nan`. i1 `pattern`
    [1, 1 or H, Lq, Lk] is the constant that the form `bitmap` shows. With `order` i32 [L], where L = Lq = Lk, tokens
    stand in another order than the one that patterns and their constant speak of: place i holds token order[i]; no mask
    and no `causal` then hides scores by their places. What a pruning (`forms.pruning`) does not keep is
    absent likewise, or has weights of zero after the softmax; `q_scale` and `k_scale` apply to predicted scores too.

    The form progressive goes with int8 queries and keys. Without `k_low`, k is whole; with it, k holds the high bits
    and `k_low`, of its shape, the low ones, from 0 up: the whole key, which `k_scale` brings back, is
    k 2^low_bits + k_low.

    int8 operands carry their dequantization factors, f32: `q_scale` [B, H, Lq, 1] and `k_scale` [B, Hkv, Lk, 1] for the
    scores, `v_scale` [B, Hkv, 1, Dv] for the output, each or its broadcastable reduction to extents of 1. Probabilities
    p are then requantized to int8 levels for the product with v, in one of three ways.

    - By 127 times a row's greatest; with a `key_block`, so many keys after the other: by 127 times the greatest so far,
      so that no row need be known to its end.
    - `p_scale` [B, H, Lq, 1]: saturate(rint(p / p_scale) + p_zero_point), NaN counting as 0. `v_offset` i32
      [B, Hkv, 1, Dv] is taken off the product before it is scaled: p_zero_point times the sums of v over the keys.
      `p_levels` clamps to 0 up to that level; without it, to int8.
    - `p_thresholds` [B, H, Lq, `p_levels`], ascending and above 0: the level is how many of them are no greater than p,
      none where p is NaN. With `weights scores` p are the scores themselves, and there is no softmax (BiBERT's boolean
      attention; Qin et al., 2022). With `weights log_softmax` a score is compared with log(sum of exp(score)) +
      log(threshold) in place of the softmax with the threshold: a reassociation, by which a weight within rounding of a
      tie may fall to the other side.

    In the last two `v_scale` brings the whole product back, the scale of the levels included. Where int8 0 does not
    stand for 0, `q_offset` i32 [B, H, Lq, 1] and `k_offset` i32 [B, Hkv, Lk, 1] are taken off q @ k^T before it is
    scaled, and `v_zero_point` times the sum of a row's int8 probabilities off their product with v.

    With `count`, i32 of one element and at least 1, there are no more than so many tokens: keys from that place on are
    absent from every softmax, sum and `importance`, and what the queries from there on give is nobody's business.

    With `importance`, f32 [B, Lk], every key's sum of the probabilities that the values are multiplied with, over heads
    and queries, is another result: weights as they are rounded, over their row's sum, before a form prunes some behind
    the softmax; a row that sees nothing counts as zeros. It comes with weights that a row makes itself, of all keys at
    once.

    Operands of few levels are as int8 ones: packed keys with packed or int8 queries, both along Dk; packed values
    [B, Hkv, Dv, Lk], along the tokens that they are summed over, with 1 to 15 `p_levels`, which are packed too.

    ```
    %3 = sattn.attention q %0 k %1 v %2 scale 2.500000e-01
         : (tensor<1x4x17x16xf32>, tensor<1x4x17x16xf32>, tensor<1x4x17x16xf32>) -> tensor<1x4x17x16xf32>
    %5 = sattn.attention q %0 k %1 v %2 mask %4 : tensor<1x1x17x17xf32> scale 2.500000e-01 empty_row zero
         : (tensor<1x4x17x16xf32>, tensor<1x2x17x16xf32>, tensor<1x2x17x16xf32>) -> tensor<1x4x17x16xf32>
    %6 = sattn.attention q %0 k %1 v %2 form "window:4,global:1" scale 2.500000e-01 causal
         : (tensor<1x4x17x16xf32>, tensor<1x4x17x16xf32>, tensor<1x4x17x16xf32>) -> tensor<1x4x17x16xf32>
    ```
    """

    name = "sattn.attention"
    q = operand_def(OPERAND)
    k = operand_def(OPERAND)
    v = operand_def(OPERAND)
    mask = opt_operand_def(MASK)
    pattern = opt_operand_def(tensors_of(i1))
    order = opt_operand_def(tensors_of(i32))
    q_scale = opt_operand_def(FACTOR)
    k_scale = opt_operand_def(FACTOR)
    v_scale = opt_operand_def(FACTOR)
    p_scale = opt_operand_def(FACTOR)
    p_thresholds = opt_operand_def(FACTOR)
    v_offset = opt_operand_def(tensors_of(i32))
    q_offset = opt_operand_def(tensors_of(i32))
    k_offset = opt_operand_def(tensors_of(i32))
    k_low = opt_operand_def(tensors_of(i8, *PACKED))
    count = opt_operand_def(tensors_of(i32))
    p_zero_point = prop_def(INTEGER, default_value=integer(0))
    p_levels = prop_def(INTEGER, default_value=integer(0))
    v_zero_point = prop_def(INTEGER, default_value=integer(0))
    key_block = prop_def(INTEGER, default_value=integer(0))
    form = prop_def(FormAttr, default_value=FormAttr((DENSE,)))
    weights = prop_def(WeightsAttr, default_value=WeightsAttr(Weights.SOFTMAX))
    scale = prop_def(REAL)
    causal = opt_prop_def(UnitAttr)
    causal_offset = prop_def(INTEGER, default_value=integer(0))
    fill = prop_def(REAL, default_value=real(float("-inf")))
    softcap = opt_prop_def(REAL)
    bounded = opt_prop_def(UnitAttr)
    empty_row = prop_def(EmptyRowAttr, default_value=EmptyRowAttr(EmptyRow.NAN))
    result = result_def(FLOATS)
    importance = opt_result_def(FACTOR)
    irdl_options = (AttrSizedOperandSegments(as_property=True),)
    assembly_format = (
        "`q` $q `k` $k `v` $v (`mask` $mask^ `:` type($mask))?"
        " (`pattern` $pattern^ `:` type($pattern))? (`order` $order^ `:` type($order))?"
        " (`q_scale` $q_scale^ `:` type($q_scale))?"
        " (`k_scale` $k_scale^ `:` type($k_scale))? (`v_scale` $v_scale^ `:` type($v_scale))?"
        " (`p_scale` $p_scale^ `:` type($p_scale))? (`p_zero_point` $p_zero_point^)?"
        " (`p_thresholds` $p_thresholds^ `:` type($p_thresholds))? (`p_levels` $p_levels^)?"
        " (`v_offset` $v_offset^ `:` type($v_offset))? (`q_offset` $q_offset^ `:` type($q_offset))?"
        " (`k_offset` $k_offset^ `:` type($k_offset))? (`k_low` $k_low^ `:` type($k_low))?"
        " (`count` $count^ `:` type($count))?"
        " (`v_zero_point` $v_zero_point^)?"
        " (`key_block` $key_block^)? (`form` $form^)? (`weights` $weights^)? `scale` $scale"
        " (`causal` $causal^)? (`offset` $causal_offset^)? (`fill` $fill^)? (`softcap` $softcap^)?"
        " (`bounded` $bounded^)? (`empty_row` $empty_row^)?"
        " attr-dict `:` `(` type($q) `,` type($k) `,` type($v) `)` `->` type($result)"
        " (`importance` type($importance)^)?"
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
        bounded: bool = False,
        empty_row: EmptyRow = EmptyRow.NAN,
        q_scale: Value | None = None,
        k_scale: Value | None = None,
        v_scale: Value | None = None,
        p_scale: Value | None = None,
        p_zero_point: int = 0,
        p_thresholds: Value | None = None,
        p_levels: int = 0,
        weights: Weights = Weights.SOFTMAX,
        v_offset: Value | None = None,
        q_offset: Value | None = None,
        k_offset: Value | None = None,
        k_low: Value | None = None,
        v_zero_point: int = 0,
        key_block: int = 0,
        form: Sequence[Union] = (DENSE,),
        pattern: Value | None = None,
        order: Value | None = None,
        count: Value | None = None,
        element: Element | None = None,
        importance: bool = False,
    ):
        queries, keys, values = SSAValue.get(q), SSAValue.get(k), SSAValue.get(v)
        factors = (q_scale, k_scale, v_scale, p_scale, p_thresholds, v_offset, q_offset, k_offset)
        optional = [None if x is None else SSAValue.get(x) for x in (mask, pattern, order, *factors, k_low, count)]
        if element is None:
            element = element_type(queries) if is_float(element_type(queries)) else f32
        along, across = (3, 2) if is_packed(element_type(values)) else (2, 3)
        width, keys_seen = shape_of(values)[across], shape_of(values)[along]
        super().__init__(
            operands=[queries, keys, values, *optional],
            properties={
                "p_zero_point": integer(p_zero_point),
                "p_levels": integer(p_levels),
                "v_zero_point": integer(v_zero_point),
                "key_block": integer(key_block),
                "form": FormAttr(tuple(form)),
                "weights": WeightsAttr(weights),
                "scale": real(scale),
                "causal": UnitAttr() if causal else None,
                "causal_offset": integer(causal_offset),
                "fill": real(fill),
                "softcap": None if softcap is None else real(softcap),
                "bounded": UnitAttr() if bounded else None,
                "empty_row": EmptyRowAttr(empty_row),
            },
            result_types=[
                tensor(element, *shape_of(queries)[:3], width),
                tensor(f32, shape_of(values)[0], keys_seen) if importance else None,
            ],
        )

    @property
    def extents(self) -> tuple[int, int, int, int, int, int, int]:
        """(B, H, Hkv, Lq, Lk, Dk, Dv)."""
        batch, heads, queries, key_width = shape_of(self.q)
        _, groups, keys, value_width = shape_of(self.v)
        if self.has_packed_values:
            keys, value_width = value_width, keys
        return batch, heads, groups, queries, keys, key_width, value_width

    @property
    def model_heads(self) -> tuple[int, int]:
        """Which head of the model's attention its first one is, and how many that has."""
        told = self.attributes.get(HEADS)
        if not isinstance(told, DenseArrayBase):
            return 0, self.extents[1]
        first, count = told.get_values()
        return int(first), int(count)

    @property
    def has_packed_values(self) -> bool:
        """Whether values lie along tokens, several in a byte."""
        return is_packed(element_type(self.v))

    @property
    def p_element(self) -> Element:
        """What weights are stored as for the product with the values: levels by as few bits as hold them."""
        if not self.has_packed_values:
            return element_type(self.v)
        levels = self.p_levels.value.data
        return unipolar if levels == 1 else uint2 if levels <= 3 else uint4

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
            (self.pattern, (1, heads, queries, keys), "pattern"),
            (self.q_scale, (batch, heads, queries, 1), "q_scale"),
            (self.k_scale, (batch, groups, keys, 1), "k_scale"),
            (self.v_scale, (batch, groups, 1, value_width), "v_scale"),
            (self.p_scale, (batch, heads, queries, 1), "p_scale"),
            (self.p_thresholds, (batch, heads, queries, self.p_levels.value.data), "p_thresholds"),
            (self.v_offset, (batch, groups, 1, value_width), "v_offset"),
            (self.q_offset, (batch, heads, queries, 1), "q_offset"),
            (self.k_offset, (batch, groups, keys, 1), "k_offset"),
        ):
            if value is not None and not shapes.broadcasts_to(shape_of(value), target):
                raise VerifyException(
                    f"{what} {shapes.dims(shape_of(value))} does not stretch to {shapes.dims(target)}"
                )
        self._verify_elements()
        self._verify_levels()
        zeros = [point.value.data for point in (self.p_zero_point, self.v_zero_point)]
        for zero in zeros:
            if not -128 <= zero <= 127:
                raise VerifyException(f"a zero point of {zero} is no int8")
        if (zeros[0] or self.v_offset is not None) and self.p_scale is None:
            raise VerifyException("p_zero_point and v_offset come with p_scale only")
        if zeros[1] and self.p_scale is None and self.p_thresholds is None:
            raise VerifyException("v_zero_point comes with p_scale or p_thresholds only")
        if (self.q_offset is not None or self.k_offset is not None) and self.q_scale is None:
            raise VerifyException("q_offset and k_offset come with int8 q and k only")
        if (
            is_float(element_type(self.q))
            and is_float(element_type(self.v))
            and element_type(self.q) != element_type(self.v)
        ):
            raise VerifyException(f"q is {element_type(self.q)}, v is {element_type(self.v)}")
        self._verify_form()
        self._verify_importance(batch, keys)
        self._verify_count(queries, keys)

    def _verify_importance(self, batch: int, keys: int) -> None:
        if self.importance is None:
            return
        if self.no_importance is not None:
            raise VerifyException(f"importance does not go with {self.no_importance}")
        if shape_of(self.importance) != (batch, keys):
            raise VerifyException(f"importance is {shapes.dims(shape_of(self.importance))}, not one of {batch}x{keys}")

    def _verify_count(self, queries: int, keys: int) -> None:
        if self.count is None:
            return
        if prod(shape_of(self.count)) != 1 or queries != keys:
            raise VerifyException("a count is one number, of queries and keys that are the same tokens")
        if not self.form.is_dense or self.causal is not None or self.key_block.value.data:
            raise VerifyException("a count goes with the form dense, not with causal and not with a key_block")

    @property
    def no_importance(self) -> str | None:
        """Why the probabilities of keys cannot be summed up; None where they can."""
        if self.p_scale is not None or self.p_thresholds is not None:
            return "levels of probabilities that the model fixes"
        return "weights of a key_block" if self.key_block.value.data else None

    def of_form(
        self,
        form: Sequence[Union],
        pattern: SSAValue | None,
        mask: SSAValue | None,
        empty_row: EmptyRow,
        planes: tuple[SSAValue, SSAValue] | None = None,
        order: SSAValue | None = None,
        count: SSAValue | None = None,
    ) -> AttentionOp:
        """The same attention of another form, mask and order, without a `key_block`: what a pattern shows is in one
        piece. With `planes`, of keys by their high and low bits; with a `count`, of so many tokens."""
        k, k_low = (self.k, self.k_low) if planes is None else planes
        return AttentionOp(
            self.q,
            k,
            self.v,
            mask,
            scale=self.scale.value.data,
            causal=self.causal is not None,
            causal_offset=self.causal_offset.value.data,
            fill=self.fill.value.data,
            softcap=None if self.softcap is None else self.softcap.value.data,
            bounded=self.bounded is not None,
            empty_row=empty_row,
            q_scale=self.q_scale,
            k_scale=self.k_scale,
            v_scale=self.v_scale,
            p_scale=self.p_scale,
            p_zero_point=self.p_zero_point.value.data,
            p_thresholds=self.p_thresholds,
            p_levels=self.p_levels.value.data,
            weights=self.weights.data,
            v_offset=self.v_offset,
            q_offset=self.q_offset,
            k_offset=self.k_offset,
            k_low=k_low,
            v_zero_point=self.v_zero_point.value.data,
            form=form,
            pattern=pattern,
            order=order,
            count=self.count if count is None else count,
            element=element_type(self.result),
            importance=self.importance is not None,
        )

    def with_importance(self) -> AttentionOp:
        """The same attention that tells the importance of its keys too."""
        batch, *_, keys, _, _ = self.extents
        return AttentionOp.create(
            operands=list(self.operands),
            result_types=[self.result.type, tensor(f32, batch, keys)],
            properties=dict(self.properties),
            attributes=dict(self.attributes),
        )

    def _verify_form(self) -> None:
        forms = self.form.data
        _, heads, _, queries, keys, _, _ = self.extents
        if len(forms) not in (1, heads):
            raise VerifyException(f"{len(forms)} forms for {heads} heads")
        for form in forms:
            reason = form.misfit(queries, keys)
            if reason is not None:
                raise VerifyException(reason)
        self._verify_pruning()
        self._verify_progressive()
        shown = any(isinstance(part, Bitmap) for form in forms for part in form.forms)
        if shown != (self.pattern is not None):
            raise VerifyException("the operand `pattern` comes with the form bitmap, and only with it")
        if self.pattern is not None and shape_of(self.pattern)[2:] != (queries, keys):
            raise VerifyException(f"pattern {shapes.dims(shape_of(self.pattern))} has no bit for each query and key")
        if self.order is not None:
            if shape_of(self.order) != (queries,) or queries != keys:
                raise VerifyException(f"order {shapes.dims(shape_of(self.order))} has no place for each token")
            if self.causal is not None or self.mask is not None:
                raise VerifyException("tokens in another order go with patterns, not with a mask or causal")

    def _verify_pruning(self) -> None:
        """A pruning is that of all heads, and of weights that the row makes itself."""
        if not any(isinstance(part, Pruning) for form in self.form.data for part in form.forms):
            return
        if len(self.form.data) > 1:
            raise VerifyException(f"the form {self.form.data[0]} is that of all heads")
        reason = self.no_pruning
        if reason is not None:
            raise VerifyException(f"the form {self.form.text} does not go with {reason}")

    def _verify_progressive(self) -> None:
        """Keys by their high and low bits come with the form that takes them so."""
        form = self.form.data[0].forms[0]
        if any(isinstance(part, Progressive) for union in self.form.data for part in union.forms):
            if len(self.form.data) > 1:
                raise VerifyException(f"the form {form} is that of all heads")
            if self.no_progress is not None:
                raise VerifyException(f"the form {form} does not go with {self.no_progress}")
        elif self.k_low is not None:
            raise VerifyException("k_low comes with the form progressive only")
        if self.k_low is not None and shape_of(self.k_low) != shape_of(self.k):
            raise VerifyException(f"k_low is {shapes.dims(shape_of(self.k_low))}, k is {shapes.dims(shape_of(self.k))}")

    @property
    def no_progress(self) -> str | None:
        """Why keys of this attention cannot be taken by their high and low bits; None where they can."""
        if element_type(self.q) != i8 or (self.k_low is None and element_type(self.k) != i8):
            return "queries and keys that are not int8 (--precision int8 makes them so)"
        if self.p_scale is not None or self.p_thresholds is not None:
            return "levels of probabilities that the model fixes"
        if self.q_offset is not None or self.k_offset is not None:
            return "queries or keys that have a zero point"
        return "a cap of the scores" if self.softcap is not None else None

    @property
    def no_pruning(self) -> str | None:
        """Why scores of this attention cannot be pruned by their values; None where they can."""
        if self.p_scale is not None or self.p_thresholds is not None:
            return "levels of probabilities that the model fixes"
        if is_packed(element_type(self.k)) or is_packed(element_type(self.v)):
            return "packed operands"
        if self.q_offset is not None or self.k_offset is not None:
            return "queries or keys that have a zero point"
        return None

    def runs(self, pattern: Array | None, order: Array | None = None) -> tuple[KeyRuns, ...] | None:
        """The keys that each query sees by the form, of all heads alike or of each, given the values of `pattern` and
        `order`; None where the forms are no patterns."""
        forms = self.form.data
        if not all(form.patterns for form in forms):
            return None
        _, heads, _, queries, keys, _, _ = self.extents
        alike = len(forms) == 1 and not any(part.by_head for part in forms[0].patterns)
        if pattern is not None:
            alike = len(forms) == 1 and forms[0].patterns == (Bitmap(),) and pattern.shape[1] == 1
        found: list[KeyRuns] = []
        first, _ = self.model_heads
        for head in range(1 if alike else heads):
            shown = None if pattern is None else pattern[0, head % pattern.shape[1]]
            runs = forms[head % len(forms)].runs(Tokens(first + head, queries, keys, shown))
            found.append(runs if order is None else runs.ordered(order))
        return (found[0],) if all(runs == found[0] for runs in found) else tuple(found)

    def work(self, pattern: Array | None) -> tuple[Work, ...]:
        """What is asked of each head by the form and by `causal`, given the value of `pattern`; other masks hide what
        is computed."""
        _, heads, _, queries, keys, key_width, value_width = self.extents
        extents = Extents(queries, keys, key_width, value_width)
        reach = keys
        if self.causal is not None:
            reach = np.arange(1, queries + 1) + self.causal_offset.value.data
        visible = KeyRuns.one_each(keys, np.zeros(queries, np.int64), reach)
        by_scores = self.form.pruning or self.form.progressive
        if by_scores is not None:
            return (by_scores.work(visible, extents),) * heads
        runs = (visible,) if self.form.is_dense else self.runs(pattern)
        assert runs is not None, "a form of an attention is a pruning, or patterns"
        found = [Work.of_runs(each if each is visible else each.intersection(visible), extents) for each in runs]
        return tuple(found[head % len(found)] for head in range(heads))

    def _verify_elements(self) -> None:
        """Queries and keys that one product takes; integers have their factors, and floats have none."""
        q, k, v = (element_type(value) for value in (self.q, self.k, self.v))
        if q != k and not (is_packed(k) and (is_packed(q) or q == i8)):
            raise VerifyException(f"q is {q}, k is {k}")
        for element in (k, v):
            if is_packed(element) and mode_of(element) is None:
                raise VerifyException(f"no mode of the matrix engine takes {element} on the right")
        if self.has_packed_values and self.v_zero_point.value.data:
            raise VerifyException("packed values have no zero point")
        if is_float(q) == (self.q_scale is not None and self.k_scale is not None):
            raise VerifyException("q_scale and k_scale come with int8 q and k, and only with them")
        if is_float(v) == (self.v_scale is not None):
            raise VerifyException("v_scale comes with int8 v, and only with it")

    def _verify_levels(self) -> None:
        """One way to make levels of probabilities, which int8 values go with."""
        fixed = self.p_scale is not None or self.p_thresholds is not None
        if fixed and is_float(element_type(self.v)):
            raise VerifyException("p_scale and p_thresholds come with int8 v only")
        if self.p_scale is not None and self.p_thresholds is not None:
            raise VerifyException("levels are made by p_scale or by p_thresholds")
        levels = self.p_levels.value.data
        if not 0 <= levels <= 127 or (levels and not fixed) or (levels and self.p_zero_point.value.data):
            raise VerifyException(f"{levels} p_levels: 1 to 127 come with p_scale or p_thresholds, and no zero point")
        if self.has_packed_values and not 1 <= levels <= 15:
            raise VerifyException(f"{levels} p_levels: packed values come with 1 to 15")
        if self.p_thresholds is not None and shape_of(self.p_thresholds)[-1:] != (levels,):
            raise VerifyException(f"{levels} p_levels need so many p_thresholds along their last axis")
        if self.weights.data != Weights.SOFTMAX and self.p_thresholds is None:
            raise VerifyException(f"weights {self.weights.data} come with p_thresholds")
        if self.bounded is not None and (not fixed or self.weights.data == Weights.SCORES):
            raise VerifyException("bounded comes with a softmax of p_scale or p_thresholds")
        key_block = self.key_block.value.data
        if key_block and not self.form.is_dense:
            raise VerifyException("key_block comes with the form dense only")
        if key_block < 0 or (key_block and (fixed or element_type(self.v) != i8)):
            raise VerifyException("key_block comes with int8 v without p_scale and p_thresholds only")


Sattn = Dialect("sattn", [AttentionOp], [FormAttr, WeightsAttr])
