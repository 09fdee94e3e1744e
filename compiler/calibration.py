"""Calibration data: samples from an npz file, cut into the model's batch, run through the graph for their ranges and
mean attention maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from xdsl.dialects.builtin import ModuleOp

from ..dialects.constants import Array
from ..dialects.context import CompilerContext
from ..isa.errors import InputError
from ..passes.attention.mean_maps import attach_mean_maps
from ..passes.precision.calibrate import calibrate
from ..runtime.arrays import read_arrays
from .arguments import Argument, arguments_of, check_names
from .recipe import Recipe


def calibrate_module(
    module: ModuleOp, context: CompilerContext, data: str | Path | Mapping[str, Array], recipe: Recipe
) -> None:
    """Attach what `recipe` asks for over `data` (one array an input, samples along axis 0): to products the ranges that
    they take, with mean magnitudes for formats of few bits; to attentions their mean maps.

    Raises InputError for data that do not fit the model's inputs.
    """
    subject = "calibration data" if isinstance(data, Mapping) else str(data)
    arrays = dict(data) if isinstance(data, Mapping) else read_arrays(Path(data))
    arguments = arguments_of(module)
    if recipe.takes_ranges:
        calibrate(module, context, _samples(subject, arguments, arrays), bool(recipe.few_bit_formats))
    if recipe.takes_mean_maps:
        rules = [rule for rule in recipe.attentions if not rule.is_linear]
        attach_mean_maps(module, context.store, _samples(subject, arguments, arrays), rules)


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
