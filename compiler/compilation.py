"""A compilation on its way: the module, the phases that it has gone through, and how long each took."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from ..dialects.constants import Array
from ..dialects.context import CompilerContext
from ..dialects.provenance import date_folded, folded_nodes
from ..isa.errors import UsageError
from ..isa.machine import Machine
from ..isa.program import Program
from ..passes.emit.emit import ModelFacts
from .facts import graph_facts, with_formats, with_forms
from .phases import EMIT, PHASE_NAMES, PHASES, Phase
from .recipe import Recipe


@dataclass
class Compilation:
    """A model on its way: the module as it stands after phase `phase`, the program once there is one, and the seconds
    that each phase and pass took."""

    context: CompilerContext
    machine: Machine
    recipe: Recipe
    module: ModuleOp
    phase: str
    facts: ModelFacts = field(default_factory=ModelFacts)
    program: Program | None = None
    phase_seconds: dict[str, float] = field(default_factory=dict[str, float])
    pass_seconds: dict[str, float] = field(default_factory=dict[str, float])
    calibrate: str | Path | Mapping[str, Array] | None = None

    def save(self, path: str | Path) -> None:
        """Write the program file. Raises UsageError if compilation was stopped before there was a program, OutputError
        if the file cannot be written."""
        if self.program is None:
            raise UsageError("compilation was stopped before the program was made", "leave out stop_after")
        self.program.save(Path(path))

    def continue_to(
        self, last: str, after_phase: Callable[[Compilation], None] | None = None, progress: bool = False
    ) -> None:
        """Run the phases behind the one reached up to `last`; nothing happens where it was reached already.

        `after_phase` is called after each.
        """
        names = PHASE_NAMES[PHASE_NAMES.index(self.phase) + 1 : PHASE_NAMES.index(last) + 1]
        for name in _shown(names) if progress else names:
            begin = perf_counter()
            if name == EMIT:
                self._emit()
            else:
                self._run(next(phase for phase in PHASES if phase.name == name))
            self.phase = name
            self.phase_seconds[name] = perf_counter() - begin
            if after_phase is not None:
                after_phase(self)

    def _run(self, phase: Phase) -> None:
        if phase.name == "precision":
            self._calibrate(self.calibrate)
        folded = folded_nodes(self.module)
        for step in phase.passes(self.recipe):
            with self._timed(phase, step):
                step.apply(self.context, self.module)
        if self.recipe.passes:
            self._run_further(phase)
        date_folded(self.module, folded, phase.name)
        if phase.name == "graph":
            self.facts = graph_facts(self.module, self.context.store)
        elif phase.name == "precision":
            recipe = self.recipe
            self.facts = with_formats(self.facts, self.module, recipe.untrained, recipe.finds_structure)
        elif phase.name == "attention":
            self.facts = with_forms(self.facts, self.module)

    def _run_further(self, phase: Phase) -> None:
        from .further_passes import apply_further, further_passes

        for step in further_passes(self.recipe, phase.name):
            with self._timed(phase, step):
                apply_further(step, phase.name, self.context, self.module)

    @contextmanager
    def _timed(self, phase: Phase, step: ModulePass) -> Generator[None]:
        begin = perf_counter()
        yield
        key = f"{phase.name}/{step.name}"
        self.pass_seconds[key] = self.pass_seconds.get(key, 0.0) + perf_counter() - begin

    def _calibrate(self, data: str | Path | Mapping[str, Array] | None) -> None:
        if data is None:
            if self.recipe.takes_mean_maps:
                forms = ", ".join(str(rule.form) for rule in self.recipe.attentions if rule.form.calibrated)
                raise UsageError(
                    f"attention form '{forms}' is made of the model's mean attention over samples",
                    "add --calibrate SAMPLES.npz",
                )
            return
        if not self.recipe.takes_calibration:
            raise UsageError(
                "calibration data serve int8 and formats of fewer bits only, and attention forms made of mean maps",
                "add --precision int8",
            )
        from .calibration import calibrate_module

        begin = perf_counter()
        calibrate_module(self.module, self.context, data, self.recipe)
        self.pass_seconds["precision/calibrate"] = perf_counter() - begin

    def _emit(self) -> None:
        from ..passes.emit.emit import emit

        self.program = emit(self.module, self.context, self.facts, self.recipe.schedule)


def _shown(names: Sequence[str]) -> Iterator[str]:
    """The names, each shown in a bar on stderr while its phase runs."""
    from tqdm import tqdm

    bar = tqdm(names, desc="compile", delay=1, leave=False)
    for name in bar:
        bar.set_postfix_str(name, refresh=False)
        yield name
