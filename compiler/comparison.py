"""`attnc.compare`: each node's value at each phase and in the simulator, against the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Operation

from ..dialects.constants import Array, ConstantStore
from ..dialects.interpret import function, tile
from ..dialects.provenance import nodes_of
from ..dialects.tile import KernelOp
from ..isa.errors import InputError
from ..isa.machine import Machine
from .arguments import arguments_of
from .compilation import Compilation, compile
from .recipe import Recipe
from .reference import reference_values

if TYPE_CHECKING:
    import onnx

GRAPH_PHASES = ("graph", "precision", "attention")
SIMULATOR = "simulator"
PHASES = (*GRAPH_PHASES, "tile", SIMULATOR)
"""Where values are compared, in the order in which they are made."""

RTOL, ATOL = 1e-3, 1e-4
"""Default tolerances: |given - reference| <= atol + rtol * |reference|, element by element."""


@dataclass(frozen=True)
class Comparison:
    """One ONNX value at one phase: the nodes that made it, whether it agrees, and how far it is off.

    `max_abs_error` is absolute; `relative_error` is that over the reference's greatest magnitude; `cosine` is of the
    flattened values; `mismatches` counts elements outside the tolerance of `elements`.
    """

    phase: str
    value: str
    nodes: tuple[str, ...]
    agrees: bool
    max_abs_error: float
    relative_error: float
    cosine: float
    mismatches: int
    elements: int


@dataclass(frozen=True)
class CompareReport:
    """All comparisons, phase by phase in the order of execution. `values` is how many ONNX values the model has."""

    comparisons: tuple[Comparison, ...]
    values: int

    @property
    def agrees(self) -> bool:
        """Whether every value that was compared agrees."""
        return all(item.agrees for item in self.comparisons)

    @property
    def first(self) -> Comparison | None:
        """The first comparison that fails, in the order of phases and of execution."""
        return next((item for item in self.comparisons if not item.agrees), None)

    def at(self, phase: str) -> tuple[Comparison, ...]:
        """The comparisons of one phase."""
        return tuple(item for item in self.comparisons if item.phase == phase)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "agrees": self.agrees,
            "values": self.values,
            "comparisons": [asdict(item) for item in self.comparisons],
        }


def compare(
    model: str | Path | bytes | onnx.ModelProto,
    inputs: Mapping[str, Array],
    *,
    machine: str | Path | Machine = "edge",
    shapes: Mapping[str, Sequence[int]] | None = None,
    precision: str | None = None,
    calibrate: str | Path | Mapping[str, Array] | None = None,
    recipe: str | Path | Recipe | None = None,
    rtol: float = RTOL,
    atol: float = ATOL,
) -> CompareReport:
    """Compile a model, execute every phase on `inputs`, and compare each value that still is an ONNX value.

    inputs: one array an input, of the shapes compiled for. The other options are `compile`'s. Raises InputError where
    there is no reference for the model, and what `compile` raises.
    """
    given = shapes if shapes is not None else {name: array.shape for name, array in inputs.items()}
    expected = reference_values(model, inputs)
    found: list[Comparison] = []
    options: dict[str, Any] = {
        "machine": machine, "shapes": given, "precision": precision, "calibrate": calibrate, "recipe": recipe
    }  # fmt: skip
    result = compile(model, stop_after="graph", **options)
    arguments = _arguments(result, inputs)
    named = dict(zip((item.name for item in arguments_of(result.module)), arguments, strict=True))
    for phase in PHASES:
        result.continue_to("schedule" if phase == SIMULATOR else phase)
        for value, nodes, array in _values(phase, result, named, inputs):
            if value in expected:
                found.append(_compared(phase, value, nodes, array, expected[value], rtol, atol))
    return CompareReport(tuple(found), len(expected))


def _arguments(result: Compilation, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
    arguments = arguments_of(result.module)
    for argument in arguments:
        if argument.name not in inputs:
            raise InputError("inputs", f"no array {argument.name!r}")
        if argument.runs_in(inputs[argument.name], "inputs") != 1:
            raise InputError("inputs", f"array {argument.name!r} holds more than one inference", "give one")
    return tuple(argument.part(inputs[argument.name], 0) for argument in arguments)


_Value = tuple[str, tuple[str, ...], Array]


def _values(
    phase: str, result: Compilation, arguments: Mapping[str, Array], inputs: Mapping[str, Array]
) -> Iterator[_Value]:
    """(ONNX value, nodes, array) of everything that a phase computes, in order."""
    store = result.context.store
    if phase in GRAPH_PHASES:
        yield from _graph_values(result.module, tuple(arguments.values()), store)
    elif phase == SIMULATOR:
        yield from _simulated_values(result, inputs)
    else:
        yield from _tile_values(result.module, arguments, store)


def _graph_values(module: ModuleOp, arguments: tuple[Array, ...], store: ConstantStore) -> list[_Value]:
    found: list[_Value] = []

    def observe(operation: Operation, results: tuple[Array, ...]) -> None:
        name = operation.attributes.get("value")
        if isinstance(name, StringAttr):
            found.append((name.data, tuple(node.name for node in nodes_of(operation)), results[0]))

    function.run(module, arguments, store, observe)
    return found


def _tile_values(module: ModuleOp, inputs: Mapping[str, Array], store: ConstantStore) -> list[_Value]:
    found: list[_Value] = []

    def observe(kernel: KernelOp, values: Mapping[str, Array]) -> None:
        nodes = tuple(node.name for node in nodes_of(kernel))
        found.extend((name, nodes, array) for name, array in values.items())

    tile.run(module, inputs, store, observe)
    return found


def _simulated_values(result: Compilation, inputs: Mapping[str, Array]) -> Iterator[_Value]:
    """Values read from the simulator's memories as soon as the instructions that make them are done."""
    from ..passes.emit.assemble import assemble
    from ..passes.emit.probes import probes
    from ..runtime.session import Session
    from ..runtime.stepper import Stepper

    places = probes(result.module, assemble(result.module, result.machine))
    result.continue_to("emit")
    assert result.program is not None
    stepper = Stepper(Session(result.program), inputs)
    for probe in places:
        for _ in stepper.run(until=probe.row + 1):
            pass
        array = stepper.read(probe.space, probe.address, probe.shape, probe.format, probe.strides)
        yield probe.name, result.program.row_nodes(probe.row), array


def _compared(
    phase: str, value: str, nodes: tuple[str, ...], given: Array, expected: Array, rtol: float, atol: float
) -> Comparison:
    left, right = given.astype(np.float64), expected.astype(np.float64)
    if left.shape != right.shape:
        return Comparison(phase, value, nodes, False, np.inf, np.inf, 0.0, right.size, right.size)
    with np.errstate(invalid="ignore"):
        error = np.abs(left - right)
        # Infinities of one sign and NaN agree with their like.
        error[(left == right) | (np.isnan(left) & np.isnan(right))] = 0
        error[np.isnan(error)] = np.inf
    bad = int((error > atol + rtol * np.abs(np.nan_to_num(right))).sum())
    worst = float(error.max(initial=0))
    magnitude = float(np.abs(right[np.isfinite(right)]).max(initial=0))
    norm = float(np.linalg.norm(left) * np.linalg.norm(right))
    cosine = float(left.ravel() @ right.ravel() / norm) if norm else float(bad == 0)
    relative = worst / magnitude if magnitude else worst
    return Comparison(phase, value, nodes, bad == 0, worst, relative, cosine, bad, right.size)
