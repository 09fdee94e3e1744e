"""Names for places in memory in assembly text: `<name>+offset` for what the program's memory map knows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from urllib.parse import quote, unquote

from .blocks import Space
from .errors import UsageError
from .program import MemoryEntry

# Characters that may stand in a name as they are; others are written %XX.
_PLAIN = "/:.-_()[]~$@!"


class PlaceNames:
    """Names of memory map entries, both ways.

    Of entries that overlap, the one that begins last names a place; a name of several places names none.
    """

    def __init__(self, entries: Iterable[MemoryEntry]) -> None:
        self._places: dict[str, tuple[Space, int]] = {}
        doubled: set[str] = set()
        kept: list[MemoryEntry] = []
        for entry in entries:
            if entry.name in self._places and self._places[entry.name] != (entry.space, entry.address):
                doubled.add(entry.name)
            self._places[entry.name] = (entry.space, entry.address)
            kept.append(entry)
        for name in doubled:
            del self._places[name]
        self._starts: dict[Space, list[int]] = {}
        self._entries: dict[Space, list[MemoryEntry]] = {}
        for entry in sorted(kept, key=lambda item: (item.address, item.name)):
            if entry.name not in doubled:
                self._starts.setdefault(entry.space, []).append(entry.address)
                self._entries.setdefault(entry.space, []).append(entry)
        self._known: dict[tuple[Space, int], str | None] = {}

    def name_of(self, space: Space, address: int) -> str | None:
        """`<name>` or `<name>+offset` for an address inside an entry, else None."""
        key = (space, address)
        if key not in self._known:
            self._known[key] = self._find(space, address)
        return self._known[key]

    def _find(self, space: Space, address: int) -> str | None:
        place = bisect_right(self._starts.get(space, []), address) - 1
        if place < 0:
            return None
        entry = self._entries[space][place]
        offset = address - entry.address
        if offset >= max(entry.bytes, 1):
            return None
        label = f"<{quote(entry.name, safe=_PLAIN)}>"
        return label if offset == 0 else f"{label}+{offset:#x}"

    def address_of(self, name: str) -> tuple[Space, int]:
        """The place called `name` (as text writes it); UsageError if there is none, or several."""
        plain = unquote(name)
        if plain not in self._places:
            raise UsageError(f"no buffer or weight is called {plain!r}")
        return self._places[plain]
