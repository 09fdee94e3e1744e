"""A program on the simulator: load it, run it on inputs, get outputs and a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ..isa.errors import InputError, ProgramFileError, UsageError
from ..isa.formats import Array
from ..isa.frozen import frozen
from ..isa.machine import Machine, load_machine
from ..isa.program import Program
from .changes import changes
from .checks import check_program
from .chosen import chosen_rows
from .extents import needs_data
from .inputs import ELEMENT_DTYPES, Batches, element_dtype, prepare, random_inputs
from .measure import Measurement, StaticFacts, measure
from .operand_statistics import OperandStatistics
from .report import ChosenRow, OperandRow, Report, Summary, Unlowered
from .values import Executor, Observed

if TYPE_CHECKING:
    from pandas import DataFrame

Mode = Literal["both", "values", "timing"]
"""What a run computes: values (outputs), timing (cycles and energy), or both."""

Progress = Callable[[Iterable[int]], Iterable[int]]
"""Wraps the repetitions of a batch, as `tqdm.tqdm` does."""


@frozen
class Result:
    """What a run gave: `outputs` by the model's names (empty without values), and `measurement`, the instructions in
    time (None without timing)."""

    outputs: Mapping[str, Array]
    measurement: Measurement | None
    make_report: Callable[[], Report] = field(repr=False)

    @cached_property
    def report(self) -> Report:
        """The report of the run, made when it is first asked for."""
        return self.make_report()

    def to_dict(self) -> dict[str, object]:
        """The report as JSON-ready values."""
        return self.report.to_dict()

    def to_dataframe(self, rows: str = "nodes") -> DataFrame:
        """Rows of the report as a pandas data frame, see `Report.to_dataframe`."""
        return self.report.to_dataframe(rows)

    def _repr_html_(self) -> str:
        """What a notebook shows: the outputs and the report."""
        from .notebook import result_html

        return result_html(self.outputs, self.report)


def load(path: str | Path, machine: Machine | str | Path | None = None) -> Session:
    """The session of a program file; `machine` (or its name or file) in place of the program's, see
    `Session`."""
    other = machine if machine is None or isinstance(machine, Machine) else load_machine(machine)
    return Session(Program.load(path), other, name=Path(path).name)


class Session:
    """A program, ready to run. What does not depend on inputs is computed once, at its first use.

    `machine` asks what the same binary takes on another machine: rates, latencies, bandwidths and energies
    may differ, sizes may not (UsageError).
    """

    def __init__(self, program: Program, machine: Machine | None = None, name: str = "program") -> None:
        self.program = program
        self.machine = program.machine if machine is None else machine
        self.name = name
        self._facts = StaticFacts(program)
        self._executor: Executor | None = None
        self._measurement: Measurement | None = None
        for item in (*program.inputs, *program.outputs):
            if item.element_type not in ELEMENT_DTYPES:
                raise ProgramFileError(name, f"has {item.name!r} of the unknown element type {item.element_type!r}")
        _check_sizes(program.machine, self.machine)

    @property
    def facts(self) -> StaticFacts:
        """What is known of the program without running it."""
        return self._facts

    def random_inputs(self, seed: int) -> dict[str, Array]:
        """Inputs within their valid ranges, the same for the same seed."""
        return random_inputs(self.program.inputs, seed)

    def check(self) -> tuple[str, ...]:
        """The race check and the memory check; lines that say what was checked, RaceError or Fault if not in
        order."""
        return check_program(self._facts)

    def measure(self, observed: Observed | None = None) -> Measurement:
        """The program in time. Where its costs depend on data, `observed` says what a run showed."""
        if observed is not None and (observed.loaded or observed.gathered):
            return measure(self._facts, self.machine, observed)
        if self._measurement is None:
            self._measurement = measure(self._facts, self.machine, Observed())
        return self._measurement

    def run(
        self,
        inputs: Mapping[str, Array] | None = None,
        mode: Mode = "both",
        *,
        check: bool = False,
        strict: bool = False,
        statistics: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Run the program once, or, where `inputs` have a longer first axis and the program allows it,
        repeatedly.

        Timing alone needs no inputs unless the program's costs depend on data. `check` adds the race and
        memory checks; `strict` refuses NaN inputs; `statistics` adds what products met (`report.operands`) where values
        are computed, and takes some times longer; `progress` wraps the repetitions. Figures are those of the
        first inference where they depend on data. UsageError, InputError, Fault or RaceError if something is
        wrong.
        """
        if mode not in get_args(Mode):
            raise UsageError(f"no mode {mode!r}", "one of " + ", ".join(get_args(Mode)))
        watch = _Stopwatch()
        with watch("checks", wanted=check):
            checked = self.check() if check else ()
        with_values = mode != "timing" or needs_data(self.program.table)
        batches = self._batches(inputs, strict, needed=with_values)
        outputs: dict[str, Array] = {}
        observed = Observed()
        taken: OperandStatistics | None = None
        listed: list[Mapping[int, tuple[int, int]]] = []
        if with_values:
            executor = self._executor = self._executor or Executor(self.program)
            if statistics:
                taken = OperandStatistics(self.program, executor.state)
            with watch("values"):
                outputs, observed = self._values(executor, batches, mode, progress, taken, listed)
        measurement = None
        if mode != "values":
            with watch("timing"):
                measurement = self.measure(observed)
        report = partial(
            _report,
            self.program,
            self.name,
            self.machine,
            mode,
            batches.count,
            batches.nans,
            watch,
            checked,
            measurement,
            taken.rows if taken is not None else (),
            chosen_rows(self.program, listed),
        )
        return Result(outputs if mode != "timing" else {}, measurement, report)

    def _batches(self, inputs: Mapping[str, Array] | None, strict: bool, needed: bool) -> Batches:
        if inputs is not None:
            return prepare(self.program, inputs, strict)
        if needed and self.program.inputs:
            names = ", ".join(repr(item.name) for item in self.program.inputs)
            raise InputError("inputs", f"none given; the program takes {names}", "give them, or use random ones")
        return Batches({}, 1, 0)

    def _values(
        self,
        executor: Executor,
        batches: Batches,
        mode: Mode,
        progress: Progress | None,
        statistics: OperandStatistics | None,
        listed: list[Mapping[int, tuple[int, int]]],
    ) -> tuple[dict[str, Array], Observed]:
        """Outputs of all repetitions joined along the first axis, and what the first repetition showed; what each
        listed is appended to `listed`."""
        program = self.program
        parts: list[list[Array]] = [[] for _ in program.outputs]
        first: Observed | None = None
        # Timing alone runs values only to learn extents, and the figures are those of the first inference.
        repetitions: Iterable[int] = range(batches.count if mode != "timing" else 1)
        for index in progress(repetitions) if progress is not None and batches.count > 1 else repetitions:
            executor.forget()
            for item in program.inputs:
                executor.place(item.address, batches.of(item, index))
            observed = executor.run(statistics.take if statistics is not None and first is None else None)
            first = first or observed
            listed.append(observed.listed)
            for part, item in zip(parts, program.outputs, strict=True):
                stored = executor.fetch(item.address, item.shape, item.format.dtype)
                part.append(stored.astype(element_dtype(item), copy=False))
        outputs = {
            item.name: part[0] if len(part) == 1 else np.concatenate(part)
            for item, part in zip(program.outputs, parts, strict=True)
        }
        return outputs, first or Observed()


def _report(
    program: Program,
    name: str,
    machine: Machine,
    mode: Mode,
    inferences: int,
    nan_inputs: int,
    watch: _Stopwatch,
    checks: tuple[str, ...],
    measurement: Measurement | None,
    operands: tuple[OperandRow, ...],
    chosen: tuple[ChosenRow, ...],
) -> Report:
    """The report of a run. It holds no session, so that a result keeps no memories alive."""
    operators = {node.name: node.operator for node in program.nodes}
    unlowered = tuple(
        Unlowered(note.node, operators.get(note.node, note.subject), note.reason) for note in program.unlowered
    )
    summary = Summary(
        program=name,
        machine=machine.name,
        mode=mode,
        inferences=inferences,
        wall_seconds=watch.seconds,
        nan_inputs=nan_inputs,
        checks=checks,
        untrained=program.untrained,
    )
    setting = {"machine": machine.to_dict(), "recipe": dict(program.recipe)}
    if measurement is None:
        return Report(summary, unlowered=unlowered, operands=operands, chosen=chosen, setting=setting)
    with watch("report"):
        summary = replace(summary, performance=measurement.performance)
        return Report(
            summary,
            measurement.nodes,
            measurement.kernels,
            measurement.engines,
            measurement.stall_rows,
            measurement.critical_rows,
            measurement.memories,
            unlowered,
            operands,
            chosen,
            setting,
            partial(changes, measurement),
        )


class _Stopwatch:
    """Wall time by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str, wanted: bool = True) -> Generator[None]:
        start = time.perf_counter()
        yield
        if wanted:
            self.seconds[part] = time.perf_counter() - start


def _check_sizes(compiled_for: Machine, asked: Machine) -> None:
    """UsageError where a machine differs from the program's in what the program was compiled against."""
    own, other = compiled_for.sizes(), asked.sizes()
    differing = [f"{key} is {other.get(key)}, not {own[key]}" for key in own if own[key] != other.get(key)]
    found = asked.matrix.structures_by_mode
    lacking = [told for told in compiled_for.matrix.structures_by_mode if told not in found]
    if lacking:
        differing.append(f"it lacks weights of {', '.join(lacking)}")
    if differing:
        raise UsageError(
            f"machine {asked.name} cannot run a program for {compiled_for.name}: {'; '.join(differing)}",
            "compile the model again for that machine",
        )
