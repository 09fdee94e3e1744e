"""The front as a picture: every trial by its objectives, two at a time, in light and in dark."""

from __future__ import annotations

from importlib import import_module
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...isa.files import write_beside
from .front import short_names, value_text
from .setup import MODEL

if TYPE_CHECKING:
    from .exploration import Exploration
    from .objectives import Figure
    from .parameters import Scalar
    from .study import Trial

INK, SOFT, LINE, PAPER = "#1b1f24", "#8c959f", "#d0d7de", "#ffffff"
TONES = ("#0b72b5", "#cf5a00", "#007a5a", "#8248b8", "#b3261e", "#6b5900")
MARKS = ("o", "s", "^", "D", "v", "P")

IN_THE_DARK = {
    INK: "#e6edf3", SOFT: "#7d8894", LINE: "#343c45", PAPER: "#0f1419",
    TONES[0]: "#4da3e0", TONES[1]: "#ff8f52", TONES[2]: "#3fc096",
    TONES[3]: "#c394f2", TONES[4]: "#ff8a80", TONES[5]: "#d8c04a",
}  # fmt: skip
"""What becomes of each colour where the reader's system is dark; programs that know no style sheets show the light."""

WIDE = 20
"""An axis whose largest value is so many times the smallest is logarithmic."""


def write_plot(found: Exploration, path: Path) -> None:
    """Draw the study into an SVG or PNG file, by the name's ending, whole or not at all. Raises OutputError."""
    # What matplotlib returns depends on its arguments: its objects are used as they come.
    library: Any = import_module("matplotlib")
    content = BytesIO()
    kind = path.suffix.removeprefix(".")
    # Text stays text, and equal studies give equal files.
    with library.rc_context({"svg.fonttype": "none", "svg.hashsalt": "attnc", "font.size": 10}):
        unsaid = {"Date": None} if kind == "svg" else {"Software": None}
        _figure(found).savefig(content, format=kind, metadata=unsaid)
    data = content.getvalue()
    write_beside(path, _themed(data.decode()).encode() if kind == "svg" else data)


def _themed(svg: str) -> str:
    """The picture with colours that follow the reader's system."""
    rules = "".join(
        f'[style*="{what}: {light}"]{{{what}:{dark} !important}}'
        for light, dark in IN_THE_DARK.items()
        for what in ("fill", "stroke")
    )
    head, tag, rest = svg.partition("<defs>")
    return f"{head}<style>@media (prefers-color-scheme: dark){{{rules}}}</style>{tag}{rest}"


def _figure(found: Exploration) -> Any:
    canvas: Any = import_module("matplotlib.figure").Figure
    objectives = found.setup.objectives
    pairs = list(combinations(objectives, 2)) or [(objectives[0], objectives[0])]
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = canvas(figsize=(0.6 + 3.7 * columns, 0.9 + 3.2 * rows), layout="constrained", facecolor=PAPER)
    grid: Any = figure.subplots(rows, columns, squeeze=False)
    groups = _groups(found)
    for place, axes in enumerate(grid.flat):
        if place < len(pairs):
            _panel(axes, found, groups, *pairs[place])
        else:
            axes.set_axis_off()
    handles, labels = grid[0][0].get_legend_handles_labels()
    legend: Any = figure.legend(handles, labels, loc="outside upper left", ncols=4, frameon=False)
    for text in legend.get_texts():
        text.set_color(INK)
    return figure


def _groups(found: Exploration) -> tuple[str, list[Any]]:
    """The parameter by which points are coloured, and its values: the first choice that the front still makes."""
    for name, parameter in found.setup.parameters.items():
        values = [value for value in parameter.values if any(p.trial.assignment[name] == value for p in found.front)]
        if parameter.kind == "choice" and 1 < len(values) <= len(TONES):
            return name, values
    return "", [None]


def _panel(axes: Any, found: Exploration, groups: tuple[str, list[Any]], across: Figure, up: Figure) -> None:
    """One pair of objectives: trials as dots, the front as marks, coloured by group, its numbers beside the best."""
    name, values = groups
    measured = [trial for trial in found.trials if trial.outcome.figures]
    axes.scatter(*_places(measured, across, up), s=7, color=SOFT, linewidths=0, label="other designs", zorder=2)
    for value, tone, mark in zip(values, TONES, MARKS, strict=False):
        own = [point.trial for point in found.front if not name or point.trial.assignment[name] == value]
        label = ", ".join(["front", *([_told(name, value)] if name else [])])
        axes.scatter(
            *_places(own, across, up),
            s=30,
            marker=mark,
            color=tone,
            linewidths=0.8,
            edgecolors=PAPER,
            label=label,
            zorder=3,
        )
    for figure, axis in ((across, "x"), (up, "y")):
        found_values = [trial.outcome.figures[figure.name] for trial in measured]
        if found_values and 0 < min(found_values) * WIDE < max(found_values):
            axes.set(**{f"{axis}scale": "log"})
            _number(axes.xaxis if axis == "x" else axes.yaxis)
        better = "more" if figure.most else "less"
        axes.set(**{f"{axis}label": f"{figure.label}, {better} is better"})
    axes.set_facecolor(PAPER)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def _number(axis: Any) -> None:
    """Have few numbers on a logarithmic axis, written as 20k and 1M."""
    ticker: Any = import_module("matplotlib.ticker")
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.EngFormatter(sep=""))
    axis.set_minor_formatter(ticker.NullFormatter())


def _told(name: str, value: Scalar) -> str:
    return value_text(value) if name == MODEL else f"{short_names([name])[0]} {value_text(value)}"


def _places(trials: list[Trial], across: Figure, up: Figure) -> tuple[list[float], list[float]]:
    figures = [trial.outcome.figures for trial in trials]
    return [item[across.name] for item in figures], [item[up.name] for item in figures]
