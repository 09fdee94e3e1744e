"""A machine file to start from: every key of the schema with what it means, commented out where it is as in another
machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from fractions import Fraction
from typing import Any, cast, get_args, get_type_hints

from .engines import ENGINE_ROLES
from .hardware import ACTIONS, AREAS, Figure, Machine
from .structures import Structure

_OWN = ("name", "description")
"""Keys that a machine never takes over from another."""

_ENTRIES: Mapping[str, Mapping[str, str]] = {
    "engines": {engine.value: role for engine, role in ENGINE_ROLES.items()},
    "energy_pj": ACTIONS,
    "area_um2": AREAS,
}
"""What the entries of a table mean, where its fields do not say it."""


def machine_template(name: str, base: Machine, extends: str) -> str:
    """The text of a machine file called `name` that extends `base`, which it calls `extends`: as it stands it is `base`
    under another name, and so it stays with every line uncommented."""
    return "\n".join(_lines(name, base, extends)) + "\n"


def _lines(name: str, base: Machine, extends: str) -> Iterator[str]:
    yield f"# A machine file. What is commented out is as in {extends}: uncomment a line to change it."
    yield f"extends = {_value(extends)}"
    meanings = _meanings(Machine)
    yield from (f"name = {_value(name)}  # {meanings['name']}", "")
    yield from (f"# {meanings['description']}", f"description = {_value(f'{name}: as {base.name}')}")
    tables: list[str] = []
    for item in fields(Machine):
        value = getattr(base, item.name)
        if is_dataclass(value) or isinstance(value, Mapping):
            tables.append(item.name)
        elif item.name not in _OWN:
            yield from ("", f"# {meanings[item.name]}", f"# {item.name} = {_value(value)}")
    for table in tables:
        yield from ("", f"# {meanings[table]}", f"[{table}]")
        yield from _entries(table, getattr(base, table))


def _entries(table: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        meanings, entries = _ENTRIES[table], cast("Mapping[str, Any]", value)
    else:
        meanings = _ENTRIES.get(table) or _meanings(cast("type[Any]", type(value)))
        entries = {item.name: getattr(value, item.name) for item in fields(value)}
    further: list[str] = []
    for key, entry in entries.items():
        if isinstance(entry, Mapping):
            further += ["", f"# {meanings[key]}", f"[{table}.{key}]"]
            further += [f"# {name} = {_value(rate)}" for name, rate in cast("Mapping[str, Any]", entry).items()]
            continue
        yield f"# {meanings[key]}"
        yield f"# {_value(key) if '.' in key else key} = {_value(entry)}"
    yield from further


def _meanings(kind: type[Any]) -> dict[str, str]:
    """What each field of a dataclass means, as its annotation says."""
    hints = get_type_hints(kind, include_extras=True)
    return {item.name: get_args(hints[item.name])[-1] for item in fields(kind) if get_args(hints[item.name])}


def _value(value: Any) -> str:
    """A value as TOML."""
    match value:
        case bool():
            return str(value).lower()
        case Fraction():
            return str(value.numerator) if value.denominator == 1 else json.dumps(str(value))
        case Figure():
            parts = {item.name: getattr(value, item.name) for item in fields(value) if _told(item.name, value)}
            return f"{{ {', '.join(f'{name} = {_value(part)}' for name, part in parts.items())} }}"
        case Structure():
            return json.dumps(str(value))
        case tuple():
            items = cast("tuple[object, ...]", value)
            return f"[{', '.join(map(_value, items))}]"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


def _told(name: str, figure: Figure) -> bool:
    """Whether a figure's field is not what it is when left out."""
    default = Figure.__dataclass_fields__[name].default
    return getattr(figure, name) != default
