"""What a run is reported as: plain dataclasses, one `to_dict` for the JSON file. Units stand in the names.

Everything in `Performance` is per inference. `cycles` is the latency of one inference on an idle machine
("cold"). `steady_cycles` is what one more inference adds when it is issued right behind the one before, each
of its instructions starting as soon as its queue, its waits and the bytes that the earlier inference still
uses allow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..isa.errors import UsageError
from ..isa.frozen import frozen

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA_VERSION = 1


@frozen
class Performance:
    """Figures of one inference; see the module for `cycles` and `steady_cycles`.

    `utilization` and `bound_cycles` have an entry per engine, and "dram" for the channel: a bound is the
    engine's useful work at its peak rate (multiply-accumulates without padding, elements by lanes, bytes by
    bandwidth), and utilization is the bound over `cycles`. `bound` names the largest; `bound_ratio` is
    `cycles` over it. `limited_by` is "array", "vector" or "dram", whichever is occupied longest (an array by padding
    and filling too), or "dependency" where that is less than half of the latency: then engines wait for one another
    longer than any of them works. `dram_compulsory_bytes` counts weights that this run touches, inputs and outputs,
    each once. `macs` are those that the model asks for, `recomputed_macs` those that the schedule makes again: they are
    no useful work.
    """

    cycles: int
    seconds: float
    steady_cycles: int
    steady_seconds: float
    inferences_per_second: float
    macs: int
    recomputed_macs: int
    tops: float
    tops_per_watt: float
    energy_pj: float
    energy_by_part_pj: dict[str, float]
    average_power_watts: float
    dram_read_bytes: int
    dram_write_bytes: int
    dram_compulsory_bytes: int
    instruction_bytes: int
    instructions: int
    utilization: dict[str, float]
    bound_cycles: dict[str, int]
    bound: str
    bound_ratio: float
    limited_by: str


@frozen
class NodeRow:
    """One ONNX node's share of the run.

    `cycles` counts the engines' busy cycles for the node (engines work side by side: the sum over nodes can
    exceed the latency); `critical_cycles` those of the latency that its instructions make on the critical path (the sum
    over nodes is the latency, but for instructions of no node); `stall_cycles` the cycles in which its instructions
    kept an engine waiting, of which `dependency_cycles` for other instructions, `channel_cycles` for DRAM and
    `fill_cycles` for the array's fill. `engine` is the one it keeps busy longest, `mode` the product's number mode,
    `tile` the commonest "m x n x k" of its matrix products and `products` their number, shared ones counted whole.

    An instruction made from several nodes is shared equally among those that can have asked for it. A node without an
    instruction has zeros; `form` then says why.
    """

    node: str
    op: str = ""
    path: str = ""
    form: str = ""
    engine: str = ""
    mode: str = ""
    tile: str = ""
    products: int = 0
    macs: int = 0
    cycles: float = 0.0
    critical_cycles: float = 0.0
    stall_cycles: float = 0.0
    dependency_cycles: float = 0.0
    channel_cycles: float = 0.0
    fill_cycles: float = 0.0
    dram_bytes: float = 0.0
    energy_pj: float = 0.0


@frozen
class KernelRow:
    """Instructions made from the same ONNX nodes, taken together; the sums over kernels are those of the run.

    `cycles` are those in which at least one of its instructions was at work, so that neither its multiply-accumulates
    nor its bytes can be more than the machine's rates times these. `elements` are what its vector passes worked on,
    `path` is that of its first node.
    """

    nodes: tuple[str, ...]
    path: str
    mode: str
    instructions: int
    macs: int
    elements: int
    dram_bytes: int
    cycles: int
    energy_pj: float


@frozen
class ChosenRow:
    """How many the run chose of `of`: tokens that go on, or heads that stay, behind the nodes named; over all
    inferences."""

    nodes: tuple[str, ...]
    path: str
    of: int
    least: int
    mean: float
    greatest: int


@frozen
class OperandRow:
    """What the matrix products of a kernel met in the first inference, in one mode.

    Shares are means over the products, by their multiply-accumulates: `kept` of what masks left to the array (1 without
    any); `left_zeros` and `right_zeros` of elements that are 0; `left_ones` and `right_ones` of bits that are set, None
    where operands are no bits. Sums are those that the accumulators held behind any product: of bits, popcounts; their
    range says how many bits an accumulator needs.
    """

    nodes: tuple[str, ...]
    path: str
    mode: str
    kept: float
    left_zeros: float
    right_zeros: float
    left_ones: float | None
    right_ones: float | None
    least_sum: float
    greatest_sum: float


@frozen
class CriticalRow:
    """Cycles of the critical path on one engine: "busy", "fill" (of the array) or "latency" (until a result is there
    that another engine waits for). The sum over all rows is the latency."""

    engine: str
    part: str
    cycles: int


@frozen
class Change:
    """One thing changed and the same instructions placed in time again: `cycles` then, `saved_cycles` against the run.

    `subject` says what was changed, `lever` how to change it. The order of the instructions and their tiles stay, so a
    program compiled for the change can be faster still.
    """

    subject: str
    lever: str
    cycles: int
    saved_cycles: int


@frozen
class EngineRow:
    """One engine (an in-order queue): what its `cycles` (the run's latency) went to; the parts sum to the
    whole."""

    engine: str
    kind: str
    instructions: int
    busy_cycles: int
    fill_cycles: int
    dependency_cycles: int
    channel_cycles: int
    finished_cycles: int
    utilization: float
    energy_pj: float


@frozen
class StallRow:
    """Cycles that `engine` lost to `cause`: "dependency" (on engine `on`), "fill", "channel" or
    "finished"."""

    engine: str
    cause: str
    on: str
    cycles: int


@frozen
class Unlowered:
    """A layer written binary or quantized that does not run on the engine meant for it: which, and why."""

    node: str
    op: str
    reason: str


@frozen
class Occupant:
    """A buffer on chip: its name, its first byte in its memory, and its bytes."""

    name: str
    address: int
    bytes: int


@frozen
class MemoryRow:
    """One memory on chip over time.

    `peak_bytes` are in use at `peak_cycle`, by `occupants` (largest first); `fragmentation` is the share of the memory
    that is free then but not in the largest free block. `mean_bytes` is over the whole run, `interval_mean_bytes` over
    equal stretches of `interval_cycles`.
    """

    memory: str
    bytes: int
    peak_bytes: int
    peak_cycle: int
    mean_bytes: float
    fragmentation: float
    occupants: tuple[Occupant, ...]
    interval_cycles: float
    interval_mean_bytes: tuple[float, ...]


@frozen
class Summary:
    """What was run: `performance` is None where timing was not asked for. `wall_seconds` is this host's time
    by part, `untrained` names formats that the model was rounded to without training: its accuracy is unknown."""

    program: str
    machine: str
    mode: str
    inferences: int
    wall_seconds: dict[str, float]
    nan_inputs: int = 0
    checks: tuple[str, ...] = ()
    performance: Performance | None = None
    untrained: tuple[str, ...] = ()


@frozen
class Report:
    """The report of a run: `summary`, and rows by node, kernel, engine, stall, memory on chip and part of the critical
    path (empty without timing), what products met (`operands`, where statistics were asked for), and how many tokens or
    heads were `chosen` (where values were computed). `setting` is what
    the program was made for and with: machine and recipe, as plain values. `make_changes` gives `changes` when they are
    asked for: each is a run of its own."""

    summary: Summary
    nodes: tuple[NodeRow, ...] = ()
    kernels: tuple[KernelRow, ...] = ()
    engines: tuple[EngineRow, ...] = ()
    stalls: tuple[StallRow, ...] = ()
    critical_path: tuple[CriticalRow, ...] = ()
    memories: tuple[MemoryRow, ...] = ()
    unlowered: tuple[Unlowered, ...] = ()
    operands: tuple[OperandRow, ...] = ()
    chosen: tuple[ChosenRow, ...] = ()
    setting: Mapping[str, Any] = field(default_factory=dict[str, Any])
    make_changes: Callable[[], tuple[Change, ...]] = field(default=tuple, repr=False, compare=False)

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """What would make the run faster, the greatest gain first; nothing that would gain nothing."""
        return self.make_changes()

    @property
    def performance(self) -> Performance:
        """The figures of one inference; ValueError if the run had no timing."""
        if self.summary.performance is None:
            raise ValueError("this run had no timing: run it in mode 'both' or 'timing'")
        return self.summary.performance

    def to_dict(self) -> dict[str, object]:
        """The report as JSON-ready values, with `schema_version`; performance stands flat in `summary`."""
        summary = asdict(self.summary)
        performance: Mapping[str, object] | None = summary.pop("performance")
        return {
            "schema_version": SCHEMA_VERSION,
            "summary": {**summary, **(performance or {})},
            "setting": dict(self.setting),
            **{rows: [asdict(row) for row in getattr(self, rows)] for rows in ROWS},
        }

    def to_dataframe(self, rows: str = "nodes") -> DataFrame:
        """Rows of the report as a pandas data frame: nodes, kernels, engines, and what else `to_dict` has lists of.

        Raises UsageError for other rows, and without pandas.
        """
        from .tables import data_frame

        if rows not in ROWS:
            raise UsageError(f"a report has no {rows!r}", f"it has {', '.join(ROWS)}")
        return data_frame(getattr(self, rows), ROWS[rows])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from .notebook import report_html

        return report_html(self)


ROWS: dict[str, type[Any]] = {
    "nodes": NodeRow,
    "kernels": KernelRow,
    "unlowered": Unlowered,
    "engines": EngineRow,
    "stalls": StallRow,
    "critical_path": CriticalRow,
    "memories": MemoryRow,
    "operands": OperandRow,
    "chosen": ChosenRow,
    "changes": Change,
}
"""The report's rows by name, in the order of the JSON file."""
