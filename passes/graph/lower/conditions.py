"""Conditions of lowering rules: each says once, in words, what must hold; that sentence is the line of
docs/operators.md and the reason of the refusal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ....isa.frozen import frozen
from ...refusal import RefusalError

if TYPE_CHECKING:
    from .lowering import Lowering


class UnknownValueError(RefusalError):
    """A node some of whose operands, `names`, would have to be known when compiling.

    Where those come from refused nodes, the cause is there and not here.
    """

    def __init__(self, names: tuple[str | int, ...], reason: str, remedy: str = "") -> None:
        self.names = names
        super().__init__(reason, remedy)


class UnknownShapeError(RefusalError):
    """A node whose operands or results have no static shape.

    Where an operand comes from a refused node, the cause is there and not here.
    """


@frozen
class Condition:
    """What must hold for a rule to apply: `sentence` in words, `holds` as a test, `remedy` for when it does
    not.
    """

    sentence: str
    holds: Callable[[Lowering], bool]
    remedy: str = ""

    def require(self, rule: Lowering) -> None:
        """Raise RefusalError if the condition does not hold for the rule's node."""
        if not self.holds(rule):
            raise RefusalError(f"it is required that {self.sentence}", self.remedy)


def condition(remedy: str = "") -> Callable[[Callable[[Lowering], bool]], Condition]:
    """Make a condition of a test whose docstring is the sentence."""

    def make(test: Callable[[Lowering], bool]) -> Condition:
        assert test.__doc__ is not None, "a condition without a sentence cannot be shown"
        return Condition(test.__doc__, test, remedy)

    return make


@frozen
class ConstantOperands(Condition):
    """The condition that operands, as far as they are present, are known when compiling."""

    names: tuple[str, ...] = ()

    def require(self, rule: Lowering) -> None:
        """Raise UnknownValueError naming the operands that are not known."""
        missing = tuple(name for name in self.names if rule.has(name) and not rule.is_constant(name))
        if missing:
            raise UnknownValueError(missing, f"{listed(missing)} must be known when compiling", self.remedy)


def constant_operand(*names: str) -> Condition:
    """Every present operand of `names` is known when compiling."""
    return ConstantOperands(
        listed(names) + (" is a compile-time constant" if len(names) == 1 else " are compile-time constants"),
        lambda rule: all(rule.is_constant(name) for name in names if rule.has(name)),
        "make it an initializer, or fix what it is computed from with --shape or --constants",
        names,
    )


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    quoted = [f"`{name}`" for name in names]
    return " and ".join((", ".join(quoted[:-1]), quoted[-1])) if len(quoted) > 1 else quoted[0]


def no_result(*names: str, why: str) -> Condition:
    """None of the optional results `names` is used; `why` says what they would need."""
    return Condition(
        f"the optional {listed(names)} {'is' if len(names) == 1 else 'are'} not used ({why})",
        lambda rule: not any(rule.wants(name) for name in names),
        "remove the output from the model",
    )


def attribute_is(name: str, *allowed: object, remedy: str = "") -> Condition:
    """The attribute `name` is absent or has one of the values `allowed`."""
    values = ", ".join(map(str, allowed[:-1])) + " or " * (len(allowed) > 1) + str(allowed[-1])
    return Condition(f"`{name}` is {values}", lambda rule: rule.raw_attribute(name, allowed[0]) in allowed, remedy)
