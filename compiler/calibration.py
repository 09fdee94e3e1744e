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
from .arguments import Argument, arguments_of, check_names


def calibrate_module(
    module: ModuleOp, context: CompilerContext, data: str | Path | Mapping[str, Array], means: bool = False
) -> None:
    """Attach to the module's products the ranges they take over `data`: one array an input, samples along axis 0; the
    mean magnitudes too if `means`.

    Raises InputError for data that do not fit the model's inputs.
    """
    subject = "calibration data" if isinstance(data, Mapping) else str(data)
    arrays = dict(data) if isinstance(data, Mapping) else read_arrays(Path(data))
    calibrate(module, context, _samples(subject, arguments_of(module), arrays), means)


def _samples(subject: str, arguments: Sequence[Argument], arrays: Mapping[str, Array]) -> Iterator[tuple[Array, ...]]:
    """The arguments of one run after another."""
    check_names(arguments, arrays, subject)
    counts = {argument.name: argument.runs_in(arrays[argument.name], subject) for argument in arguments}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name!r} has {count}" for name, count in counts.items())
        raise InputError(subject, f"has different numbers of samples: {told}")
    if not any(counts.values()) and counts:
        raise InputError(subject, "has no samples")
    for run in range(max(counts.values(), default=0)):
        yield tuple(argument.part(arrays[argument.name], run, subject) for argument in arguments)
