"""Value classes: dataclasses that compare, hash and print by their fields, and are never changed once made.

For every frozen class `dataclasses` writes and compiles six methods, which made up a sixth of the command's start-up.
Here one `__init__` is compiled for all classes with as many fields, unless more than taking them is to be done. That
nobody assigns to a field is left to the type checker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from operator import attrgetter
from types import CodeType, FunctionType
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
        takes_fields_only = _takes_fields_only(cls)
        cls = dataclass(init=not takes_fields_only, repr=False, eq=False)(cls)
        if takes_fields_only:
            cls.__init__ = _initializer(cls)
        methods = {**(_comparison(cls) if eq else {}), "__repr__": _text}
        for name, method in methods.items():
            if name not in vars(cls):
                setattr(cls, name, method)
        return cls

    return made if cls is None else made(cls)


def _takes_fields_only(cls: type[Any]) -> bool:
    """Whether all that `__init__` has to do for a class is to take its fields, by position or name."""
    further = any(isinstance(one, Field) for one in vars(cls).values())
    inherited = [one for base in cls.__mro__[1:] if is_dataclass(base) for one in fields(base)]
    is_plain = all(one.init and not one.kw_only and one.default_factory is MISSING for one in inherited)
    return is_plain and not further and not hasattr(cls, "__post_init__")


def _initializer(cls: type[Any]) -> FunctionType:
    """The `__init__` of a dataclass that only takes its fields."""
    names = tuple(one.name for one in fields(cls))
    defaults = [one.default for one in fields(cls)]
    given = tuple(default for default in defaults if default is not MISSING)
    if MISSING in defaults[len(names) - len(given) :]:
        raise TypeError(f"{cls.__qualname__}: fields without a default stand before those with one")
    code = _assignments(len(names)).replace(
        co_varnames=("self", *names), co_names=names, co_qualname=f"{cls.__qualname__}.__init__"
    )
    return FunctionType(code, {}, "__init__", given)


@cache
def _assignments(count: int) -> CodeType:
    """The code of an `__init__` that takes so many fields, whose names are yet to be put in."""
    names = [f"field{place}" for place in range(count)]
    scope: dict[str, Any] = {}
    body = "; ".join(f"self.{name} = {name}" for name in names) or "pass"
    exec(f"def __init__({', '.join(['self', *names])}): {body}", scope)
    return scope["__init__"].__code__


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
