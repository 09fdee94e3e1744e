"""The `nn` dialect: a small closed vocabulary of tensor operations, between ONNX and tiles.

Every operation is pure, has static shapes and value semantics. Elements are f32, f16, bf16, i32, i8, ui8 or
i1; int64 became i32 at import. Constants and layout operations also take the packed types of `bnn`.
Every operation may carry `value`, the name of the ONNX value that its first result equals, and `path`, its structural
path in the model (`encoder.3.ffn.up`). Its location names the ONNX nodes that it covers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
from typing_extensions import TypeVar
from xdsl.dialects.builtin import (
    I64,
    DenseArrayBase,
    DenseIntOrFPElementsAttr,
    Float32Type,
    FloatAttr,
    IntegerAttr,
    StringAttr,
    TensorType,
    UnitAttr,
    bf16,
    f16,
    f32,
    i1,
    i8,
    i32,
    i64,
)
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import Attribute, Dialect, Operation, SpacedOpaqueSyntaxAttribute, SSAValue
from xdsl.irdl import (
    AttrConstraint,
    AttrSizedOperandSegments,
    IntConstraint,
    IRDLOperation,
    VerificationContext,
    base,
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    opt_attr_def,
    opt_operand_def,
    opt_prop_def,
    opt_result_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import ConstantLike, Pure
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum

from ..isa.errors import UsageError
from ..isa.formats import KIND_FORMATS, Kind
from ..isa.lane_functions import LANE_FUNCTIONS, REDUCTIONS
from ..isa.structures import Structure
from . import shapes
from .constants import Array, RefAttr, dense, dense_array
from .elements import ELEMENTS, PACKED, Element, element_of, element_type, format_of, is_float, shape_of, tensor, ui8

Tensor: TypeAlias = TensorType[Attribute]
Value: TypeAlias = SSAValue | Operation
Integers: TypeAlias = DenseArrayBase[I64]
Dense: TypeAlias = DenseIntOrFPElementsAttr[Any]


@dataclass(frozen=True)
class TensorOf(AttrConstraint[Tensor]):
    """The constraint that a type is a tensor of static shape and of one of some element types."""

    elements: tuple[Attribute, ...]

    def verify(self, attr: Attribute, constraint_context: VerificationContext) -> None:
        """Say what is wrong with the type."""
        if not isinstance(attr, TensorType):
            raise VerifyException(f"expected a tensor, got {attr}")
        found = cast(Tensor, attr)
        if found.get_element_type() not in self.elements:
            raise VerifyException(f"elements are {found.get_element_type()}, expected {self}")
        if min(found.get_shape(), default=0) < 0:
            raise VerifyException(f"the shape of {found} is not static")

    def get_bases(self) -> set[type[Attribute]]:
        """Tensors only."""
        return {TensorType}

    def mapping_type_vars(self, type_var_mapping: Mapping[TypeVar, AttrConstraint | IntConstraint]) -> TensorOf:
        """No type variables inside."""
        return self

    def __str__(self) -> str:
        return " or ".join(map(str, self.elements))


def tensors_of(*elements: Attribute) -> AttrConstraint[Tensor]:
    """The constraint that a type is a tensor of static shape and of one of these element types."""
    return TensorOf(elements)


TENSOR = tensors_of(*ELEMENTS)
ANY = tensors_of(*ELEMENTS, *PACKED)
FLOATS = tensors_of(f32, f16, bf16)
IDS = tensors_of(i32)
BYTES = tensors_of(i8, ui8)
INTEGERS = DenseArrayBase.constr(i64)
INTEGER = IntegerAttr.constr(i64)
REAL = FloatAttr.constr(base(Float32Type))


def integers(values: Sequence[int]) -> Integers:
    """A list of integers as an attribute (`op.axes.get_values()` gives them back)."""
    return DenseArrayBase.from_list(i64, tuple(values))


def integer(value: int) -> IntegerAttr[I64]:
    """One integer as an attribute (`op.axis.value.data` gives it back)."""
    return IntegerAttr(value, i64)


def real(value: float) -> FloatAttr[Float32Type]:
    """One float32 as an attribute (`op.epsilon.value.data` gives it back)."""
    return FloatAttr(value, f32)


class EmptyRow(StrEnum):
    """What softmax makes of a row that is masked everywhere.

    `nan`: what IEEE says (-inf everywhere gives NaN). `zero`: every NaN the softmax makes becomes 0, as the
    exporters' IsNaN guard does. `uniform`: masked scores are the least finite value, so that such a row is
    uniform.
    """

    NAN = "nan"
    ZERO = "zero"
    UNIFORM = "uniform"


@irdl_attr_definition
class EmptyRowAttr(EnumAttribute[EmptyRow], SpacedOpaqueSyntaxAttribute):
    """`nan`, `zero` or `uniform`: what becomes of a fully masked row."""

    name = "nn.empty_row"


class NnOperation(IRDLOperation):
    """What all operations of the dialect share."""

    value = opt_attr_def(StringAttr)
    """Name of the ONNX value that the first result equals."""
    path = opt_attr_def(StringAttr)
    """Structural path in the model: `encoder.3.attention.q`."""
    traits = traits_def(Pure())


@irdl_op_definition
class ConstantOp(NnOperation):
    """A constant: small ones stand here, others are named and lie in the context's store.

    ```
    %0 = nn.constant dense<1.250000e-01> : tensor<f32>
    %1 = nn.constant #nn.ref<"encoder.0.query.weight"> : tensor<64x64xf32>
    ```
    """

    name = "nn.constant"
    data = prop_def(base(RefAttr) | base(DenseIntOrFPElementsAttr))
    result = result_def(ANY)
    traits = traits_def(Pure(), ConstantLike())

    def __init__(self, data: Attribute | Array, result_type: Tensor | None = None):
        attribute = data if isinstance(data, Attribute) else cast(Attribute, dense(data))
        if result_type is None:
            if not isinstance(attribute, DenseIntOrFPElementsAttr):
                raise ValueError("a constant by reference needs its type")
            result_type = dense_type(cast(Dense, attribute))
        super().__init__(properties={"data": cast(Attribute, attribute)}, result_types=[result_type])

    @property
    def reference(self) -> str | None:
        """The key in the store, or None for a constant that stands in the IR."""
        return self.data.key.data if isinstance(self.data, RefAttr) else None

    @classmethod
    def parse(cls, parser: Parser) -> ConstantOp:
        """Parse `ATTRIBUTE attr-dict : TYPE`, where a dense attribute brings its type along."""
        data: Attribute = parser.parse_attribute()
        attributes = parser.parse_optional_attr_dict()
        if isinstance(data, RefAttr):
            parser.parse_punctuation(":")
            result_type = parser.parse_type()
        elif isinstance(data, DenseIntOrFPElementsAttr):
            result_type = dense_type(cast(Dense, data))
        else:
            parser.raise_error("expected a dense constant or #nn.ref")
        operation = cls.create(properties={"data": cast(Attribute, data)}, result_types=[result_type])
        operation.attributes = dict(attributes)
        return operation

    def print(self, printer: Printer) -> None:
        """Print what `parse` reads."""
        printer.print_string(" ")
        if isinstance(self.data, RefAttr):
            printer.print_attribute(self.data)
            printer.print_op_attributes(self.attributes)
            printer.print_string(" : ")
            printer.print_attribute(self.result.type)
            return
        _print_dense(printer, self.data)
        printer.print_op_attributes(self.attributes)

    def verify_(self) -> None:
        """A constant that stands here has the type of its result."""
        if isinstance(self.data, DenseIntOrFPElementsAttr) and dense_type(self.data) != self.result.type:
            raise VerifyException(f"constant of type {dense_type(self.data)} gives {self.result.type}")


def dense_type(attribute: Dense) -> Tensor:
    """The tensor type of a dense attribute."""
    return tensor(attribute.get_element_type(), *attribute.get_shape())


def _print_dense(printer: Printer, data: Dense) -> None:
    """Print a dense attribute so that it reads back equal: xDSL loses infinities and NaN in a list."""
    array = dense_array(data)
    if is_float(data.get_element_type()) and not np.isfinite(array.astype(np.float32)).all():
        printer.print_string(f'dense<"0x{data.data.data.hex().upper()}"> : {data.type}')
    else:
        printer.print_attribute(data)


@irdl_op_definition
class MapOp(NnOperation):
    """A function of the vector engine's lanes (`isa.lanes.LANE_FUNCTIONS`) applied element by element,
    operands stretched to one shape as numpy does. Floats compute in float32, integers in int32; the result is
    converted to its element type once.

    ```
    %2 = nn.map "add"(%0, %1) : (tensor<1x17x64xf32>, tensor<64xf32>) -> tensor<1x17x64xf32>
    ```
    """

    name = "nn.map"
    function = prop_def(StringAttr)
    inputs = var_operand_def(TENSOR)
    result = result_def(TENSOR)
    assembly_format = "$function `(` $inputs `)` attr-dict `:` functional-type($inputs, $result)"

    def __init__(self, function: str, inputs: Sequence[Value], element: Element | None = None):
        values = [SSAValue.get(value) for value in inputs]
        if element is None:
            element = map_element(function, [element_type(value) for value in values])
        shape = shapes.broadcast(*(shape_of(value) for value in values))
        super().__init__(
            operands=[values],
            properties={"function": StringAttr(function)},
            result_types=[tensor(element, *shape)],
        )

    def verify_(self) -> None:
        """The function exists, its operands' kinds fit, and the shape is the broadcast one."""
        kind = map_kind(self.function.data, [element_type(value) for value in self.inputs])
        element = self.result.type.get_element_type()
        if format_of(element).kind != kind:
            raise VerifyException(f"{self.function.data} gives {kind}, which is not stored as {element}")
        _expect_shape(self.result, shapes.broadcast(*(shape_of(value) for value in self.inputs)))


def map_kind(function: str, elements: Sequence[Attribute]) -> Kind:
    """The kind (float, int or bool) that a lane function gives for operands of these element types."""
    if function not in LANE_FUNCTIONS:
        raise VerifyException(f"{function!r} is not a function of the vector engine")
    try:
        return LANE_FUNCTIONS[function].result_kind(tuple(format_of(element).kind for element in elements))
    except UsageError as error:
        raise VerifyException(str(error)) from error


def map_element(function: str, elements: Sequence[Attribute]) -> Element:
    """The element type that a lane function gives when none is asked for: that of its first operand of the
    result's kind (so f16 stays f16 and i8 wraps as i8), else f32, i32 or i1."""
    kind = map_kind(function, elements)
    formats = [format_of(element) for element in elements]
    return element_of(next((stored for stored in formats if stored.kind == kind), KIND_FORMATS[kind]))


@irdl_op_definition
class CastOp(NnOperation):
    """A change of element type: float to integer truncates and saturates (NaN gives 0), integers wrap, to f16
    and bf16 rounds half to even, to i1 is `!= 0`.

    ```
    %1 = nn.cast %0 : tensor<1x17xi8> to tensor<1x17xf32>
    ```
    """

    name = "nn.cast"
    input = operand_def(TENSOR)
    result = result_def(TENSOR)
    assembly_format = "$input attr-dict `:` type($input) `to` type($result)"

    def __init__(self, operand: Value, element: Element):
        value = SSAValue.get(operand)
        super().__init__(operands=[value], result_types=[tensor(element, *shape_of(value))])

    def verify_(self) -> None:
        """The shape stays."""
        _expect_shape(self.result, shape_of(self.input))


class Reduction(StrEnum):
    """What `nn.reduce` folds elements with."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    MEAN = "mean"
    VARIANCE = "variance"


@irdl_attr_definition
class ReductionAttr(EnumAttribute[Reduction], SpacedOpaqueSyntaxAttribute):
    """`sum`, `max`, `min`, `mean` or `variance` (population, by two passes)."""

    name = "nn.reduction"


@irdl_op_definition
class ReduceOp(NnOperation):
    """A reduction over axes, which stay as extents of 1 (`isa.lanes.REDUCTIONS`). Floats fold in float32,
    integers in int32 (sum wraps, mean and variance give floats), the sum of i1 counts; max and min pass NaN
    on.

    ```
    %1 = nn.reduce mean %0 axes [2] : tensor<1x17x64xf32> -> tensor<1x17x1xf32>
    ```
    """

    name = "nn.reduce"
    kind = prop_def(ReductionAttr)
    axes = prop_def(INTEGERS)
    input = operand_def(TENSOR)
    result = result_def(TENSOR)
    assembly_format = "$kind $input `axes` $axes attr-dict `:` type($input) `->` type($result)"

    def __init__(self, kind: Reduction | str, operand: Value, axes: Sequence[int], element: Element | None = None):
        value = SSAValue.get(operand)
        kind = Reduction(kind)
        shape = shape_of(value)
        axes = sorted(axis + len(shape) if axis < 0 else axis for axis in axes)
        super().__init__(
            operands=[value],
            properties={"kind": ReductionAttr(kind), "axes": integers(axes)},
            result_types=[tensor(element or reduction_element(kind, element_type(value)), *shapes.reduce(shape, axes))],
        )

    def verify_(self) -> None:
        """Axes exist, the shape is the reduced one, and the elements can be reduced and stored so."""
        _expect_shape(self.result, shapes.reduce(shape_of(self.input), self.axes.get_values()))
        kind = reduction_kind(self.kind.data, element_type(self.input))
        if format_of(element_type(self.result)).kind != kind:
            raise VerifyException(f"{self.kind.data} gives {kind}, which is not stored as {element_type(self.result)}")


def reduction_kind(reduction: Reduction, element: Attribute) -> Kind:
    """The kind (float or int) that a reduction of elements of this type gives."""
    kind = REDUCTIONS[reduction].signatures.get(format_of(element).kind)
    if kind is None:
        raise VerifyException(f"no {reduction} of {element}")
    return kind


def reduction_element(reduction: Reduction, element: Attribute) -> Element:
    """The element type that a reduction gives when none is asked for: the operand's if of that kind, else f32
    or i32."""
    kind = reduction_kind(reduction, element)
    stored = format_of(element)
    return element_of(stored if stored.kind == kind else KIND_FORMATS[kind])


@irdl_op_definition
class SoftmaxOp(NnOperation):
    """Softmax along one axis: exp(x - max) / sum of it, in float32.

    ```
    %1 = nn.softmax %0 axis 3 empty_row zero : tensor<1x4x17x17xf32> -> tensor<1x4x17x17xf32>
    ```
    """

    name = "nn.softmax"
    input = operand_def(FLOATS)
    axis = prop_def(INTEGER)
    empty_row = prop_def(EmptyRowAttr, default_value=EmptyRowAttr(EmptyRow.NAN))
    result = result_def(FLOATS)
    assembly_format = "$input `axis` $axis (`empty_row` $empty_row^)? attr-dict `:` type($input) `->` type($result)"

    def __init__(self, operand: Value, axis: int, empty_row: EmptyRow = EmptyRow.NAN, element: Element | None = None):
        value = SSAValue.get(operand)
        shape = shape_of(value)
        super().__init__(
            operands=[value],
            properties={"axis": integer(axis % len(shape)), "empty_row": EmptyRowAttr(empty_row)},
            result_types=[tensor(element or element_type(value), *shape)],
        )

    def verify_(self) -> None:
        """The axis exists and the shape stays; `uniform` belongs to masks, which softmax does not see."""
        shapes.check_axes(len(shape_of(self.input)), (self.axis.value.data,))
        _expect_shape(self.result, shape_of(self.input))
        if self.empty_row.data == EmptyRow.UNIFORM:
            raise VerifyException("softmax sees no mask: empty_row is nan or zero")


@irdl_op_definition
class LayerNormOp(NnOperation):
    """Layer normalization over the axes from `axis` to the last: (x - mean) / sqrt(variance + epsilon) *
    scale + bias, with mean and variance over those axes in float32 (two-pass).

    ```
    %3 = nn.layer_norm %0 scale %1 : tensor<64xf32> bias %2 : tensor<64xf32> axis 2 epsilon 1.000000e-05
         : tensor<1x17x64xf32> -> tensor<1x17x64xf32>
    ```
    """

    name = "nn.layer_norm"
    input = operand_def(FLOATS)
    scale = opt_operand_def(FLOATS)
    bias = opt_operand_def(FLOATS)
    axis = prop_def(INTEGER)
    epsilon = prop_def(REAL)
    result = result_def(FLOATS)
    irdl_options = (AttrSizedOperandSegments(as_property=True),)
    assembly_format = (
        "$input (`scale` $scale^ `:` type($scale))? (`bias` $bias^ `:` type($bias))? `axis` $axis"
        " `epsilon` $epsilon attr-dict `:` type($input) `->` type($result)"
    )

    def __init__(
        self,
        operand: Value,
        scale: Value | None,
        bias: Value | None,
        axis: int,
        epsilon: float,
        element: Element | None = None,
    ):
        value = SSAValue.get(operand)
        shape = shape_of(value)
        super().__init__(
            operands=[value, _optional(scale), _optional(bias)],
            properties={"axis": integer(axis % len(shape)), "epsilon": real(epsilon)},
            result_types=[tensor(element or element_type(value), *shape)],
        )

    def verify_(self) -> None:
        """The axis exists; scale and bias stretch to the input without growing it."""
        _verify_norm(self.input, self.result, self.axis.value.data, (self.scale, self.bias))


@irdl_op_definition
class RmsNormOp(NnOperation):
    """Root-mean-square normalization over the axes from `axis` to the last: x / sqrt(mean(x * x) + epsilon) *
    scale.

    ```
    %2 = nn.rms_norm %0 scale %1 : tensor<64xf32> axis 2 epsilon 1.000000e-06
         : tensor<1x17x64xf32> -> tensor<1x17x64xf32>
    ```
    """

    name = "nn.rms_norm"
    input = operand_def(FLOATS)
    scale = opt_operand_def(FLOATS)
    axis = prop_def(INTEGER)
    epsilon = prop_def(REAL)
    result = result_def(FLOATS)
    assembly_format = (
        "$input (`scale` $scale^ `:` type($scale))? `axis` $axis `epsilon` $epsilon attr-dict"
        " `:` type($input) `->` type($result)"
    )

    def __init__(self, operand: Value, scale: Value | None, axis: int, epsilon: float, element: Element | None = None):
        value = SSAValue.get(operand)
        shape = shape_of(value)
        super().__init__(
            operands=[value, _optional(scale)],
            properties={"axis": integer(axis % len(shape)), "epsilon": real(epsilon)},
            result_types=[tensor(element or element_type(value), *shape)],
        )

    def verify_(self) -> None:
        """The axis exists; scale stretches to the input without growing it."""
        _verify_norm(self.input, self.result, self.axis.value.data, (self.scale,))


def _parse_structure(text: str) -> Structure:
    try:
        return Structure.parse(text)
    except UsageError as error:
        raise VerifyException(str(error)) from None


@irdl_op_definition
class MatmulOp(NnOperation):
    """Matrix product of the last two axes, leading axes broadcast. Floats accumulate in float32; i8 by i8
    gives exact i32. The result is converted to its element type once. `structure` says of a constant right operand that
    of so many consecutive values along the contracted axis at most so many are not zero ("2:4"). With a `threshold`,
    values of the left operand whose magnitude is not above it count as zero (`sparsity.passes`), and are skipped.

    ```
    %2 = nn.matmul %0, %1 : (tensor<1x17x64xf32>, tensor<64x128xf32>) -> tensor<1x17x128xf32>
    %3 = nn.matmul %4, %5 transpose_rhs
         : (tensor<1x4x17x16xi8>, tensor<1x4x17x16xi8>) -> tensor<1x4x17x17xi32>
    ```
    """

    name = "nn.matmul"
    lhs = operand_def(TENSOR)
    rhs = operand_def(TENSOR)
    transpose_rhs = opt_prop_def(UnitAttr)
    structure = opt_prop_def(StringAttr)
    threshold = opt_prop_def(REAL)
    result = result_def(TENSOR)
    assembly_format = (
        "$lhs `,` $rhs (`transpose_rhs` $transpose_rhs^)? (`structure` $structure^)? (`threshold` $threshold^)?"
        " attr-dict `:` `(` type($lhs) `,` type($rhs) `)` `->` type($result)"
    )

    def __init__(self, lhs: Value, rhs: Value, transpose_rhs: bool = False, element: Element | None = None):
        left, right = SSAValue.get(lhs), SSAValue.get(rhs)
        shape = shapes.matmul(shape_of(left), shape_of(right), transpose_rhs)
        operand_element = element_type(left)
        result_element = element or (operand_element if is_float(operand_element) else i32)
        super().__init__(
            operands=[left, right],
            properties={"transpose_rhs": UnitAttr() if transpose_rhs else None},
            result_types=[tensor(result_element, *shape)],
        )

    def verify_(self) -> None:
        """Contracted extents agree; both sides are i8 giving i32, or float giving float."""
        _expect_shape(
            self.result, shapes.matmul(shape_of(self.lhs), shape_of(self.rhs), self.transpose_rhs is not None)
        )
        left, right, result = element_type(self.lhs), element_type(self.rhs), element_type(self.result)
        if not ((left == right == i8 and result == i32) or (left == right and is_float(left) and is_float(result))):
            raise VerifyException(f"no product of {left} by {right} giving {result}: i8 gives i32, floats give floats")
        if self.structure is not None:
            _parse_structure(self.structure.data)
        if self.threshold is not None and not 0 <= self.threshold.value.data < float("inf"):
            raise VerifyException("magnitudes are compared with a finite threshold that is not negative")
        if self.threshold is not None and self.structure is not None:
            raise VerifyException("a product skips zeros of its left operand, or those of a structure, not both")


@irdl_op_definition
class TransposeOp(NnOperation):
    """A permutation of axes: axis i of the result is axis `permutation[i]` of the input.

    ```
    %1 = nn.transpose %0 permutation [0, 2, 1, 3] : tensor<1x17x4x16xf32> -> tensor<1x4x17x16xf32>
    ```
    """

    name = "nn.transpose"
    input = operand_def(ANY)
    permutation = prop_def(INTEGERS)
    result = result_def(ANY)
    assembly_format = "$input `permutation` $permutation attr-dict `:` type($input) `->` type($result)"

    def __init__(self, operand: Value, permutation: Sequence[int]):
        value = SSAValue.get(operand)
        super().__init__(
            operands=[value],
            properties={"permutation": integers(permutation)},
            result_types=[tensor(element_type(value), *shapes.transpose(shape_of(value), permutation))],
        )

    def verify_(self) -> None:
        """The permutation is one; elements keep their type."""
        _expect_shape(self.result, shapes.transpose(shape_of(self.input), self.permutation.get_values()))
        _expect_element(self.result, self.input)


@irdl_op_definition
class ReshapeOp(NnOperation):
    """The same elements in row-major order under another shape.

    ```
    %1 = nn.reshape %0 : tensor<1x17x64xf32> to tensor<1x17x4x16xf32>
    ```
    """

    name = "nn.reshape"
    input = operand_def(ANY)
    result = result_def(ANY)
    assembly_format = "$input attr-dict `:` type($input) `to` type($result)"

    def __init__(self, operand: Value, shape: Sequence[int]):
        value = SSAValue.get(operand)
        super().__init__(operands=[value], result_types=[tensor(element_type(value), *shape)])

    def verify_(self) -> None:
        """The number of elements stays."""
        before, after = shape_of(self.input), shape_of(self.result)
        if shapes.elements(before) != shapes.elements(after):
            raise VerifyException(f"{shapes.dims(before)} and {shapes.dims(after)} differ in their number of elements")
        _expect_element(self.result, self.input)


@irdl_op_definition
class BroadcastOp(NnOperation):
    """A tensor stretched to a larger shape as numpy does.

    ```
    %1 = nn.broadcast %0 : tensor<1x1x64xf32> to tensor<8x1x64xf32>
    ```
    """

    name = "nn.broadcast"
    input = operand_def(ANY)
    result = result_def(ANY)
    assembly_format = "$input attr-dict `:` type($input) `to` type($result)"

    def __init__(self, operand: Value, shape: Sequence[int]):
        value = SSAValue.get(operand)
        super().__init__(operands=[value], result_types=[tensor(element_type(value), *shape)])

    def verify_(self) -> None:
        """The input stretches to exactly the result."""
        before, after = shape_of(self.input), shape_of(self.result)
        if not shapes.broadcasts_to(before, after):
            raise VerifyException(f"{shapes.dims(before)} does not stretch to {shapes.dims(after)}")
        _expect_element(self.result, self.input)


@irdl_op_definition
class SliceOp(NnOperation):
    """A regular part of a tensor: element i of an axis is element `starts + i * steps` of the input's; steps
    may be negative. The extents are the result's.

    ```
    %1 = nn.slice %0 starts [0, 0, 0] steps [1, 1, 1] : tensor<1x17x64xf32> -> tensor<1x1x64xf32>
    ```
    """

    name = "nn.slice"
    input = operand_def(ANY)
    starts = prop_def(INTEGERS)
    steps = prop_def(INTEGERS)
    result = result_def(ANY)
    assembly_format = "$input `starts` $starts `steps` $steps attr-dict `:` type($input) `->` type($result)"

    def __init__(self, operand: Value, starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int] | None = None):
        value = SSAValue.get(operand)
        super().__init__(
            operands=[value],
            properties={"starts": integers(starts), "steps": integers(steps or [1] * len(starts))},
            result_types=[tensor(element_type(value), *sizes)],
        )

    def verify_(self) -> None:
        """Every element of the result lies inside the input."""
        shapes.check_slice(
            shape_of(self.input), self.starts.get_values(), self.steps.get_values(), shape_of(self.result)
        )
        _expect_element(self.result, self.input)


@irdl_op_definition
class ConcatOp(NnOperation):
    """Tensors joined along an axis.

    ```
    %2 = nn.concat(%0, %1) axis 1 : (tensor<1x1x64xf32>, tensor<1x16x64xf32>) -> tensor<1x17x64xf32>
    ```
    """

    name = "nn.concat"
    inputs = var_operand_def(ANY)
    axis = prop_def(INTEGER)
    result = result_def(ANY)
    assembly_format = "`(` $inputs `)` `axis` $axis attr-dict `:` functional-type($inputs, $result)"

    def __init__(self, inputs: Sequence[Value], axis: int):
        values = [SSAValue.get(value) for value in inputs]
        axis %= len(shape_of(values[0]))
        shape = shapes.concat([shape_of(value) for value in values], axis)
        super().__init__(
            operands=[values],
            properties={"axis": integer(axis)},
            result_types=[tensor(element_type(values[0]), *shape)],
        )

    def verify_(self) -> None:
        """There is an input; all agree outside the axis and in their elements."""
        if not self.inputs:
            raise VerifyException("nothing to join")
        _expect_shape(self.result, shapes.concat([shape_of(value) for value in self.inputs], self.axis.value.data))
        for value in self.inputs:
            _expect_element(self.result, value)


@irdl_op_definition
class PadOp(NnOperation):
    """A tensor with a border of one value: `low` elements before and `high` after along each axis.

    ```
    %2 = nn.pad %0 with %1 low [0, 0, 1, 1] high [0, 0, 1, 1] : tensor<1x3x8x8xf32> -> tensor<1x3x10x10xf32>
    ```
    """

    name = "nn.pad"
    input = operand_def(TENSOR)
    fill = operand_def(TENSOR)
    low = prop_def(INTEGERS)
    high = prop_def(INTEGERS)
    result = result_def(TENSOR)
    assembly_format = (
        "$input `with` $fill `:` type($fill) `low` $low `high` $high attr-dict `:` type($input) `->` type($result)"
    )

    def __init__(self, operand: Value, fill: Value, low: Sequence[int], high: Sequence[int]):
        value = SSAValue.get(operand)
        super().__init__(
            operands=[value, fill],
            properties={"low": integers(low), "high": integers(high)},
            result_types=[tensor(element_type(value), *shapes.pad(shape_of(value), low, high))],
        )

    def verify_(self) -> None:
        """Borders are not negative; the fill is a scalar of the same element type."""
        _expect_shape(self.result, shapes.pad(shape_of(self.input), self.low.get_values(), self.high.get_values()))
        _expect_shape(self.fill, ())
        _expect_element(self.result, self.input)
        _expect_element(self.result, self.fill)


@irdl_op_definition
class WindowsOp(NnOperation):
    """Every window of a kernel over the spatial axes, as a view: `[N, C, spatial...]` becomes
    `[N, C, out..., kernel...]`. Convolution is this and a matrix product; pooling is this and a reduction.

    ```
    %1 = nn.windows %0 kernel [2, 2] strides [2, 2] dilations [1, 1]
         : tensor<1x3x8x8xf32> -> tensor<1x3x4x4x2x2xf32>
    ```
    """

    name = "nn.windows"
    input = operand_def(TENSOR)
    kernel = prop_def(INTEGERS)
    strides = prop_def(INTEGERS)
    dilations = prop_def(INTEGERS)
    result = result_def(TENSOR)
    assembly_format = (
        "$input `kernel` $kernel `strides` $strides `dilations` $dilations attr-dict"
        " `:` type($input) `->` type($result)"
    )

    def __init__(
        self,
        operand: Value,
        kernel: Sequence[int],
        strides: Sequence[int],
        dilations: Sequence[int] | None = None,
    ):
        value = SSAValue.get(operand)
        dilations = dilations or [1] * len(kernel)
        super().__init__(
            operands=[value],
            properties={
                "kernel": integers(kernel),
                "strides": integers(strides),
                "dilations": integers(dilations),
            },
            result_types=[tensor(element_type(value), *shapes.windows(shape_of(value), kernel, strides, dilations))],
        )

    def verify_(self) -> None:
        """The kernel fits and the shape is that of its windows."""
        _expect_shape(
            self.result,
            shapes.windows(
                shape_of(self.input),
                self.kernel.get_values(),
                self.strides.get_values(),
                self.dilations.get_values(),
            ),
        )
        _expect_element(self.result, self.input)


@irdl_op_definition
class GatherRowsOp(NnOperation):
    """Rows of a table, picked by ids: result[..., w] = table[ids[...], w]. An id outside [0, limit) is a
    fault of the run that names it.

    ```
    %2 = nn.gather_rows %0[%1] limit 30522 : (tensor<30522x128xf32>, tensor<1x16xi32>) -> tensor<1x16x128xf32>
    ```
    """

    name = "nn.gather_rows"
    table = operand_def(TENSOR)
    ids = operand_def(IDS)
    limit = prop_def(INTEGER)
    result = result_def(TENSOR)
    assembly_format = (
        "$table `[` $ids `]` `limit` $limit attr-dict `:` `(` type($table) `,` type($ids) `)` `->` type($result)"
    )

    def __init__(self, table: Value, ids: Value, limit: int | None = None):
        rows, picks = SSAValue.get(table), SSAValue.get(ids)
        height, width = shape_of(rows)
        super().__init__(
            operands=[rows, picks],
            properties={"limit": integer(height if limit is None else limit)},
            result_types=[tensor(element_type(rows), *shape_of(picks), width)],
        )

    def verify_(self) -> None:
        """The table has rows, the limit is within it."""
        shape = shape_of(self.table)
        if len(shape) != 2:
            raise VerifyException(f"a table has rows and columns, got {shapes.dims(shape)}")
        if not 0 <= self.limit.value.data <= shape[0]:
            raise VerifyException(f"limit {self.limit.value.data} exceeds the {shape[0]} rows of the table")
        _expect_shape(self.result, (*shape_of(self.ids), shape[1]))
        _expect_element(self.result, self.table)


@irdl_op_definition
class GreatestOp(NnOperation):
    """Where the `count` greatest values along the last axis stand, lower places first: of equal values those of lower
    places are taken, a NaN after all numbers.

    With `least`, a value a row, only those among them that are no less are taken; the other result then says how many,
    and behind them stands the first of them again.

    ```
    %1 = nn.greatest 96 of %0 : tensor<1x197xf32> -> tensor<1x96xi32>
    %1, %2 = nn.greatest 96 of %0 least %3 : tensor<1x1xf32> : tensor<1x197xf32> -> tensor<1x96xi32>
             number tensor<1x1xi32>
    ```
    """

    name = "nn.greatest"
    input = operand_def(tensors_of(f32, i32))
    least = opt_operand_def(tensors_of(f32))
    count = prop_def(INTEGER)
    result = result_def(IDS)
    number = opt_result_def(IDS)
    assembly_format = (
        "$count `of` $input (`least` $least^ `:` type($least))? attr-dict `:` type($input) `->` type($result)"
        " (`number` type($number)^)?"
    )

    def __init__(self, operand: Value, count: int, least: Value | None = None):
        value = SSAValue.get(operand)
        outer = shape_of(value)[:-1]
        super().__init__(
            operands=[value, None if least is None else SSAValue.get(least)],
            properties={"count": integer(count)},
            result_types=[tensor(i32, *outer, count), None if least is None else tensor(i32, *outer, 1)],
        )

    def verify_(self) -> None:
        """There are that many values."""
        *outer, extent = shape_of(self.input)
        count = self.count.value.data
        if not 0 < count <= extent:
            raise VerifyException(f"{count} of {extent} values cannot be the greatest")
        _expect_shape(self.result, (*outer, count))
        if (self.least is None) != (self.number is None):
            raise VerifyException("a least value comes with the number of those that reach it")
        if self.least is not None and self.number is not None:
            if element_type(self.input) != f32:
                raise VerifyException("values that are compared with a least one are f32")
            for value in (self.least, self.number):
                _expect_shape(value, (*outer, 1))


@irdl_op_definition
class IotaOp(NnOperation):
    """The index along an axis, from 0.

    ```
    %0 = nn.iota axis 1 : tensor<1x16xi32>
    ```
    """

    name = "nn.iota"
    axis = prop_def(INTEGER)
    result = result_def(IDS)
    assembly_format = "`axis` $axis attr-dict `:` type($result)"

    def __init__(self, shape: Sequence[int], axis: int):
        super().__init__(properties={"axis": integer(axis % len(shape))}, result_types=[tensor(i32, *shape)])

    def verify_(self) -> None:
        """The axis exists."""
        shapes.check_axes(len(shape_of(self.result)), (self.axis.value.data,))


@irdl_op_definition
class CumsumOp(NnOperation):
    """Running sums along an axis, from the end if `reverse`, without the element itself if `exclusive`.

    ```
    %1 = nn.cumsum %0 axis 1 exclusive : tensor<1x16xi32> -> tensor<1x16xi32>
    ```
    """

    name = "nn.cumsum"
    input = operand_def(TENSOR)
    axis = prop_def(INTEGER)
    exclusive = opt_prop_def(UnitAttr)
    reverse = opt_prop_def(UnitAttr)
    result = result_def(TENSOR)
    assembly_format = (
        "$input `axis` $axis (`exclusive` $exclusive^)? (`reverse` $reverse^)? attr-dict"
        " `:` type($input) `->` type($result)"
    )

    def __init__(self, operand: Value, axis: int, exclusive: bool = False, reverse: bool = False):
        value = SSAValue.get(operand)
        shape = shape_of(value)
        super().__init__(
            operands=[value],
            properties={
                "axis": integer(axis % len(shape)),
                "exclusive": UnitAttr() if exclusive else None,
                "reverse": UnitAttr() if reverse else None,
            },
            result_types=[value.type],
        )

    def verify_(self) -> None:
        """The axis exists, type stays, elements are numbers."""
        shapes.check_axes(len(shape_of(self.input)), (self.axis.value.data,))
        _expect_shape(self.result, shape_of(self.input))
        _expect_element(self.result, self.input)
        if element_type(self.input) == i1:
            raise VerifyException("no running sums of i1")


@irdl_op_definition
class QuantizeOp(NnOperation):
    """Linear quantization: saturate(rint(x / scale) + zero_point), half to even, in float32. `scale` and
    `zero_point` are scalars, or rows along `axis`.

    ```
    %2 = nn.quantize %0 scale %1 : tensor<f32> : tensor<1x17x64xf32> -> tensor<1x17x64xi8>
    %4 = nn.quantize %0 scale %1 : tensor<64xf32> zero_point %3 : tensor<64xui8> axis 2
         : tensor<1x17x64xf32> -> tensor<1x17x64xui8>
    ```
    """

    name = "nn.quantize"
    input = operand_def(FLOATS)
    scale = operand_def(FLOATS)
    zero_point = opt_operand_def(BYTES)
    axis = opt_prop_def(INTEGER)
    result = result_def(BYTES)
    assembly_format = (
        "$input `scale` $scale `:` type($scale) (`zero_point` $zero_point^ `:` type($zero_point))?"
        " (`axis` $axis^)? attr-dict `:` type($input) `->` type($result)"
    )

    def __init__(
        self,
        operand: Value,
        scale: Value,
        zero_point: Value | None,
        axis: int | None = None,
        element: Element = i8,
    ):
        value, scales = SSAValue.get(operand), SSAValue.get(scale)
        shape = shape_of(value)
        if zero_point is not None:
            element = ui8 if element_type(SSAValue.get(zero_point)) == ui8 else i8
        per_axis = axis is not None and shape_of(scales) != ()
        super().__init__(
            operands=[value, scales, _optional(zero_point)],
            properties={"axis": integer(axis % len(shape)) if per_axis and axis is not None else None},
            result_types=[tensor(element, *shape)],
        )

    def verify_(self) -> None:
        """Scale and zero point fit the axis; the zero point is of the result's type."""
        _verify_scales(self.input, self.result, self.scale, self.zero_point, self.axis)
        if self.zero_point is not None:
            _expect_element(self.result, self.zero_point)


@irdl_op_definition
class DequantizeOp(NnOperation):
    """The value that a quantized one stands for: (x - zero_point) * scale in float32. `scale` and
    `zero_point` are scalars, or rows along `axis`.

    ```
    %2 = nn.dequantize %0 scale %1 : tensor<64xf32> axis 0 : tensor<64x128xi8> -> tensor<64x128xf32>
    ```
    """

    name = "nn.dequantize"
    input = operand_def(tensors_of(i8, ui8, i32))
    scale = operand_def(FLOATS)
    zero_point = opt_operand_def(tensors_of(i8, ui8, i32))
    axis = opt_prop_def(INTEGER)
    result = result_def(FLOATS)
    assembly_format = (
        "$input `scale` $scale `:` type($scale) (`zero_point` $zero_point^ `:` type($zero_point))?"
        " (`axis` $axis^)? attr-dict `:` type($input) `->` type($result)"
    )

    def __init__(
        self,
        operand: Value,
        scale: Value,
        zero_point: Value | None,
        axis: int | None = None,
        element: Element | None = None,
    ):
        value, scales = SSAValue.get(operand), SSAValue.get(scale)
        shape = shape_of(value)
        per_axis = axis is not None and shape_of(scales) != ()
        super().__init__(
            operands=[value, scales, _optional(zero_point)],
            properties={"axis": integer(axis % len(shape)) if per_axis and axis is not None else None},
            result_types=[tensor(element or element_type(scales), *shape)],
        )

    def verify_(self) -> None:
        """Scale and zero point fit the axis; the zero point is of the input's type."""
        _verify_scales(self.input, self.result, self.scale, self.zero_point, self.axis)
        if self.zero_point is not None:
            _expect_element(self.input, self.zero_point)


@irdl_op_definition
class DynamicQuantizeOp(NnOperation):
    """ONNX DynamicQuantizeLinear: unsigned 8-bit quantization of a whole tensor by its own range, which is
    stretched to hold 0. scale = (max - min) / 255, zero_point = saturate(rint(-min / scale)), result =
    saturate(rint(x / scale) + zero_point).

    ```
    %1, %2, %3 = nn.dynamic_quantize %0 : tensor<1x17x64xf32> -> tensor<1x17x64xui8>, tensor<f32>, tensor<ui8>
    ```
    """

    name = "nn.dynamic_quantize"
    input = operand_def(tensors_of(f32))
    result = result_def(tensors_of(ui8))
    scale = result_def(tensors_of(f32))
    zero_point = result_def(tensors_of(ui8))
    assembly_format = "$input attr-dict `:` type($input) `->` type($result) `,` type($scale) `,` type($zero_point)"

    def __init__(self, operand: Value):
        value = SSAValue.get(operand)
        super().__init__(operands=[value], result_types=[tensor(ui8, *shape_of(value)), tensor(f32), tensor(ui8)])

    def verify_(self) -> None:
        """The shape stays; scale and zero point are scalars."""
        _expect_shape(self.result, shape_of(self.input))
        _expect_shape(self.scale, ())
        _expect_shape(self.zero_point, ())


def _optional(value: Value | None) -> SSAValue | None:
    return None if value is None else SSAValue.get(value)


def _expect_shape(value: SSAValue, shape: Sequence[int]) -> None:
    if shape_of(value) != tuple(shape):
        raise VerifyException(f"expected shape {shapes.dims(shape)}, got {shapes.dims(shape_of(value))}")


def _expect_element(value: SSAValue, other: SSAValue) -> None:
    if element_type(value) != element_type(other):
        raise VerifyException(f"element types differ: {element_type(value)} and {element_type(other)}")


def _verify_norm(operand: SSAValue, result: SSAValue, axis: int, rows: Sequence[SSAValue | None]) -> None:
    shape = shape_of(operand)
    shapes.check_axes(len(shape), (axis,))
    _expect_shape(result, shape)
    for row in rows:
        if row is not None and not shapes.broadcasts_to(shape_of(row), shape):
            raise VerifyException(f"{shapes.dims(shape_of(row))} does not stretch to {shapes.dims(shape)}")


def _verify_scales(
    operand: SSAValue,
    result: SSAValue,
    scale: SSAValue,
    zero_point: SSAValue | None,
    axis: IntegerAttr[Any] | None,
) -> None:
    shape = shape_of(operand)
    _expect_shape(result, shape)
    expected: tuple[int, ...] = ()
    if axis is not None:
        shapes.check_axes(len(shape), (axis.value.data,))
        expected = (shape[axis.value.data],)
    _expect_shape(scale, expected)
    if zero_point is not None:
        _expect_shape(zero_point, expected)


Nn = Dialect(
    "nn",
    [
        ConstantOp,
        MapOp,
        CastOp,
        ReduceOp,
        SoftmaxOp,
        LayerNormOp,
        RmsNormOp,
        MatmulOp,
        TransposeOp,
        ReshapeOp,
        BroadcastOp,
        SliceOp,
        ConcatOp,
        PadOp,
        WindowsOp,
        GatherRowsOp,
        GreatestOp,
        IotaOp,
        CumsumOp,
        QuantizeOp,
        DequantizeOp,
        DynamicQuantizeOp,
    ],
    [RefAttr, EmptyRowAttr, ReductionAttr],
)
