"""Value classes: dataclasses that compare, hash and print by their fields, and are never changed once made.

For every frozen class `dataclasses` writes and compiles six methods, which made up a sixth of the command's start-up.
Here only `__init__` is compiled. That nobody assigns to a field is left to the type checker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform, overload

Class = TypeVar("Class", bound=type[Any])


@overload
def frozen(cls: Class, /) -> Class: ...
@overload
def frozen(*, eq: bool = True) -> Callable[[Class], Class]: ...


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[Any] | None = None, /, *, eq: bool = True) -> Any:
    """Make a value class of `cls`; with `eq=False`, one that is compared and hashed as its bases are."""

    def made(cls: type[Any]) -> type[Any]:
        cls = dataclass(repr=False, eq=False)(cls)
        methods = {**(_comparison(cls) if eq else {}), "__repr__": _text}
        for name, method in methods.items():
            if name not in vars(cls):
                setattr(cls, name, method)
        return cls

    return made if cls is None else made(cls)


def _comparison(cls: type[Any]) -> dict[str, Callable[..., Any]]:
    """Equality and hash by the fields of a dataclass."""
    key = _key([one.name for one in fields(cls) if one.compare])

    def equal(self: Any, other: Any) -> Any:
        if self.__class__ is not other.__class__:
            return NotImplemented
        return key(self) == key(other)

    def digest(self: Any) -> int:
        return hash(key(self))

    return {"__eq__": equal, "__hash__": digest}


def _key(names: list[str]) -> Callable[[Any], Any]:
    return attrgetter(*names) if names else type


def _text(self: Any) -> str:
    shown = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__qualname__}({shown})"
