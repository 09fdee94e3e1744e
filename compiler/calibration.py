"""Calibration data: samples from an npz file, cut into the model's batch, run through the graph for their ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from xdsl.dialects.builtin import ModuleOp

from ..dialects.constants import Array
from ..dialects.context import CompilerContext
from ..isa.errors import InputError
from ..passes.precision.calibrate import calibrate
from ..runtime.arrays import read_arrays
from .arguments import Argument, arguments_of


def calibrate_module(
    module: ModuleOp, context: CompilerContext, data: str | Path | Mapping[str, Array]
) -> None:
    """Attach to the module's products the ranges they take over `data`: one array an input, samples along axis 0.

    Raises InputError for data that do not fit the model's inputs.
    """
    subject = "calibration data" if isinstance(data, Mapping) else str(data)
    arrays = dict(data) if isinstance(data, Mapping) else read_arrays(Path(data))
    calibrate(module, context, _samples(subject, arguments_of(module), arrays))


def _samples(
    subject: str, arguments: Sequence[Argument], arrays: Mapping[str, Array]
) -> Iterator[tuple[Array, ...]]:
    """The arguments of one run after another."""
    missing = [argument.name for argument in arguments if argument.name not in arrays]
    if missing:
        raise InputError(subject, f"has no array {missing[0]!r}", "give one array an input, named as the input")
    counts = {argument.runs_in(arrays[argument.name], subject) for argument in arguments}
    if len(counts) > 1:
        raise InputError(subject, f"has different numbers of samples: {', '.join(map(str, sorted(counts)))}")
    for run in range(counts.pop() if counts else 0):
        yield tuple(argument.part(arrays[argument.name], run) for argument in arguments)
