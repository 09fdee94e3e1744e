"""A lane program prepared for operands of one form: the function that runs it on arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from .formats import KIND_DTYPES, KIND_FORMATS, Array, Format, kind_of_dtype
from .kernels import WorkingMemory
from .lane_sources import Source
from .lane_steps import FIRST_FREE, OPERANDS, OUT, REDUCED, Form, LaneSteps, Working
from .lanes import LaneProgram, Structure

_Step = tuple[Callable[..., Any], Callable[[Sequence[Any]], tuple[Any, ...]]]
"""A function, and what picks its arguments from the places."""


class LanePlan(NamedTuple):
    """The steps of lane programs of one structure for operands of one form; make it with `plan`.

    Places hold what the steps work on: first the `given` arrays (present operands a, b, c0 to c3, the output, results
    of reductions, immediates), then `contents`, by their numbers in `LaneSteps`: indices, working arrays, axes.
    """

    steps: tuple[_Step, ...]
    given: int
    contents: tuple[tuple[int, Working | int | None], ...]
    reduced_dtypes: tuple[np.dtype[Any], ...]

    def function(self, rows: int, columns: int, memory: WorkingMemory) -> Callable[..., None]:
        """What passes of `rows` x `columns` do, as function of the given arrays.

        Streams and output are [rows, columns], broadcasts [1 or rows, 1 or columns], reductions 1-D, the
        immediates arrays without dimensions.
        """
        sizes = (rows, columns, 1)
        places: list[Any] = [None] * self.given
        for number, content in self.contents:
            if isinstance(content, Working):
                shape = tuple(sizes[extent] for extent in content.extents)
                places.append(memory.array(number, shape, content.dtype))
            elif content is not None:
                places.append(content)
            elif number == Source.ROW_INDEX:
                places.append(np.arange(rows, dtype=np.int32)[:, None])
            else:
                places.append(np.arange(columns, dtype=np.int32)[None, :])
        steps, given = self.steps, self.given

        def run(*arrays: Array) -> None:
            places[:given] = arrays
            for function, arguments in steps:
                function(*arguments(places))

        return run


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
    present = [*form.streams, *form.broadcasts]
    given = [place for place, operand in enumerate(present) if operand is not None]
    given += [OUT] * (form.out is not None) + [REDUCED + number for number in range(len(form.axes))]
    given += [Source.I0 + index for index in range(len(structure.floats))]
    rest = sorted({place for _, arguments in made.steps for place in arguments}.difference(given))
    order = {place: index for index, place in enumerate((*given, *rest))}
    return LanePlan(
        tuple((function, itemgetter(*(order[place] for place in arguments))) for function, arguments in made.steps),
        len(given),
        tuple((place, made.contents[place - FIRST_FREE] if place >= FIRST_FREE else None) for place in rest),
        tuple(made.reduced_dtypes),
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
    lanes = plan(program.structure, form)
    reduced = tuple(
        np.empty(rows if axis else columns, dtype) for axis, dtype in zip(axes, lanes.reduced_dtypes, strict=True)
    )
    given = [array for array in (a, b, *rest, output, *reduced, *immediates) if array is not None]
    with np.errstate(all="ignore"):
        lanes.function(rows, columns, WorkingMemory())(*given)
    return output, reduced


def _lossless(array: Array) -> Format:
    return KIND_FORMATS[kind_of_dtype(array.dtype)]
