"""Element types of less than a byte: what the matrix engine's packed modes multiply (`isa.matrix.Values`).

A tensor of them is stored packed along its last axis, whose rows start at a byte; everywhere above the tile level it
is a tensor of whole numbers, and numpy holds those as int8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, cast

from xdsl.dialects.builtin import IntAttr
from xdsl.ir import Attribute, ParametrizedAttribute, TypeAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

WIDTHS = (2, 4)
"""Bits that a packed integer may have."""


@irdl_attr_definition
class BipolarType(ParametrizedAttribute, TypeAttribute):
    """A bit that stands for -1 or 1: `!bnn.bipolar`."""

    name = "bnn.bipolar"


@irdl_attr_definition
class UnipolarType(ParametrizedAttribute, TypeAttribute):
    """A bit that stands for 0 or 1: `!bnn.unipolar`."""

    name = "bnn.unipolar"


@irdl_attr_definition
class TernaryType(ParametrizedAttribute, TypeAttribute):
    """-1, 0 or 1 in two bits: `!bnn.ternary`."""

    name = "bnn.ternary"


class _Integer(ParametrizedAttribute, TypeAttribute):
    """A whole number of a few bits: subclasses declare their `width`, by which they are told apart."""

    @property
    def bits(self) -> int:
        """Bits of a value."""
        return cast(IntAttr, self.parameters[0]).data

    def verify(self) -> None:
        if self.bits not in WIDTHS:
            raise VerifyException(f"packed integers have {' or '.join(map(str, WIDTHS))} bits, not {self.bits}")

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse `<bits>`."""
        with parser.in_angle_brackets():
            return (IntAttr(parser.parse_integer(allow_boolean=False, allow_negative=False)),)

    def print_parameters(self, printer: Printer) -> None:
        """Print `<bits>`."""
        with printer.in_angle_brackets():
            printer.print_string(str(self.bits))


@irdl_attr_definition
class IntType(_Integer):
    """Two's complement of 2 or 4 bits: `!bnn.int<4>`."""

    name = "bnn.int"
    width: IntAttr


@irdl_attr_definition
class UIntType(_Integer):
    """Whole numbers from 0 of 2 or 4 bits: `!bnn.uint<4>`."""

    name = "bnn.uint"
    width: IntAttr


PackedType: TypeAlias = BipolarType | UnipolarType | TernaryType | IntType | UIntType

bipolar = BipolarType()
unipolar = UnipolarType()
ternary = TernaryType()
int2, int4 = IntType(IntAttr(2)), IntType(IntAttr(4))
uint2, uint4 = UIntType(IntAttr(2)), UIntType(IntAttr(4))
