"""A lane program prepared for operands of one form: the calls that run it on arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from .calls import Calls, WorkingMemory, make
from .formats import KIND_DTYPES, KIND_FORMATS, Array, Format, kind_of_dtype
from .lane_sources import Source
from .lane_steps import FIRST_FREE, OPERANDS, OUT, REDUCED, Form, LaneSteps, Working
from .lanes import LaneProgram, Structure

_Step = tuple[Callable[..., Any], Callable[[Sequence[Any]], tuple[Any, ...]]]
"""A function, and what picks its arguments from the places."""


class Frame:
    """A plan at one size, with its working arrays. `reduced_dtypes`: of the reductions' results."""

    def __init__(self, steps: Sequence[_Step], places: list[Any], reduced_dtypes: Sequence[np.dtype[Any]]) -> None:
        self._steps = steps
        self._places = places
        self.reduced_dtypes = reduced_dtypes

    def calls(self, operands: Sequence[Array | None], out: Array | None, reduced: Sequence[Array]) -> Calls:
        """The calls for these arrays: operands a, b, c0 to c3, the output, and the reductions' results.

        Streams and output are [rows, columns], broadcasts [1 or rows, 1 or columns], reductions 1-D.
        """
        places = self._places.copy()
        places[:OPERANDS] = operands
        places[OUT] = out
        places[REDUCED : REDUCED + len(reduced)] = reduced
        return tuple((function, arguments(places)) for function, arguments in self._steps)


class LanePlan(NamedTuple):
    """The steps of lane programs of one structure for operands of one form; make it with `plan`.

    contents: what places from the first free one on hold, working arrays and numbers. indexed: whether the
    places of rows and columns are used.
    """

    steps: tuple[_Step, ...]
    contents: tuple[Working | int, ...]
    reduced_dtypes: tuple[np.dtype[Any], ...]
    indexed: bool

    def frame(self, rows: int, columns: int, immediates: Sequence[Array], memory: WorkingMemory) -> Frame:
        """The plan for passes of `rows` x `columns`. The immediates are arrays without dimensions: their
        values are read when the calls are made."""
        sizes = (rows, columns, 1)
        places: list[Any] = [None] * FIRST_FREE
        places[Source.I0 : Source.I0 + len(immediates)] = immediates
        for content in self.contents:
            if isinstance(content, Working):
                shape = tuple(sizes[extent] for extent in content.extents)
                places.append(memory.array(len(places), shape, content.dtype))
            else:
                places.append(content)
        if self.indexed:
            places[Source.ROW_INDEX] = np.arange(rows, dtype=np.int32)[:, None]
            places[Source.COLUMN_INDEX] = np.arange(columns, dtype=np.int32)[None, :]
        return Frame(self.steps, places, self.reduced_dtypes)


@lru_cache(maxsize=4096)
def plan(structure: Structure, form: Form) -> LanePlan:
    """The plan of lane programs of a structure; UsageError when they have no such form."""
    program = LaneProgram(
        structure.operations,
        tuple(0.0 if is_float else 0 for is_float in structure.floats),
        structure.output,
        structure.reductions,
    )
    made = LaneSteps(program, form)
    steps: list[_Step] = [(function, itemgetter(*places)) for function, places in made.steps]
    return LanePlan(
        tuple(steps),
        tuple(made.contents),
        tuple(made.reduced_dtypes),
        bool({Source.ROW_INDEX, Source.COLUMN_INDEX} & program.used),
    )


def run_lanes(
    program: LaneProgram,
    streams: Sequence[Array | None],
    broadcasts: Sequence[Array | None],
    rows: int,
    columns: int,
    axes: Sequence[int],
) -> tuple[Array | None, tuple[Array, ...]]:
    """Output and reductions of a lane program, as new arrays; arguments as `LaneProgram.run`."""
    a, b = (*streams, None, None)[:2]
    rest = [
        None if array is None else array.reshape((1, 1, *array.shape)[-2:])
        for array in (*broadcasts, None, None, None, None)[: OPERANDS - 2]
    ]
    shaped = [None if array is None else (_lossless(array), (array.shape[0] > 1, array.shape[1] > 1)) for array in rest]
    stored = (None if a is None else _lossless(a), None if b is None else _lossless(b))
    kind, _ = program.kinds(
        [None if item is None else item.kind for item in stored],
        [None if item is None else item[0].kind for item in shaped],
    )
    output = None if kind is None else np.empty((rows, columns), KIND_DTYPES[kind])
    form = Form(stored, tuple(shaped), None if kind is None else KIND_FORMATS[kind], tuple(axes))
    immediates = [np.array(value, np.float32 if isinstance(value, float) else np.int32) for value in program.immediates]
    frame = plan(program.structure, form).frame(rows, columns, immediates, WorkingMemory())
    reduced = tuple(
        np.empty(rows if axis else columns, dtype) for axis, dtype in zip(axes, frame.reduced_dtypes, strict=True)
    )
    make(frame.calls((a, b, *rest), output, reduced))
    return output, reduced


def _lossless(array: Array) -> Format:
    return KIND_FORMATS[kind_of_dtype(array.dtype)]
