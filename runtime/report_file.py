"""Reading the report of a run back from the JSON file that `run --json` writes."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, cast, get_args, get_origin, get_type_hints

from ..isa.errors import InputError
from .report import ROWS, SCHEMA_VERSION, Performance, Report, Summary

_REMEDY = "give a program, or what `attnc run --json` of this version wrote"


def read_report(path: Path) -> Report:
    """The report of a JSON file. Raises InputError for a file that is none, naming what is wrong with it."""
    try:
        content: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"is not valid JSON: {error}", _REMEDY) from None
    try:
        return report_of(content)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(str(path), f"is no report of a run: {reason}", _REMEDY) from None


def report_of(content: Any) -> Report:
    """The report that `to_dict` made plain values of. KeyError, TypeError or ValueError where it was none."""
    mapping = _mapping(content, "it")
    if mapping.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"its schema_version is not {SCHEMA_VERSION}")
    summary = _mapping(mapping["summary"], "summary")
    performance = _made(Performance, summary, "summary") if "cycles" in summary else None
    rows: dict[str, Any] = {
        name: tuple(_made(kind, item, name) for item in _listed(mapping[name], name)) for name, kind in ROWS.items()
    }
    changes = rows.pop("changes")
    return Report(
        summary=_made(Summary, {**summary, "performance": performance}, "summary"),
        setting=_mapping(mapping["setting"], "setting"),
        make_changes=lambda: changes,
        **rows,
    )


def _made(kind: type[Any], content: Any, where: str) -> Any:
    """A dataclass of the values of its fields; others are left alone, as Performance stands flat in the summary."""
    mapping, hints = _mapping(content, where), get_type_hints(kind)
    return kind(**{item.name: _value(hints[item.name], mapping[item.name], item.name) for item in fields(kind)})


def _value(hint: Any, content: Any, where: str) -> Any:
    """`content` as a value of a field's type: number, text, tuple, mapping, or another dataclass."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple:
        return tuple(_value(inner[0], item, where) for item in _listed(content, where))
    if origin is dict:
        return {str(key): _value(inner[1], item, where) for key, item in _mapping(content, where).items()}
    if origin is UnionType and NoneType in inner:
        # The only such field is the performance, which has been made.
        return content
    if hint is float and isinstance(content, int) and not isinstance(content, bool):
        return float(content)
    if hint in (int, float, str):
        if not isinstance(content, hint) or isinstance(content, bool):
            raise TypeError(f"{where} is {content!r}, not {hint.__name__}")
        return content
    return _made(hint, content, where)


def _mapping(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise TypeError(f"{where} is no mapping")
    return cast("dict[str, Any]", content)


def _listed(content: Any, where: str) -> list[Any]:
    if not isinstance(content, list):
        raise TypeError(f"{where} is no list")
    return cast("list[Any]", content)
