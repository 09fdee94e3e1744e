"""Where the operations of a lane program take their operands from."""

from __future__ import annotations

from enum import IntEnum


class Source(IntEnum):
    """Where an operation of a lane program takes an operand from; the value is its 5-bit code."""

    A = 0
    B = 1
    C0 = 2
    C1 = 3
    C2 = 4
    C3 = 5
    I0 = 6
    I1 = 7
    I2 = 8
    I3 = 9
    ROW_INDEX = 10
    COLUMN_INDEX = 11
    R0 = 16
    R1 = 17
    R2 = 18
    R3 = 19
    R4 = 20
    R5 = 21
    R6 = 22
    R7 = 23

    @staticmethod
    def stream(index: int) -> Source:
        """Stream a (0) or b (1)."""
        return Source(Source.A + index)

    @staticmethod
    def broadcast(index: int) -> Source:
        """Broadcast operand c0 to c3."""
        return Source(Source.C0 + index)

    @staticmethod
    def immediate(index: int) -> Source:
        """Immediate 0 to 3."""
        return Source(Source.I0 + index)

    @staticmethod
    def result(index: int) -> Source:
        """Result of operation 0 to 7."""
        return Source(Source.R0 + index)

    @property
    def text(self) -> str:
        """How text writes it (immediates as i0 to i3; a program's text has their value instead)."""
        return _SOURCE_TEXTS[self]

    @property
    def is_immediate(self) -> bool:
        """Whether it is one of the four immediates."""
        return Source.I0 <= self <= Source.I3

    @property
    def is_result(self) -> bool:
        """Whether it is the result of an operation."""
        return self >= Source.R0


NO_SOURCE = 31
"""The 5-bit code that says a source is absent."""

_SOURCE_TEXTS: dict[Source, str] = {s: s.name.lower() for s in Source} | {
    Source.ROW_INDEX: "row",
    Source.COLUMN_INDEX: "col",
}

SOURCES_BY_TEXT: dict[str, Source] = {text: s for s, text in _SOURCE_TEXTS.items() if not s.is_immediate}
"""Sources by their text, immediates left out."""
