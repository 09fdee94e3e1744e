"""The steps of a lane program for operands of one form: functions, and the places of their arguments.

The order of the steps keeps the rule that all reads of a pass precede all its writes: operands that lanes
hold differently are widened and results go to working arrays; only then is memory written. The last
operation writes straight to the output where nothing reads after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .formats import KIND_DTYPES, KIND_FORMATS, Format, Kind, assign, narrowing, widening
from .lane_functions import LANE_FUNCTIONS, REDUCTIONS
from .lane_sources import Source
from .lane_values import identity
from .lanes import LaneProgram

Shape = tuple[bool, bool]
"""Whether values differ from row to row, and from column to column."""

FULL: Shape = (True, True)
SCALAR: Shape = (False, False)

OPERANDS = 6
"""Streams a and b, broadcasts c0 to c3: the first places of a plan, as their codes say."""


class Form(NamedTuple):
    """What a pass gives a lane program; None stands for what is absent.

    streams: formats of a and b. broadcasts: formats and shapes of c0 to c3. out: the output's format. axes:
    for each reduction 1 (one value a row) or 0 (one value a column). accumulate: reductions join old values.
    """

    streams: tuple[Format | None, Format | None]
    broadcasts: tuple[tuple[Format, Shape] | None, ...]
    out: Format | None
    axes: tuple[int, ...] = ()
    accumulate: bool = False


class Working(NamedTuple):
    """A place that holds a working array: of a value's shape, or the one axis of a reduction's result."""

    extents: tuple[int, ...]
    dtype: np.dtype[Any]


OUT, REDUCED, FIRST_FREE = 16, 17, 19
"""Places behind those that have a source's code: the output, two reductions, and what a plan adds."""

ROWS, COLUMNS, ONE = range(3)
"""Codes of the extents of working arrays."""


class LaneSteps:
    """The steps of a lane program; UsageError when it has no such form.

    A step is a function and the places of its arguments: those of operands are their sources' codes;
    `contents` has what places from FIRST_FREE on hold, working arrays and numbers.
    """

    def __init__(self, program: LaneProgram, form: Form) -> None:
        self.program = program
        self.form = form
        self.steps: list[tuple[Callable[..., Any], tuple[int, ...]]] = []
        self.contents: list[Working | int] = []
        self.reduced_dtypes: list[np.dtype[Any]] = []
        self._stored: dict[Source, Format] = {}
        self._shapes: dict[Source, Shape] = {
            Source.ROW_INDEX: (True, False),
            Source.COLUMN_INDEX: (False, True),
        }
        self._places: dict[Source, int] = {}
        self._free: dict[Working, list[int]] = {}
        for index, stored in enumerate(form.streams):
            if stored is not None:
                self._stored[Source.stream(index)] = stored
                self._shapes[Source.stream(index)] = FULL
        for index, broadcast in enumerate(form.broadcasts):
            if broadcast is not None:
                self._stored[Source.broadcast(index)], self._shapes[Source.broadcast(index)] = broadcast
        self.kinds = program.source_kinds(
            [None if stored is None else stored.kind for stored in form.streams],
            [None if broadcast is None else broadcast[0].kind for broadcast in form.broadcasts],
        )
        self._shapes.update((Source.immediate(index), SCALAR) for index in range(len(program.immediates)))
        self._same = self._identities()
        self._uses = self._count_uses()
        self._build()

    def _identities(self) -> dict[Source, Source]:
        """For each source the one whose values it has."""
        same = {source: source for source in Source}
        for index, (name, sources) in enumerate(self.program.operations):
            if self._function(name, sources) is identity:
                same[Source.result(index)] = same[sources[0]]
        return same

    def _function(self, name: str, sources: Sequence[Source]) -> Callable[..., Any]:
        kinds: tuple[Kind, ...] = tuple(self.kinds[source] for source in sources)
        return LANE_FUNCTIONS[name].implementations[kinds]

    def _count_uses(self) -> Counter[Source]:
        """How many operations and results need each source."""
        uses: Counter[Source] = Counter()
        for index, (_, sources) in enumerate(self.program.operations):
            if self._same[Source.result(index)] == Source.result(index):
                uses.update({self._same[source] for source in sources})
        uses.update(self._same[source] for _, source in self.program.reductions)
        if self.program.output is not None:
            uses[self._same[self.program.output]] += 1
        return uses

    def _build(self) -> None:
        straight = self._written_straight()
        for index, (name, sources) in enumerate(self.program.operations):
            result = Source.result(index)
            if self._same[result] == result:
                self._operation(result, self._function(name, sources), sources, result == straight)
        self._results(straight is not None)

    def _written_straight(self) -> Source | None:
        """The result that its operation can write to the output itself: the last one, as lanes hold it, where
        no reduction reads it or memory after it."""
        output, out = self.program.output, self.form.out
        if output is None or out is None or out is not KIND_FORMATS[self.kinds[output]]:
            return None
        made = map(Source.result, range(len(self.program.operations)))
        own = [result for result in made if self._same[result] == result]
        last = self._same[output]
        reduced = [self._same[source] for _, source in self.program.reductions]
        if not own or last != own[-1] or last in reduced or not all(source.is_result for source in reduced):
            return None
        return last if self._shape_of_result(last) == FULL else None

    def _shape_of_result(self, result: Source) -> Shape:
        shapes = dict(self._shapes)
        for index, (_, sources) in enumerate(self.program.operations):
            shapes[Source.result(index)] = _joined([shapes[source] for source in sources])
        return shapes[result]

    def _operation(
        self, result: Source, function: Callable[..., Any], sources: Sequence[Source], straight: bool
    ) -> None:
        operands = [self._same[source] for source in sources]
        stored = self._stored.get(operands[0])
        converts = function is assign and stored is not None and stored is not Format.BOOL and not stored.packed
        # A conversion reads what is stored itself, in one go.
        places = [int(operands[0])] if converts else [self._operand(source) for source in operands]
        for source in set(operands):
            self._release(source)
        shape = self._shapes[result] = _joined([self._shapes[source] for source in operands])
        target = OUT if straight else self._working(shape, KIND_DTYPES[self.kinds[result]])
        self._places[result] = target
        self.steps.append((function, (*places, target)))

    def _operand(self, source: Source) -> int:
        """The place of a source's lane values, widened from what is stored at first need."""
        if source not in self._places:
            stored = self._stored.get(source)
            convert = None if stored is None else widening(stored)
            if convert is None:
                self._places[source] = int(source)
            else:
                place = self._working(self._shapes[source], KIND_DTYPES[self.kinds[source]])
                self.steps.append((convert, (int(source), place)))
                self._places[source] = place
        return self._places[source]

    def _release(self, source: Source) -> None:
        """One need of a source less; its working array is free after the last."""
        self._uses[source] -= 1
        place = self._places.get(source, 0)
        if self._uses[source] == 0 and place >= FIRST_FREE:
            content = self.contents[place - FIRST_FREE]
            if isinstance(content, Working):
                self._free.setdefault(content, []).append(place)

    def _working(self, shape: Shape, dtype: np.dtype[Any]) -> int:
        extents = (ROWS if shape[0] else ONE, COLUMNS if shape[1] else ONE)
        return self._new(Working(extents, dtype))

    def _new(self, content: Working | int) -> int:
        if isinstance(content, Working) and self._free.get(content):
            return self._free[content].pop()
        self.contents.append(content)
        return FIRST_FREE + len(self.contents) - 1

    def _results(self, stored: bool) -> None:
        """The steps that reduce, and write the output (unless it is `stored`) and the reductions."""
        early: list[tuple[Callable[..., Any], tuple[int, ...]]] = []
        late: list[tuple[Callable[..., Any], tuple[int, ...]]] = []
        writes_output = self.form.out is not None and not stored
        for number, (name, source) in enumerate(self.program.reductions):
            reduction, axis = REDUCTIONS[name], self.form.axes[number]
            kind = reduction.signatures[self.kinds[source]]
            dtype = KIND_DTYPES[kind]
            self.reduced_dtypes.append(dtype)
            values = self._spread(self._same[source])
            target = REDUCED + number
            along = self._new(axis)
            if self.form.accumulate and reduction.combine is not None:
                fresh = self._new(Working((ROWS if axis else COLUMNS,), dtype))
                early.append((reduction.reduce, (values, along, fresh)))
                late.append((reduction.combine, (target, fresh, target)))
            elif values < OPERANDS and (writes_output or len(self.program.reductions) > 1):
                fresh = self._new(Working((ROWS if axis else COLUMNS,), dtype))
                early.append((reduction.reduce, (values, along, fresh)))
                late.append((assign, (fresh, target)))
            else:
                late.append((reduction.reduce, (values, along, target)))
        output = self.program.output
        if writes_output and output is not None and self.form.out is not None:
            source = self._same[output]
            place = self._spread(source) if self.form.out.packed else self._operand(source)
            late.insert(0, (narrowing(self.kinds[output], self.form.out), (place, OUT)))
        self.steps.extend(early)
        self.steps.extend(late)

    def _spread(self, source: Source) -> int:
        """The place of a source's lane values, one for each element."""
        place = self._operand(source)
        if self._shapes[source] == FULL:
            return place
        full = self._working(FULL, KIND_DTYPES[self.kinds[source]])
        self.steps.append((assign, (place, full)))
        return full


def _joined(shapes: Sequence[Shape]) -> Shape:
    return (any(rows for rows, _ in shapes), any(columns for _, columns in shapes))
