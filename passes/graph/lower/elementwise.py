"""Rules for operators that are one lane function on every element, with numpy broadcasting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ....dialects.elements import element_type, is_float
from ...builder import saturated
from .conditions import attribute_is
from .lowering import Lowering, Rules


class Unary(Lowering):
    """`map`: one function on every element."""

    functions: ClassVar[Mapping[str, str]] = {
        "Abs": "abs",
        "Acos": "acos",
        "Acosh": "acosh",
        "Asin": "asin",
        "Asinh": "asinh",
        "Atan": "atan",
        "Atanh": "atanh",
        "BitwiseNot": "bit_not",
        "Ceil": "ceil",
        "Cos": "cos",
        "Cosh": "cosh",
        "Erf": "erf",
        "Exp": "exp",
        "Floor": "floor",
        "IsNaN": "is_nan",
        "Log": "log",
        "Neg": "neg",
        "Not": "not",
        "Reciprocal": "reciprocal",
        "Round": "rint",
        "Sigmoid": "sigmoid",
        "Sign": "sign",
        "Sin": "sin",
        "Sinh": "sinh",
        "Softplus": "softplus",
        "Sqrt": "sqrt",
        "Tan": "tan",
        "Tanh": "tanh",
    }
    operators = tuple(functions)

    def lower(self) -> SSAValue:
        """One map; rounding is half to even, the sign of 0 is 0."""
        return self.build.map(self.functions[self.node.operator], self.operand(0))


class Binary(Lowering):
    """`map`: one function on pairs of elements; integer division truncates toward zero."""

    functions: ClassVar[Mapping[str, str]] = {
        "Add": "add",
        "And": "and",
        "BitwiseAnd": "bit_and",
        "BitwiseOr": "bit_or",
        "BitwiseXor": "bit_xor",
        "Div": "div",
        "Equal": "eq",
        "Greater": "gt",
        "GreaterOrEqual": "ge",
        "Less": "lt",
        "LessOrEqual": "le",
        "Mul": "mul",
        "Or": "or",
        "Sub": "sub",
        "Xor": "xor",
    }
    operators = tuple(functions)

    def lower(self) -> SSAValue:
        """One map."""
        return self.build.map(self.functions[self.node.operator], self.operand(0), self.operand(1))


class Variadic(Lowering):
    """A chain of `map`, from left to right; `Mean` divides the sum by the number of operands."""

    functions: ClassVar[Mapping[str, str]] = {"Max": "max", "Mean": "add", "Min": "min", "Sum": "add"}
    operators = tuple(functions)

    def lower(self) -> SSAValue:
        """n - 1 maps."""
        build = self.build
        mean = self.node.operator == "Mean"
        first, *others = self.operands(0)
        total = build.widen(first) if mean else first
        for value in others:
            total = build.map(self.functions[self.node.operator], total, value)
        return build.map("div", total, float(1 + len(others))) if mean else total


class Modulo(Lowering):
    """`map` of `mod` (the sign of the divisor) or, with `fmod` = 1, of `fmod` (the sign of the dividend)."""

    operators = ("Mod",)

    def lower(self) -> SSAValue:
        """One map."""
        function = "fmod" if self.attribute("fmod", int, 0) else "mod"
        return self.build.map(function, self.operand("A"), self.operand("B"))


class Power(Lowering):
    """`map` of `pow`; an integer base with a floating-point exponent is computed in float32 and truncated."""

    operators = ("Pow",)

    def lower(self) -> SSAValue:
        """One map, with the exponent brought to the kind of the base."""
        build = self.build
        base, exponent = self.operand("X"), self.operand("Y")
        element = element_type(base)
        if is_float(element):
            return build.map("pow", base, exponent if is_float(element_type(exponent)) else build.cast(exponent, f32))
        if is_float(element_type(exponent)):
            return build.cast(build.map("pow", build.cast(base, f32), exponent), element)
        return build.map("pow", base, exponent)


class Where(Lowering):
    """`map` of `select`."""

    operators = ("Where",)

    def lower(self) -> SSAValue:
        """One map of three operands."""
        return self.build.map("select", self.operand("condition"), self.operand("X"), self.operand("Y"))


class IsInfinite(Lowering):
    """`map` of `is_inf`, or a comparison where one sign only is looked for."""

    operators = ("IsInf",)

    def lower(self) -> SSAValue:
        """One map."""
        build, value = self.build, self.operand("X")
        positive, negative = (
            self.attribute("detect_positive", int, 1),
            self.attribute("detect_negative", int, 1),
        )
        if positive and negative:
            return build.map("is_inf", value)
        if positive or negative:
            return build.map("eq", value, float("inf") if positive else float("-inf"))
        return build.map("lt", value, float("-inf"))


class BitShift(Lowering):
    """`map` of `shift_left` or `shift_right`; amounts outside the width leave only the sign."""

    operators = ("BitShift",)
    conditions = (attribute_is("direction", "LEFT", "RIGHT"),)

    def lower(self) -> SSAValue:
        """One map; a right shift by a negative amount is one by all bits."""
        build = self.build
        value, amount = self.operand("X"), self.operand("Y")
        if self.attribute("direction", str, "") == "LEFT":
            return build.map("shift_left", value, amount)
        if not self.is_constant("Y") or (self.constant("Y") < 0).any():
            amount = build.map("select", build.map("lt", amount, 0), 31, amount)
        return build.map("shift_right", value, amount)


class Clip(Lowering):
    """`map` of `max` with the lower bound, then of `min` with the upper one."""

    operators = ("Clip",)

    def lower(self) -> SSAValue:
        """Up to two maps; int64 bounds outside int32 are clamped, which changes no int32 value."""
        build, value = self.build, self.operand("input")
        for name, function in (("min", "max"), ("max", "min")):
            if self.has(name):
                value = build.map(function, value, self.clamped(name))
        return value

    def clamped(self, name: str) -> SSAValue:
        """The bound `name`, of rank 0."""
        if not self.is_constant(name):
            return self.build.reshape(self.operand(name), ())
        bound = self.constant(name).reshape(())
        return self.build.constant(saturated(bound))


RULES: Rules = (Unary, Binary, Variadic, Modulo, Power, Where, IsInfinite, BitShift, Clip)
