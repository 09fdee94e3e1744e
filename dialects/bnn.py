"""The `bnn` dialect: values of less than a byte, packed for the matrix engine's packed modes, and their products.

Element types are `!bnn.bipolar` (-1 and 1), `!bnn.unipolar` (0 and 1), `!bnn.ternary`, `!bnn.int<2|4>` and
`!bnn.uint<2|4>` (`bnn_types`), of builtin tensors; layout and constants are those of `nn`. A tensor of them is packed
along its last axis, so that both operands of a product stand with K last.
"""

from __future__ import annotations

from typing import TypeAlias

from xdsl.dialects.builtin import f32, i1, i8, i32
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import Dialect, Operation, SpacedOpaqueSyntaxAttribute, SSAValue
from xdsl.irdl import irdl_attr_definition, irdl_op_definition, operand_def, opt_operand_def, prop_def, result_def
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum

from ..isa.matrix import RIGHT_VALUES, MatrixMode
from . import shapes
from .bnn_types import BipolarType, IntType, TernaryType, UIntType, UnipolarType, bipolar, unipolar
from .elements import PACKED, Element, element_type, shape_of, tensor, ui8, values_of
from .nn import FLOATS, REAL, NnOperation, real, tensors_of

Value: TypeAlias = SSAValue | Operation

BITS = tensors_of(bipolar, unipolar)
FEW_LEVELS = tensors_of(*PACKED)
LEFT = tensors_of(*PACKED, i8, ui8)
SUMS = tensors_of(i32)


class Tie(StrEnum):
    """What a value gives that equals its threshold: `ge` the upper bit, `gt` the lower one."""

    GE = "ge"
    GT = "gt"


@irdl_attr_definition
class TieAttr(EnumAttribute[Tie], SpacedOpaqueSyntaxAttribute):
    """`ge` or `gt`."""

    name = "bnn.tie"


@irdl_op_definition
class BinarizeOp(NnOperation):
    """One bit a value: the upper one where x >= threshold (tie `ge`) or x > threshold (`gt`), the other way round
    where `flip` is true. A NaN on either side compares as false. `threshold` and `flip` stretch to x.

    ```
    %2 = bnn.binarize %0 ge %1 : (tensor<1x17x64xf32>, tensor<64xf32>) -> tensor<1x17x64x!bnn.bipolar>
    %5 = bnn.binarize %3 gt %4 flip %6 : tensor<64xi1>
         : (tensor<1x17x64xi32>, tensor<64xi32>) -> tensor<1x17x64x!bnn.unipolar>
    ```
    """

    name = "bnn.binarize"
    input = operand_def(tensors_of(f32, i32))
    tie = prop_def(TieAttr)
    threshold = operand_def(tensors_of(f32, i32))
    flip = opt_operand_def(tensors_of(i1))
    result = result_def(BITS)
    assembly_format = (
        "$input $tie $threshold (`flip` $flip^ `:` type($flip))? attr-dict"
        " `:` `(` type($input) `,` type($threshold) `)` `->` type($result)"
    )

    def __init__(
        self,
        operand: Value,
        threshold: Value,
        tie: Tie | str = Tie.GE,
        flip: Value | None = None,
        element: Element = bipolar,
    ):
        value = SSAValue.get(operand)
        super().__init__(
            operands=[value, SSAValue.get(threshold), None if flip is None else SSAValue.get(flip)],
            properties={"tie": TieAttr(Tie(tie))},
            result_types=[tensor(element, *shape_of(value))],
        )

    def verify_(self) -> None:
        """Threshold and flip stretch to the value; value and threshold are both floats or both integers."""
        _expect_shape(self.result, shape_of(self.input))
        for value in (self.threshold, self.flip):
            if value is not None and not shapes.broadcasts_to(shape_of(value), shape_of(self.input)):
                raise VerifyException(
                    f"{shapes.dims(shape_of(value))} does not stretch to {shapes.dims(shape_of(self.input))}"
                )
        if element_type(self.input) != element_type(self.threshold):
            raise VerifyException(
                f"a value of {element_type(self.input)} is compared with one of {element_type(self.threshold)}"
            )


class Side(StrEnum):
    """Which values are true: those that are no less than a threshold, or those that are less."""

    GE = "ge"
    LT = "lt"


@irdl_attr_definition
class SideAttr(EnumAttribute[Side], SpacedOpaqueSyntaxAttribute):
    """`ge` or `lt`."""

    name = "bnn.side"


@irdl_op_definition
class CompareNormOp(NnOperation):
    """Whether the layer norm of x over its last axis (mean and variance in float32, times `scale`, plus `bias`) is on
    one side of a threshold, decided without it: x is compared with mean + sqrt(variance + epsilon) * (threshold -
    bias) / scale, the other way round where the scale is negative. A NaN is on no side.

    This reassociates the norm's float32 operations: a value within their rounding of a tie may fall to the other side.
    `scale`, `bias` and `threshold` are constants [C].

    ```
    %4 = bnn.compare_norm %0 scale %1 bias %2 ge %3 epsilon 1.000000e-05
         : (tensor<1x17x64xbf16>, tensor<64xf32>, tensor<64xf32>, tensor<64xf32>) -> tensor<1x17x64xi1>
    ```
    """

    name = "bnn.compare_norm"
    input = operand_def(FLOATS)
    scale = operand_def(tensors_of(f32))
    bias = operand_def(tensors_of(f32))
    side = prop_def(SideAttr)
    threshold = operand_def(tensors_of(f32))
    epsilon = prop_def(REAL)
    result = result_def(tensors_of(i1))
    assembly_format = (
        "$input `scale` $scale `bias` $bias $side $threshold `epsilon` $epsilon attr-dict"
        " `:` `(` type($input) `,` type($scale) `,` type($bias) `,` type($threshold) `)` `->` type($result)"
    )

    def __init__(self, operand: Value, scale: Value, bias: Value, threshold: Value, side: Side, epsilon: float):
        value = SSAValue.get(operand)
        super().__init__(
            operands=[value, SSAValue.get(scale), SSAValue.get(bias), SSAValue.get(threshold)],
            properties={"side": SideAttr(side), "epsilon": real(epsilon)},
            result_types=[tensor(i1, *shape_of(value))],
        )

    def verify_(self) -> None:
        """One scale, bias and threshold for each column."""
        _expect_shape(self.result, shape_of(self.input))
        for value in (self.scale, self.bias, self.threshold):
            _expect_shape(value, shape_of(self.input)[-1:])


@irdl_op_definition
class PackOp(NnOperation):
    """Values that are known to be of the result's set, packed; truth values become its upper and lower bit.

    Whatever else a value is (a NaN, say) becomes what the machine makes of it: a bit is the upper one where x > 0;
    floats are truncated and saturated, of integers the low bits are kept.

    ```
    %1 = bnn.pack %0 : tensor<1x17x64xi8> to tensor<1x17x64x!bnn.ternary>
    %3 = bnn.pack %2 : tensor<1x17x64xi1> to tensor<1x17x64x!bnn.bipolar>
    ```
    """

    name = "bnn.pack"
    input = operand_def(tensors_of(f32, i32, i8, ui8, i1))
    result = result_def(FEW_LEVELS)
    assembly_format = "$input attr-dict `:` type($input) `to` type($result)"

    def __init__(self, operand: Value, element: Element):
        value = SSAValue.get(operand)
        super().__init__(operands=[value], result_types=[tensor(element, *shape_of(value))])

    def verify_(self) -> None:
        """The shape stays."""
        _expect_shape(self.result, shape_of(self.input))


@irdl_op_definition
class UnpackOp(NnOperation):
    """The values that packed ones stand for.

    ```
    %1 = bnn.unpack %0 : tensor<1x17x64x!bnn.bipolar> to tensor<1x17x64xf32>
    ```
    """

    name = "bnn.unpack"
    input = operand_def(FEW_LEVELS)
    result = result_def(tensors_of(f32, i32, i8))
    assembly_format = "$input attr-dict `:` type($input) `to` type($result)"

    def __init__(self, operand: Value, element: Element = i8):
        value = SSAValue.get(operand)
        super().__init__(operands=[value], result_types=[tensor(element, *shape_of(value))])

    def verify_(self) -> None:
        """The shape stays."""
        _expect_shape(self.result, shape_of(self.input))


def mode_of(right: Element) -> MatrixMode | None:
    """The packed mode of the matrix engine whose right operand holds elements of this type; None where none does."""
    values = values_of(right)
    return next((mode for mode, taken in RIGHT_VALUES.items() if values in taken), None)


@irdl_op_definition
class MatmulOp(NnOperation):
    """Exact i32 product of [..., M, K] by the transpose of [..., N, K], leading axes broadcast.

    The right side's type says which packed mode of the matrix engine multiplies (`mode_of`); the left one may hold any
    few levels or bytes, and takes as many turns as it has more bits than the mode.

    ```
    %2 = bnn.matmul %0, %1
         : (tensor<1x17x64x!bnn.bipolar>, tensor<128x64x!bnn.bipolar>) -> tensor<1x17x128xi32>
    %5 = bnn.matmul %3, %4
         : (tensor<1x17x64x!bnn.uint<2>>, tensor<128x64x!bnn.ternary>) -> tensor<1x17x128xi32>
    ```
    """

    name = "bnn.matmul"
    lhs = operand_def(LEFT)
    rhs = operand_def(FEW_LEVELS)
    result = result_def(SUMS)
    assembly_format = "$lhs `,` $rhs attr-dict `:` `(` type($lhs) `,` type($rhs) `)` `->` type($result)"

    def __init__(self, lhs: Value, rhs: Value):
        left, right = SSAValue.get(lhs), SSAValue.get(rhs)
        super().__init__(
            operands=[left, right],
            result_types=[tensor(i32, *shapes.matmul(shape_of(left), shape_of(right), True))],
        )

    @property
    def mode(self) -> MatrixMode:
        """The arithmetic of the matrix engine."""
        mode = mode_of(element_type(self.rhs))
        assert mode is not None
        return mode

    def verify_(self) -> None:
        """Both sides have K last, and some mode takes what the right one holds."""
        _expect_shape(self.result, shapes.matmul(shape_of(self.lhs), shape_of(self.rhs), True))
        if mode_of(element_type(self.rhs)) is None:
            raise VerifyException(f"no mode of the matrix engine takes {element_type(self.rhs)} on the right")


@irdl_op_definition
class SumOp(NnOperation):
    """Sums along the last axis, which stays with an extent of 1, i32.

    ```
    %1 = bnn.sum %0 : tensor<1x17x64x!bnn.unipolar> -> tensor<1x17x1xi32>
    ```
    """

    name = "bnn.sum"
    input = operand_def(FEW_LEVELS)
    result = result_def(SUMS)
    assembly_format = "$input attr-dict `:` type($input) `->` type($result)"

    def __init__(self, operand: Value):
        value = SSAValue.get(operand)
        super().__init__(operands=[value], result_types=[tensor(i32, *shape_of(value)[:-1], 1)])

    def verify_(self) -> None:
        """The last axis becomes 1."""
        _expect_shape(self.result, (*shape_of(self.input)[:-1], 1))


def _expect_shape(value: SSAValue, shape: tuple[int, ...]) -> None:
    if shape_of(value) != shape:
        raise VerifyException(f"expected shape {shapes.dims(shape)}, got {shapes.dims(shape_of(value))}")


Bnn = Dialect(
    "bnn",
    [BinarizeOp, CompareNormOp, PackOp, UnpackOp, MatmulOp, SumOp],
    [BipolarType, UnipolarType, TernaryType, IntType, UIntType, TieAttr, SideAttr],
)
