"""`attnc.compare`: each node's value at each phase and in the simulator, against the reference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Operation

from ..dialects.constants import Array, ConstantStore
from ..dialects.elements import element_type, format_of, shape_of
from ..dialects.interpret import function, tile
from ..dialects.provenance import nodes_of
from ..dialects.tile import KernelOp
from ..isa.errors import InputError
from ..isa.frozen import frozen
from ..isa.machine import Machine
from ..isa.program import Signature
from ..runtime.inputs import prepare, random_inputs
from ..runtime.values import Executor
from .arguments import arguments_of, check_names
from .compilation import Compilation
from .compile import compile
from .deviations import Comparison, Yardstick
from .recipe import Recipe
from .reference import reference_values
from .saved_values import SavedValues

if TYPE_CHECKING:
    import onnx

GRAPH_PHASES = ("graph", "precision", "attention")
FOLDED = "precision"
"""The phase that folds."""

SIMULATOR = "simulator"
PHASES = (*GRAPH_PHASES, "tile", SIMULATOR)
"""Where values are compared, in the order in which they are made."""

RTOL, ATOL = 1e-3, 1e-4
"""Default tolerances: |given - reference| <= atol + rtol * |reference|, element by element."""


@frozen
class Flips:
    """Bits that a fold which reassociates floats gives otherwise than the unfolded expression of the same operands:
    `flipped` of `bits`, and the nodes that the fold stands for."""

    nodes: tuple[str, ...]
    flipped: int
    bits: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@frozen
class CompareReport:
    """All comparisons, phase by phase in the order of execution. `values` is how many values the model's nodes give;
    `flips` those of the folds that reassociate floats, in the order of execution."""

    comparisons: tuple[Comparison, ...]
    values: int
    flips: tuple[Flips, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether every value that was compared agrees."""
        return self.first is None

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases in their order."""
        return PHASES

    @property
    def first(self) -> Comparison | None:
        """The first comparison that fails, in the order of phases and of execution."""
        return next((item for item in self.comparisons if not item.agrees), None)

    @property
    def first_by_phase(self) -> dict[str, Comparison | None]:
        """For each phase, in their order, the first comparison that fails there."""
        return {phase: next((item for item in self.at(phase) if not item.agrees), None) for phase in self.phases}

    @property
    def by_value(self) -> dict[str, dict[str, Comparison]]:
        """For each value that was compared, in the order of execution, its comparisons by phase."""
        found: dict[str, dict[str, Comparison]] = {}
        for item in self.comparisons:
            found.setdefault(item.value, {})[item.phase] = item
        return found

    def at(self, phase: str) -> tuple[Comparison, ...]:
        """The comparisons of one phase."""
        return tuple(item for item in self.comparisons if item.phase == phase)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "agrees": self.agrees,
            "values": self.values,
            "first": None if self.first is None else self.first.to_dict(),
            "first_by_phase": {phase: item and item.value for phase, item in self.first_by_phase.items()},
            "comparisons": [item.to_dict() for item in self.comparisons],
            "flips": [item.to_dict() for item in self.flips],
        }


def compare(
    model: str | Path | bytes | onnx.ModelProto,
    inputs: Mapping[str, Array] | None = None,
    *,
    seed: int = 0,
    machine: str | Path | Machine | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    constants: Mapping[str, Array] | None = None,
    precision: str | None = None,
    sign: str | None = None,
    attention: str | None = None,
    detect_structure: bool = False,
    sparsify: float | None = None,
    calibrate: str | Path | Mapping[str, Array] | None = None,
    recipe: str | Path | Recipe | None = None,
    rtol: float = RTOL,
    atol: float = ATOL,
    save: str | Path | None = None,
    progress: bool = False,
) -> CompareReport:
    """Compile a model, execute every phase on `inputs`, and compare each value that still is an ONNX value.

    inputs: one array an input; the model is compiled for their shapes unless `shapes` gives others. None stands for
    random ones within their valid ranges, the same for the same `seed`. save: a folder for the values, an npz file for
    the reference and for each phase (`SavedValues`). The other options are `compile`'s. Raises InputError where the
    inputs do not fit or nothing can run the model for reference, OutputError where values cannot be saved, and what
    `compile` raises.
    """
    from tqdm import tqdm

    constants = constants or {}
    if not shapes and inputs is not None:
        shapes = {name: array.shape for name, array in inputs.items()}
    result = compile(
        model,
        machine=machine,
        shapes=shapes,
        constants=constants,
        precision=precision,
        sign=sign,
        attention=attention,
        detect_structure=detect_structure,
        sparsify=sparsify,
        calibrate=calibrate,
        recipe=recipe,
        stop_after="graph",
    )
    # Where another value takes over the storage of one, that one is nowhere whole when its kernel is done.
    result.recipe = replace(result.recipe, schedule=replace(result.recipe.schedule, in_place=False))
    if inputs is None:
        inputs = random_inputs(_signatures(result), seed)
    arguments = _arguments(result, inputs)
    expected = reference_values(model, {**inputs, **constants})
    yardstick = Yardstick(expected, rtol, atol)
    saved = None if save is None else SavedValues(Path(save))
    if saved is not None:
        for name, array in expected.items():
            saved.add(name, array)
        saved.write("reference")
    found: list[Comparison] = []
    flips: list[Flips] = []
    bar = tqdm(PHASES, desc="compare", delay=1, leave=False, disable=None if progress else True)
    for phase in bar:
        bar.set_postfix_str(phase, refresh=False)
        result.continue_to("schedule" if phase == SIMULATOR else phase)
        counted = flips if phase == FOLDED else None
        found += _compared(phase, _values(phase, result, arguments, inputs, counted), yardstick, saved)
    return CompareReport(tuple(found), len(expected), tuple(flips))


def _signatures(result: Compilation) -> list[Signature]:
    """The inputs as the program will have them, but for their addresses."""
    facts = result.facts
    return [
        Signature(
            item.name,
            item.interface.element.lower(),
            format_of(element_type(item.value)),
            shape_of(item.value),
            0,
            *facts.ranges.get(item.name, (None, None)),
            binary=item.name in facts.binary,
        )
        for item in arguments_of(result.module)
    ]


def _arguments(result: Compilation, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The arguments of @main by name, in order, as the graph level holds them."""
    arguments = arguments_of(result.module)
    check_names(arguments, inputs, "inputs")
    for argument in arguments:
        if argument.runs_in(inputs[argument.name], "inputs") != 1:
            raise InputError("inputs", f"array {argument.name!r} is for more than one inference", "give one")
    return {argument.name: argument.part(inputs[argument.name], 0, "inputs") for argument in arguments}


_Value = tuple[str, tuple[str, ...], Array]


def _values(
    phase: str,
    result: Compilation,
    arguments: Mapping[str, Array],
    inputs: Mapping[str, Array],
    flips: list[Flips] | None,
) -> Iterable[_Value]:
    """(ONNX value, nodes, array) of everything that a phase computes, in order; adds to `flips` what it counts."""
    store = result.context.store
    if phase in GRAPH_PHASES:
        return _graph_values(result.module, tuple(arguments.values()), store, flips)
    if phase == SIMULATOR:
        return _simulated_values(result, inputs)
    return _tile_values(result.module, arguments, store)


def _graph_values(
    module: ModuleOp, arguments: tuple[Array, ...], store: ConstantStore, flips: list[Flips] | None
) -> list[_Value]:
    found: list[_Value] = []

    def observe(operation: Operation, operands: Sequence[Array], results: tuple[Array, ...]) -> None:
        counted = None if flips is None else function.flips(operation, operands)
        if flips is not None and counted is not None:
            flips.append(Flips(tuple(node.name for node in nodes_of(operation)), *counted))
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

    # Only in the natural order do values stand complete one after the other; what they are does not depend on it.
    result.recipe = replace(result.recipe, schedule=replace(result.recipe.schedule, reorder=False))
    places = probes(result.module, assemble(result.module, result.machine, result.recipe.schedule))
    result.continue_to("emit")
    assert result.program is not None
    executor = Executor(result.program)
    batches = prepare(result.program, inputs)
    for item in result.program.inputs:
        executor.place(item.address, batches.of(item, 0))
    steps, row = executor.steps(), -1
    for probe in places:
        while row < probe.row:
            row = next(steps)
        memory = executor.state.memory(probe.space)
        yield probe.name, probe.nodes, np.ndarray(probe.shape, probe.format.dtype, memory, probe.address, probe.strides)


def _compared(
    phase: str, values: Iterable[_Value], yardstick: Yardstick, saved: SavedValues | None
) -> list[Comparison]:
    found: list[Comparison] = []
    for name, nodes, array in values:
        if name in yardstick.expected:
            found.append(yardstick.compared(phase, name, nodes, array))
            if saved is not None:
                saved.add(name, array)
    if saved is not None:
        saved.write(phase)
    return found
