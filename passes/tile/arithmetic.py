"""In what arithmetic of the matrix engine a product operation runs, and how its right operand stands."""

from __future__ import annotations

from typing import TypeAlias

from ...dialects import bnn, nn
from ...dialects.elements import Element, element_type, format_of, is_packed, values_of
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.matrix import MatrixMode, Values

Product: TypeAlias = nn.MatmulOp | bnn.MatmulOp

MODES = {Format.F32: MatrixMode.F32, Format.F16: MatrixMode.F16, Format.BF16: MatrixMode.BF16, Format.I8: MatrixMode.I8}
"""The array's arithmetic by the format of the operands of an `nn.matmul`."""


@frozen
class Arithmetic:
    """A mode; what both operands hold where it is a packed one; whether the right one stands as [..., N, K]."""

    mode: MatrixMode
    values: tuple[Values, Values] | None
    transposed: bool

    @staticmethod
    def of(product: Product) -> Arithmetic:
        """That of a product operation."""
        if isinstance(product, nn.MatmulOp):
            mode = MODES[format_of(element_type(product.lhs))]
            return Arithmetic(mode, None, product.transpose_rhs is not None)
        return Arithmetic.of_elements(element_type(product.lhs), element_type(product.rhs))

    @staticmethod
    def of_elements(left: Element, right: Element) -> Arithmetic:
        """That of operands of element types; of a packed right one that stands as [..., N, K]."""
        if not is_packed(right):
            return Arithmetic(MODES[format_of(right)], None, False)
        mode = bnn.mode_of(right)
        assert mode is not None
        return Arithmetic(mode, (_held(left), _held(right)), True)

    @property
    def left(self) -> Values:
        """What the left operand holds: the mode's own, unless it is a packed one."""
        return Values.OWN if self.values is None else self.values[0]


def _held(element: Element) -> Values:
    values = values_of(element)
    assert values is not None
    return values
