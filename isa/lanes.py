"""Lane programs: what one pass of the vector engine does to every element, as a small frozen value.

Text form, used by assembly and IR attributes: `r0 = add(a, c0); r1 = gelu(r0); out r1; reduce max(r1)`.
Streams are `a` and `b`, broadcasts `c0` to `c3`, results of earlier operations `r0` to `r7`; `row` and `col`
are the element's place within the pass; numbers stand for themselves (`1` is int, `1.0` is float).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from .errors import UsageError
from .formats import KIND_DTYPES, Array, Kind
from .frozen import frozen
from .kernels import Number
from .lane_functions import (
    LANE_FUNCTIONS,
    LANE_FUNCTIONS_BY_CODE,
    REDUCTIONS,
    REDUCTIONS_BY_CODE,
    LaneFunction,
    Reduction,
)
from .lane_sources import NO_SOURCE, SOURCES_BY_TEXT, Source

__all__ = [
    "LANE_FUNCTIONS",
    "LANE_FUNCTIONS_BY_CODE",
    "MAXIMUM_IMMEDIATES",
    "MAXIMUM_OPERATIONS",
    "MAXIMUM_REDUCTIONS",
    "NO_SOURCE",
    "REDUCTIONS",
    "REDUCTIONS_BY_CODE",
    "SLOTS",
    "LaneFunction",
    "LaneOperation",
    "LaneProgram",
    "LaneResult",
    "Reduction",
    "Source",
    "Structure",
    "immediate_text",
]

MAXIMUM_OPERATIONS = 8
MAXIMUM_IMMEDIATES = 4
MAXIMUM_REDUCTIONS = 2

SLOTS = 32
"""Program slots of a vector engine."""

Immediate = int | float


class LaneOperation(NamedTuple):
    """One operation: a name of LANE_FUNCTIONS and its one to three sources. Its result is `r` + its place."""

    function: str
    sources: tuple[Source, ...]


class Structure(NamedTuple):
    """What is left of a lane program without the values of its immediates; `floats` says which are float."""

    operations: tuple[LaneOperation, ...]
    floats: tuple[bool, ...]
    output: Source | None
    reductions: tuple[tuple[str, Source], ...]

    def numbers(self, queue: int) -> tuple[Number, ...]:
        """The immediates in a slot of the engine of `queue`."""
        kinds = (KIND_DTYPES["float" if is_float else "int"] for is_float in self.floats)
        return tuple(Number(queue, index, dtype) for index, dtype in enumerate(kinds))


class LaneResult(NamedTuple):
    """What a run gives: the output's lane values (or None), and each reduction's as 1-D float32 or int32."""

    output: Array | None
    reductions: tuple[Array, ...]


def immediate_text(value: Immediate) -> str:
    """The shortest text that reads back as the same int32 or float32."""
    if isinstance(value, int):
        return str(value)
    text = str(np.float32(value))
    return text if re.search(r"[.einn]", text) else text + ".0"


def _checked_immediate(value: Immediate) -> Immediate:
    if isinstance(value, int):
        if not -(2**31) <= value < 2**31:
            raise UsageError(f"immediate {value} does not fit int32")
        return value
    with np.errstate(over="ignore"):
        rounded = float(np.float32(value))
    if math.isinf(rounded) and not math.isinf(value):
        raise UsageError(f"immediate {value} does not fit float32")
    return rounded


_STATEMENT = re.compile(
    r"\s*(?:(?P<result>r\d)\s*=\s*(?P<function>\w+)\s*\((?P<operands>[^()]*)\)"
    r"|out\s+(?P<output>[^\s()]+)|reduce\s+(?P<reduction>\w+)\s*\((?P<reduced>[^()]*)\))\s*"
)
_INTEGER = re.compile(r"[+-]?\d+")


@frozen(eq=False)
class LaneProgram:
    """What a pass does to each element; checked when made (UsageError), equal and hashable by its text.

    operations: up to 8, at most one transcendental; an operation may use results of earlier ones only.
    immediates: up to 4 Python numbers; an int is int32, a float is rounded to float32.
    output: the source that is written as the element stream, or None.
    reductions: up to two (name of REDUCTIONS, source).
    """

    operations: tuple[LaneOperation, ...] = ()
    immediates: tuple[Immediate, ...] = ()
    output: Source | None = None
    reductions: tuple[tuple[str, Source], ...] = ()
    _text: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "immediates", tuple(_checked_immediate(v) for v in self.immediates))
        object.__setattr__(self, "operations", tuple(LaneOperation(*op) for op in self.operations))
        self._check()
        object.__setattr__(self, "_text", self._make_text())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LaneProgram) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __str__(self) -> str:
        return self._text

    def _check(self) -> None:
        for what, items, limit in (
            ("operations", self.operations, MAXIMUM_OPERATIONS),
            ("immediates", self.immediates, MAXIMUM_IMMEDIATES),
            ("reductions", self.reductions, MAXIMUM_REDUCTIONS),
        ):
            if len(items) > limit:
                raise UsageError(f"{len(items)} {what} in a lane program, at most {limit}")
        if self.output is None and not self.reductions:
            raise UsageError("a lane program has no output and no reduction")
        transcendental = [op.function for op in self.operations if self._function(op).transcendental]
        if len(transcendental) > 1:
            raise UsageError(f"{' and '.join(transcendental)} in a lane program, at most one transcendental")
        for index, operation in enumerate(self.operations):
            for source in operation.sources:
                self._check_source(source, index)
        for name, source in self.reductions:
            if name not in REDUCTIONS:
                raise UsageError(f"no reduction {name!r}", "one of " + ", ".join(REDUCTIONS))
            self._check_source(source, len(self.operations))
        if self.output is not None:
            self._check_source(self.output, len(self.operations))

    @staticmethod
    def _function(operation: LaneOperation) -> LaneFunction:
        function = LANE_FUNCTIONS.get(operation.function)
        if function is None:
            raise UsageError(f"no lane function {operation.function!r}")
        if len(operation.sources) != function.arity:
            raise UsageError(f"{function.name} takes {function.arity} operands, not {len(operation.sources)}")
        return function

    def _check_source(self, source: Source, results: int) -> None:
        if source.is_result and source - Source.R0 >= results:
            raise UsageError(f"{source.text} is used before it is computed")
        if source.is_immediate and source - Source.I0 >= len(self.immediates):
            raise UsageError(f"immediate {source - Source.I0} is used but not given")

    def _source_text(self, source: Source) -> str:
        return immediate_text(self.immediates[source - Source.I0]) if source.is_immediate else source.text

    def _make_text(self) -> str:
        parts = [
            f"r{index} = {op.function}({', '.join(self._source_text(s) for s in op.sources)})"
            for index, op in enumerate(self.operations)
        ]
        if self.output is not None:
            parts.append(f"out {self._source_text(self.output)}")
        parts.extend(f"reduce {name}({self._source_text(source)})" for name, source in self.reductions)
        return "; ".join(parts)

    @staticmethod
    def parse(text: str) -> LaneProgram:
        """The program that `text` writes; UsageError names the statement at fault."""
        return _parse(text)

    @cached_property
    def used(self) -> frozenset[Source]:
        """Every source that the program reads."""
        sources = {source for operation in self.operations for source in operation.sources}
        sources.update(source for _, source in self.reductions)
        if self.output is not None:
            sources.add(self.output)
        return frozenset(sources)

    @cached_property
    def structure(self) -> Structure:
        """All but the values of the immediates; one object for equal ones."""
        floats = tuple(isinstance(value, float) for value in self.immediates)
        return _structure(self.operations, floats, self.output, self.reductions)

    @cached_property
    def transcendentals(self) -> int:
        """How many operations (0 or 1) are transcendental."""
        return sum(LANE_FUNCTIONS[operation.function].transcendental for operation in self.operations)

    def kinds(
        self, stream_kinds: Sequence[Kind | None], broadcast_kinds: Sequence[Kind | None] = ()
    ) -> tuple[Kind | None, tuple[Kind, ...]]:
        """Output kind (None without output) and the kind of each reduction's result.

        `stream_kinds` of a, b and `broadcast_kinds` of c0.. may be shorter than 2 and 4, None where absent.
        UsageError for an absent operand that is used or an operation without such a form.
        """
        known = self.source_kinds(stream_kinds, broadcast_kinds)
        output = None if self.output is None else known[self.output]
        return output, tuple(_reduction_kind(name, known[source]) for name, source in self.reductions)

    def source_kinds(
        self, stream_kinds: Sequence[Kind | None], broadcast_kinds: Sequence[Kind | None] = ()
    ) -> Mapping[Source, Kind]:
        """The kind of every source that there is, results of operations included; UsageError as `kinds`."""
        known: dict[Source, Kind] = {Source.ROW_INDEX: "int", Source.COLUMN_INDEX: "int"}
        for index, kind in enumerate(stream_kinds):
            if kind is not None:
                known[Source.stream(index)] = kind
        for index, kind in enumerate(broadcast_kinds):
            if kind is not None:
                known[Source.broadcast(index)] = kind
        for index, value in enumerate(self.immediates):
            known[Source.immediate(index)] = "int" if isinstance(value, int) else "float"
        for source in self.used:
            if not source.is_result and source not in known:
                raise UsageError(f"lane program `{self}` uses {source.text}, which the pass does not give")
        for index, (name, sources) in enumerate(self.operations):
            known[Source.result(index)] = LANE_FUNCTIONS[name].result_kind(tuple(known[s] for s in sources))
        for name, source in self.reductions:
            _reduction_kind(name, known[source])
        return known

    def run(
        self,
        streams: Sequence[Array | None],
        broadcasts: Sequence[Array | None] = (),
        rows: int = 1,
        columns: int = 1,
        axes: Sequence[int] = (),
    ) -> LaneResult:
        """Run on lane arrays (float32, int32, bool).

        streams: a, b of [rows, columns] or None. broadcasts: c0.. of shapes that broadcast to that.
        axes: for each reduction 1 (across columns: one value a row) or 0 (across rows: one value a column).
        """
        from .lane_plan import run_lanes

        return LaneResult(*run_lanes(self, streams, broadcasts, rows, columns, axes))


def _reduction_kind(name: str, kind: Kind) -> Kind:
    result = REDUCTIONS[name].signatures.get(kind)
    if result is None:
        raise UsageError(f"reduction {name} has no form for {kind}")
    return result


@lru_cache(maxsize=4096)
def _structure(
    operations: tuple[LaneOperation, ...],
    floats: tuple[bool, ...],
    output: Source | None,
    reductions: tuple[tuple[str, Source], ...],
) -> Structure:
    return Structure(operations, floats, output, reductions)


@lru_cache(maxsize=4096)
def _parse(text: str) -> LaneProgram:
    operations: list[LaneOperation] = []
    immediates: list[Immediate] = []
    places: dict[str, Source] = {}
    output: Source | None = None
    reductions: list[tuple[str, Source]] = []

    def source_of(word: str) -> Source:
        word = word.strip()
        if word in SOURCES_BY_TEXT:
            return SOURCES_BY_TEXT[word]
        try:
            value: Immediate = int(word) if _INTEGER.fullmatch(word) else float(word)
        except ValueError:
            raise UsageError(f"{word!r} is neither a source nor a number") from None
        value = _checked_immediate(value)
        key = immediate_text(value)
        if key not in places:
            if len(immediates) == MAXIMUM_IMMEDIATES:
                raise UsageError(f"more than {MAXIMUM_IMMEDIATES} different numbers in lane program {text!r}")
            places[key] = Source.immediate(len(immediates))
            immediates.append(value)
        return places[key]

    for statement in text.split(";"):
        match = _STATEMENT.fullmatch(statement)
        if match is None:
            raise UsageError(f"lane program statement {statement.strip()!r} is not understood")
        if match["function"]:
            if match["result"] != f"r{len(operations)}":
                raise UsageError(f"{match['result']} where r{len(operations)} should follow")
            sources = tuple(source_of(word) for word in match["operands"].split(","))
            operations.append(LaneOperation(match["function"], sources))
        elif match["output"]:
            if output is not None:
                raise UsageError(f"two outputs in lane program {text!r}")
            output = source_of(match["output"])
        else:
            reductions.append((match["reduction"], source_of(match["reduced"])))
    return LaneProgram(tuple(operations), tuple(immediates), output, tuple(reductions))
