"""`attnc.compile`: a model, through every phase, to a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from xdsl.dialects.builtin import ModuleOp

from ..dialects.constants import Array
from ..dialects.context import CompilerContext
from ..isa.errors import UsageError
from ..isa.machine import Machine, load_machine
from ..isa.program import Program
from ..passes.emit.emit import ModelFacts
from .facts import graph_facts, with_unlowered
from .phases import EMIT, IMPORT, PHASE_NAMES, PHASES, Phase, checked_phase
from .recipe import Recipe
from .registry import new_context

if TYPE_CHECKING:
    import onnx

    from .dump import Dump


@dataclass
class Compilation:
    """What `compile` gives: the program, or the module where it was told to stop, and the seconds of each phase."""

    machine: Machine
    recipe: Recipe
    module: ModuleOp
    program: Program | None = None
    facts: ModelFacts = field(default_factory=ModelFacts)
    phase_seconds: dict[str, float] = field(default_factory=dict[str, float])
    pass_seconds: dict[str, float] = field(default_factory=dict[str, float])

    def save(self, path: str | Path) -> None:
        """Write the program file. Raises UsageError if compilation was stopped before there was a program."""
        if self.program is None:
            raise UsageError("compilation was stopped before the program was made", "leave out stop_after")
        self.program.save(Path(path))


def compile(
    model: str | Path | bytes | onnx.ModelProto,
    *,
    machine: str | Path | Machine = "edge",
    shapes: Mapping[str, Sequence[int]] | None = None,
    constants: Mapping[str, Array] | None = None,
    precision: str | None = None,
    calibrate: str | Path | Mapping[str, Array] | None = None,
    recipe: str | Path | Recipe | None = None,
    dump_ir: str | Path | None = None,
    stop_after: str | None = None,
    start_from: str | None = None,
    progress: bool = False,
) -> Compilation:
    """Compile a model for a machine.

    model: an ONNX file, its bytes or a ModelProto; with `start_from`, a folder that `dump_ir` wrote.
    shapes: of graph inputs, where the model leaves dimensions open. constants: graph inputs bound to values now.
    precision: model, fp16, bf16 or int8; overrides the recipe's. calibrate: samples for static int8 ranges, one array
    an input with samples along axis 0. stop_after, start_from: names of phases (compiler.phases.PHASE_NAMES).
    progress: show a bar on stderr once it takes more than a second.

    Raises UnsupportedError with every node that cannot run on the accelerator, CapacityError for what cannot fit,
    InputError and UsageError for what is wrong with the model or the call.
    """
    asked = recipe if isinstance(recipe, Recipe) else Recipe() if recipe is None else Recipe.read(Path(recipe))
    if precision is not None:
        asked = Recipe(precision, asked.residual, asked.layers)
    last = EMIT if stop_after is None else checked_phase(stop_after)
    context = new_context()
    if start_from is None:
        target = machine if isinstance(machine, Machine) else load_machine(machine)
        begin = perf_counter()
        from .importer import import_model

        module = import_model(model, shapes or {}, constants or {}, context)
        seconds = {IMPORT: perf_counter() - begin}
        facts = ModelFacts()
        first = IMPORT
    else:
        from .dump import read_dump

        if not isinstance(model, str | Path):
            raise UsageError("start_from needs the folder that dump_ir wrote, as the model")
        first = checked_phase(start_from)
        if first == IMPORT:
            raise UsageError("start_from import is a plain compilation", "give the model and no start_from")
        module, target, asked, facts = read_dump(Path(model), first, context)
        seconds = {}
    context.machine, context.recipe = target, asked.to_dict()
    result = Compilation(target, asked, module, facts=facts, phase_seconds=seconds)
    _run(result, context, first, last, calibrate, None if dump_ir is None else Path(dump_ir), progress)
    return result


def _run(
    result: Compilation,
    context: CompilerContext,
    first: str,
    last: str,
    calibrate: str | Path | Mapping[str, Array] | None,
    folder: Path | None,
    progress: bool,
) -> None:
    from tqdm import tqdm

    from .dump import Dump

    dump = None if folder is None else Dump(folder, context.store)
    if dump is not None and first == IMPORT:
        dump.module(IMPORT, result.module)
    begin, end = PHASE_NAMES.index(first), PHASE_NAMES.index(last)
    chosen = [phase for phase in PHASES if begin <= PHASE_NAMES.index(phase.name) <= end]
    try:
        bar = tqdm(chosen, desc="compile", delay=1, leave=False, disable=not progress)
        for phase in bar:
            bar.set_postfix_str(phase.name)
            if phase.name == "precision" and calibrate is not None:
                from .calibration import calibrate_module

                calibrate_module(result.module, context, calibrate)
            _run_phase(phase, result, context)
            if dump is not None:
                dump.module(phase.name, result.module)
        if last == EMIT:
            _emit(result, context, dump)
    finally:
        if dump is not None:
            dump.close(result.machine, result.recipe, result.facts)


def _run_phase(phase: Phase, result: Compilation, context: CompilerContext) -> None:
    start = perf_counter()
    for step in phase.passes(result.recipe):
        before = perf_counter()
        step.apply(context, result.module)
        result.pass_seconds[f"{phase.name}/{step.name}"] = perf_counter() - before
    if phase.name == "graph":
        result.facts = graph_facts(result.module, context.store)
    elif phase.name == "precision":
        result.facts = with_unlowered(result.facts, result.module)
    result.phase_seconds[phase.name] = perf_counter() - start


def _emit(result: Compilation, context: CompilerContext, dump: Dump | None) -> None:
    from ..passes.emit.emit import emit

    start = perf_counter()
    result.program = emit(result.module, context, result.facts)
    result.phase_seconds[EMIT] = perf_counter() - start
    if dump is not None:
        from ..isa.assembly import disassemble

        dump.assembly(EMIT, disassemble(result.program))
