"""What designs are judged by: figures with their units, objectives, and limits that a design has to keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from ...isa.errors import UsageError
from ...isa.frozen import frozen

if TYPE_CHECKING:
    from ...isa.machine import Machine
    from ...isa.program import Program
    from ...runtime.report import Report

Figures = Mapping[str, float]
"""Figures of a design by name, in the units of `FIGURES`."""


@frozen
class Figure:
    """A figure that designs are compared by.

    unit: empty for a count without one. digits: of its decimals in print. most: whether more of it is better. measure:
    what gives it from a run in time; None for accuracy, which takes values.
    """

    name: str
    unit: str
    meaning: str
    digits: int = 0
    most: bool = False
    measure: Callable[[Program, Machine, Report], float] | None = None

    @property
    def label(self) -> str:
        """Name and unit, as a heading."""
        name = self.name.replace("_", " ")
        return f"{name} ({self.unit})" if self.unit not in ("", name) else name

    def text(self, value: float) -> str:
        """The figure in print, without its unit."""
        return f"{value:,.{self.digits}f}"


def _width(_: Program, __: Machine, report: Report) -> float:
    """Mean bits of the products' operands, each multiply-accumulate counting once."""
    from ...isa.matrix import MODE_BITS

    work = [(row.macs, MODE_BITS[row.mode]) for row in report.nodes if row.macs]
    total = sum(macs for macs, _ in work)
    return sum(macs * bits for macs, bits in work) / total if total else 0.0


FIGURES = {
    figure.name: figure
    for figure in (
        Figure("cycles", "cycles", "latency of one inference, cold", measure=lambda _, __, r: r.performance.cycles),
        Figure("latency", "us", "the same in time", 2, measure=lambda _, __, r: r.performance.seconds * 1e6),
        Figure("energy", "uJ", "of one inference", 2, measure=lambda _, __, r: r.performance.energy_pj * 1e-6),
        Figure("power", "W", "mean over one inference", 3, measure=lambda _, __, r: r.performance.average_power_watts),
        Figure(
            "frame_rate",
            "1/s",
            "inferences a second, one right behind the other",
            most=True,
            measure=lambda _, __, r: r.performance.inferences_per_second,
        ),
        Figure("area", "mm2", "of the chip", 3, measure=lambda _, machine, __: machine.area_mm2),
        Figure(
            "dram",
            "bytes",
            "read and written for one inference",
            measure=lambda _, __, r: r.performance.dram_read_bytes + r.performance.dram_write_bytes,
        ),
        Figure("weights", "bytes", "of constants", measure=lambda program, _, __: program.weight_bytes),
        Figure("bits", "bits", "mean width of what products multiply", 2, most=True, measure=_width),
        Figure("accuracy", "%", "share of right labels", 2, most=True),
    )
}
"""Every figure there is; the manual page, objectives, limits and tables are made from them."""


@frozen
class Limit:
    """A figure that must be at most, or at least, `bound`."""

    figure: Figure
    bound: float
    at_least: bool

    def excess(self, figures: Figures) -> float:
        """How far a design is beyond the limit, as a share of it; 0 or less where it keeps it."""
        short = self.bound - figures[self.figure.name] if self.at_least else figures[self.figure.name] - self.bound
        return short / (abs(self.bound) or 1.0)

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{self.figure.name} {sign} {self.bound:g} {self.figure.unit}".rstrip()


def figure_of(name: str) -> Figure:
    """The figure of a name. Raises UsageError where there is none."""
    if name not in FIGURES:
        raise UsageError(f"there is no figure {name!r}", f"there are {', '.join(FIGURES)}")
    return FIGURES[name]


def objectives_of(text: str) -> tuple[Figure, ...]:
    """The objectives of a comma-separated list. Raises UsageError for an unknown one, one given twice, or none."""
    names = [name.strip() for name in text.split(",")]
    found = tuple(figure_of(name) for name in names)
    if len(set(names)) < len(names):
        raise UsageError(f"an objective of {text!r} is named twice")
    return found


def limits_of(at_most: Mapping[str, float], at_least: Mapping[str, float]) -> tuple[Limit, ...]:
    """The limits of bounds by figure. Raises UsageError for an unknown figure or a bound that is no number."""
    limits = [Limit(figure_of(name), bound, at_least=False) for name, bound in at_most.items()]
    limits += [Limit(figure_of(name), bound, at_least=True) for name, bound in at_least.items()]
    for limit in limits:
        if not math.isfinite(limit.bound):
            raise UsageError(f"a limit of {limit.bound} for {limit.figure.name} is none")
    return tuple(limits)


def dominates(left: Figures, right: Figures, objectives: Iterable[Figure]) -> bool:
    """Whether `left` is nowhere worse than `right`, and somewhere better."""
    better = False
    for figure in objectives:
        ours, theirs = left[figure.name], right[figure.name]
        if ours != theirs:
            if (ours > theirs) != figure.most:
                return False
            better = True
    return better
