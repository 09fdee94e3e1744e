"""What a recipe forces of the tiling of single products: a loop order, and sizes of tiles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields

from ..isa.errors import UsageError
from ..isa.frozen import frozen

AXES = "bijk"
MAXIMUM_SIZE = 65535
RULE = re.compile(r"(?P<match>.+?)=(?P<settings>\w+=\w+(?:,\w+=\w+)*)")


@frozen
class TileChoice:
    """A loop order ("bkij"; None leaves it to the search) and sizes of tiles (0: the search's), cut to the product's
    extents where they are larger."""

    order: str | None = None
    rows: int = 0
    columns: int = 0
    depth: int = 0

    def __post_init__(self) -> None:
        if self.order is not None and sorted(self.order) != sorted(AXES):
            raise UsageError(f"{self.order!r} is no loop order", f"an order has each of {', '.join(AXES)} once")
        for name in ("rows", "columns", "depth"):
            size = getattr(self, name)
            if not 0 <= size <= MAXIMUM_SIZE:
                raise UsageError(f"a tile cannot have {size} {name}", f"sizes are 1 to {MAXIMUM_SIZE}")


FREE = TileChoice()
"""Everything is left to the search."""


@frozen
class TileRule:
    """What is forced for the products whose path or node name matches the shell pattern `match`.

    Its text, by which passes are given it, is `pattern=order=bkij,rows=64`.
    """

    match: str
    choice: TileChoice

    def __str__(self) -> str:
        return f"{self.match}=" + ",".join(f"{key}={value}" for key, value in self.settings.items())

    @property
    def settings(self) -> dict[str, str | int]:
        """What is not left to the search."""
        return {field.name: value for field in fields(TileChoice) if (value := getattr(self.choice, field.name))}

    @staticmethod
    def of(match: str, settings: Mapping[str, object]) -> TileRule:
        """From plain settings. Raises UsageError for what is unknown, out of range, or nothing at all."""
        known = tuple(field.name for field in fields(TileChoice))
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise UsageError(f"[[tile]] has no key {unknown[0]!r}", f"it knows match, {', '.join(known)}")
        if not settings:
            raise UsageError(f"the tile rule for {match!r} forces nothing", f"give it any of {', '.join(known)}")
        order, sizes = settings.get("order"), {key: settings[key] for key in known[1:] if key in settings}
        if not isinstance(order, str | None):
            raise UsageError("`order` of [[tile]] is text")
        found: dict[str, int] = {}
        for key, value in sizes.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError(f"`{key}` of [[tile]] is a number of 1 or more")
            found[key] = value
        return TileRule(match, TileChoice(order, **found))

    @staticmethod
    def parse(text: str) -> TileRule:
        """From its text. Raises UsageError."""
        found = RULE.fullmatch(text)
        if found is None:
            raise UsageError(f"{text!r} is no tile rule", "write pattern=order=bkij,rows=64")
        pairs = (item.split("=") for item in found["settings"].split(","))
        return TileRule.of(found["match"], {key: int(value) if value.isdigit() else value for key, value in pairs})
