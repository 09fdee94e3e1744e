"""What a form of attention is: parameters with a spelling, a definition in numpy, and counts.

A form is a frozen dataclass whose fields are its parameters (int, float or str). It is spelled `name`, `name:value`
with a value of its first parameter, or `name:value,parameter=value`; the same spelling stands in recipes, in the IR and
in the program file. There are three kinds of forms:

- A `Pattern` says which keys a query sees whatever the data: scores of other keys are absent from its softmax. Patterns
  unite: `window:64,global:1`. All that lowering asks of them are their runs of keys (`dialects/key_runs.py`), so that a
  pattern needs no lowering of its own. One that is `Calibrated` becomes a bitmap, made of mean attention maps.
- A `Pruning` (`pruning`) says by the scores themselves which of them are kept.
- A `Linear` form (`linear`) puts other arithmetic in the softmax's place: it gives the `nn` operations that compute it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ...isa.errors import UsageError
from ...isa.frozen import frozen
from ..key_runs import Bools, Ints, KeyRuns

if TYPE_CHECKING:
    from ..constants import Array

PARAMETER_TYPES = {"int": int, "float": float, "str": str}

LARGEST = (1 << 31) - 1
"""The greatest whole number that a parameter takes."""


@frozen
class Form(ABC):
    """A form of attention; `label` is its name in recipes, its docstring's first paragraph what it means."""

    label: ClassVar[str]

    @classmethod
    def read(cls, settings: tuple[tuple[str, str], ...]) -> Self:
        """From the settings of a spelling: pairs of a parameter, or "" for the first one, and a value.

        Raises UsageError for a parameter that is unknown, given twice, missing or of another type.
        """
        known = {field.name: field for field in fields(cls)}
        found: dict[str, Any] = {}
        for name, text in settings:
            field = known.get(name or next(iter(known), ""))
            if field is None:
                told = f"its parameters are {', '.join(known)}" if known else "it has no parameters"
                raise UsageError(f"attention form {cls.label!r} has no parameter {name or text!r}", told)
            if field.name in found:
                raise UsageError(f"attention form {cls.label!r} has {field.name!r} twice")
            found[field.name] = _number(cls.label, field, text)
        missing = [name for name, field in known.items() if field.default is MISSING and name not in found]
        if missing:
            raise UsageError(f"attention form {cls.label!r} lacks {missing[0]!r}", f"write {cls.label}:VALUE")
        return cls(**found)

    def refuse(self, condition: bool, reason: str) -> None:
        """Raise UsageError where parameters are out of their range: for `__post_init__`."""
        if condition:
            raise UsageError(f"attention form '{self}': {reason}")

    def misfit(self, queries: int, keys: int) -> str | None:
        """Why the form cannot be that of so many queries and keys; None where it can."""
        return None

    def __str__(self) -> str:
        parts: list[str] = []
        for place, field in enumerate(fields(self)):
            value = getattr(self, field.name)
            if place == 0 and field.default is MISSING:
                parts.append(f":{value}")
            elif value != field.default:
                parts.append(f"{',' if parts else ':'}{field.name}={value}")
        return self.label + "".join(parts)


@frozen
class Tokens:
    """What a pattern is asked about: the queries and keys of one head, and the bitmap [queries, keys] that comes with
    the attention, if one does. Query i stands at key i + keys - queries: where there are more keys than queries, these
    are the last."""

    head: int
    queries: int
    keys: int
    shown: Bools | None = None

    @cached_property
    def positions(self) -> Ints:
        """Which key each query stands at; below 0 where there are fewer keys."""
        return np.arange(self.queries, dtype=np.int64) + (self.keys - self.queries)


@frozen
class Pattern(Form):
    """A form that shows the same keys whatever the data. `by_head`: whether heads differ."""

    by_head: ClassVar[bool] = False

    @abstractmethod
    def runs(self, tokens: Tokens) -> KeyRuns:
        """The definition: the keys that each query sees."""


@frozen
class Calibrated(Pattern):
    """A pattern of single heads that is made of their mean attention over samples, and is the form `bitmap` from then
    on."""

    by_head: ClassVar[bool] = True

    @abstractmethod
    def masks(self, maps: Sequence[Array]) -> list[Bools]:
        """The bits [queries, keys] of every head that a rule speaks of, from their mean attention maps, float of the
        same shapes. Raises UsageError where the maps give none as asked for."""

    def runs(self, tokens: Tokens) -> KeyRuns:
        """Those of the bits that were made."""
        assert tokens.shown is not None, "forms are chosen with their bits"
        return KeyRuns.of_mask(tokens.shown)


def _number(label: str, field: Field[Any], text: str) -> int | float | str:
    # A type, or its name where the module's annotations are not evaluated.
    kind = PARAMETER_TYPES[getattr(field.type, "__name__", str(field.type))]
    try:
        number = kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise UsageError(f"{field.name!r} of attention form {label!r} is {what}, not {text!r}") from None
    if isinstance(number, int) and abs(number) > LARGEST:
        what = f"a whole number up to {LARGEST}"
        raise UsageError(f"{field.name!r} of attention form {label!r} is {what}, not {text!r}")
    return number
