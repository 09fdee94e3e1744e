"""What a run is reported as: plain dataclasses, one `to_dict` for the JSON file. Units stand in the names.

Everything in `Performance` is per inference. `cycles` is the latency of one inference on an idle machine
("cold"). `steady_cycles` is what one more inference adds when it is issued right behind the one before, each
of its instructions starting as soon as its queue, its waits and the bytes that the earlier inference still
uses allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from ..isa.errors import UsageError

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Performance:
    """Figures of one inference; see the module for `cycles` and `steady_cycles`.

    `utilization` and `bound_cycles` have an entry per engine, and "dram" for the channel: a bound is the
    engine's useful work at its peak rate (multiply-accumulates without padding, elements by lanes, bytes by
    bandwidth), and utilization is the bound over `cycles`. `bound` names the largest; `bound_ratio` is
    `cycles` over it. `dram_compulsory_bytes` counts weights that this run touches, inputs and outputs, each
    once. `macs` are those that the model asks for, `recomputed_macs` those that the schedule makes again: they are no
    useful work.
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


@dataclass(frozen=True)
class NodeRow:
    """One ONNX node's share of the run.

    `cycles` counts the engines' busy cycles for the node (engines work side by side: the sum over nodes can
    exceed the latency); `stall_cycles` the cycles in which its instructions kept an engine waiting; `engine`
    is the one it keeps busy longest, `mode` the product's number mode. An instruction made from several nodes
    is shared equally among those that can have asked for it. A node without an instruction has zeros; `form`
    then says why.
    """

    node: str
    op: str
    path: str
    form: str
    engine: str
    mode: str
    macs: int
    cycles: float
    stall_cycles: float
    dram_bytes: float
    energy_pj: float


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class StallRow:
    """Cycles that `engine` lost to `cause`: "dependency" (on engine `on`), "fill", "channel" or
    "finished"."""

    engine: str
    cause: str
    on: str
    cycles: int


@dataclass(frozen=True)
class Unlowered:
    """A layer written binary or quantized that does not run on the engine meant for it: which, and why."""

    node: str
    op: str
    reason: str


@dataclass(frozen=True)
class Occupant:
    """A buffer on chip: its name, its first byte in its memory, and its bytes."""

    name: str
    address: int
    bytes: int


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Summary:
    """What was run: `performance` is None where timing was not asked for. `wall_seconds` is this host's time
    by part."""

    program: str
    machine: str
    mode: str
    inferences: int
    wall_seconds: dict[str, float]
    nan_inputs: int = 0
    checks: tuple[str, ...] = ()
    performance: Performance | None = None


@dataclass(frozen=True)
class Report:
    """The report of a run: `summary`, and rows by node, engine, stall and memory on chip (empty without timing)."""

    summary: Summary
    nodes: tuple[NodeRow, ...] = ()
    engines: tuple[EngineRow, ...] = ()
    stalls: tuple[StallRow, ...] = ()
    memories: tuple[MemoryRow, ...] = ()
    unlowered: tuple[Unlowered, ...] = field(default=())

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
            "nodes": [asdict(row) for row in self.nodes],
            "unlowered": [asdict(row) for row in self.unlowered],
            "engines": [asdict(row) for row in self.engines],
            "stalls": [asdict(row) for row in self.stalls],
            "memories": [asdict(row) for row in self.memories],
        }

    def to_dataframe(self, rows: str = "nodes") -> DataFrame:
        """Rows of the report as a pandas data frame: nodes, unlowered, engines, stalls or memories.

        Raises UsageError for other rows, and without pandas.
        """
        from .tables import data_frame

        kinds = {
            "nodes": NodeRow,
            "unlowered": Unlowered,
            "engines": EngineRow,
            "stalls": StallRow,
            "memories": MemoryRow,
        }
        if rows not in kinds:
            raise UsageError(f"a report has no {rows!r}", f"it has {', '.join(kinds)}")
        return data_frame(getattr(self, rows), kinds[rows])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from .notebook import report_html

        return report_html(self)
