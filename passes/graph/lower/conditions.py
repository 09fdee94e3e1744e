"""Conditions of lowering rules: each says once, in words, what must hold; that sentence is the line of
docs/operators.md and the reason of the refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .lowering import Lowering


class RefusalError(Exception):
    """A node that a rule cannot lower: why, and what would help."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(reason)


@dataclass(frozen=True)
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


def constant_operand(*names: str) -> Condition:
    """Every present operand of `names` is known when compiling."""
    listed = " and ".join(f"`{name}`" for name in names)
    verb = "is a compile-time constant" if len(names) == 1 else "are compile-time constants"
    return Condition(
        f"{listed} {verb}",
        lambda rule: all(rule.is_constant(name) for name in names if rule.has(name)),
        "fix the shapes it is computed from with --shape, or make it an initializer",
    )


def no_result(*names: str, why: str) -> Condition:
    """None of the optional results `names` is used; `why` says what they would need."""
    listed = " and ".join(f"`{name}`" for name in names)
    return Condition(
        f"the optional {listed} {'is' if len(names) == 1 else 'are'} not used ({why})",
        lambda rule: not any(rule.wants(name) for name in names),
        "remove the output from the model",
    )


def attribute_is(name: str, *allowed: object, remedy: str = "") -> Condition:
    """The attribute `name` is absent or has one of the values `allowed`."""
    listed = " or ".join(map(str, allowed))
    return Condition(
        f"`{name}` is {listed}", lambda rule: rule.raw_attribute(name, allowed[0]) in allowed, remedy
    )
