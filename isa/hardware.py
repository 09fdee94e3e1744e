"""What a machine has: its engines, memories, rates and energies, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from fractions import Fraction
from functools import cached_property
from math import log2
from typing import Annotated, Any, cast

import numpy as np

from .blocks import Space
from .columns import Int64Array
from .engines import Engine
from .errors import MachineError
from .frozen import frozen
from .matrix import MODE_BITS, MODE_NAMES
from .structures import CODES, Structure

MATRIX_LAWS = ("pipelined_ws", "plain_ws", "plain_os")
"""Names of the cost laws of the matrix engine (`isa.matrix_laws`)."""

ACTIONS: dict[str, str] = {
    **{f"mac.{name}": f"multiply-accumulate in mode {name}" for name in MODE_NAMES},
    "vector.operation": "operation of one vector lane",
    "vector.transcendental": "transcendental operation of one vector lane",
    "sparse.element": "element that the sparse engine passes over",
    "sram.read": "byte read from SRAM",
    "sram.write": "byte written to SRAM",
    "acc.read": "byte read from ACC",
    "acc.write": "byte written to ACC",
    "dram.read": "byte read from DRAM (whole bursts)",
    "dram.write": "byte written to DRAM (whole bursts)",
    "fetch": "byte of instruction fetched",
    "leakage": "cycle of the whole chip",
}
"""Every energy action and what one of it is."""

AREAS: dict[str, str] = {
    **{f"mac.{name}": f"multiply-accumulate a cycle in mode {name}" for name in MODE_NAMES},
    "vector.lane": "lane of a vector engine",
    "sparse.element": "element a cycle of a sparse engine",
    "sram.byte": "byte of SRAM",
    "acc.byte": "byte of ACC",
    "dram.byte_per_cycle": "byte a cycle of DRAM bandwidth",
    "control": "the rest of the chip",
}
"""Everything that takes area and what one of it is."""


@frozen
class Queue:
    """One engine with its in-order queue: `index` stands in instruction words, `name` in text."""

    index: int
    name: str
    engine: Engine


@frozen
class Engines:
    """How many engines of each kind."""

    ld: int
    st: int
    mx: int
    vx: int
    sx: int


@frozen
class Memory:
    """An on-chip memory. hazard_line_bytes: two accesses to one line are ordered as if they touched."""

    bytes: Annotated[int, "size"]
    hazard_line_bytes: Annotated[int, "two accesses to one line of so many bytes are ordered as if they touched"]


@frozen
class Dram:
    """DRAM: its channel is shared by all LD and ST engines."""

    bytes: Annotated[int, "size, 4 GiB at most"]
    bytes_per_cycle: Annotated[int, "bandwidth of the channel that all LD and ST engines share"]
    burst_bytes: Annotated[int, "bytes that it moves at once: a transfer moves every burst that it touches"]
    latency_cycles: Annotated[
        int, "cycles from a request to its data; those of one transfer pass behind the data of another"
    ]
    hazard_line_bytes: Annotated[int, "two accesses to one line of so many bytes are ordered as if they touched"]


@frozen
class Transfer:
    """The on-chip side of LD and ST: one access of so many bytes a cycle."""

    access_bytes: Annotated[int, "bytes on chip that LD or ST reads or writes in a cycle"]


@frozen
class MatrixEngine:
    """The matrix engine. rates: products a PE and cycle by mode, relative to int8."""

    law: Annotated[str, f"how products cost cycles: {', '.join(MATRIX_LAWS)}"]
    rows: Annotated[int, "processing elements along K"]
    columns: Annotated[int, "processing elements along N"]
    fill_cycles: Annotated[int, "cycles to fill the array when it was not just running"]
    drain_cycles: Annotated[int, "cycles to drain it"]
    a_port_bytes_per_cycle: Annotated[int, "port of the left operand"]
    weight_port_bytes_per_cycle: Annotated[int, "port of the right operand"]
    acc_port_bytes_per_cycle: Annotated[int, "port of the sums"]
    rates: Annotated[
        Mapping[str, Fraction],
        "values of K that an element takes in a cycle, by mode, relative to int8; a mode left out, or false, does not"
        " exist",
    ]
    structures: Annotated[
        tuple[Structure, ...],
        "structures N:M of weights of which only what is kept is multiplied, each in the modes whose values of A and"
        " indices fit the ports",
    ] = ()

    def depth(self, mode: str) -> int:
        """Values of K that one weight tile covers in `mode`; 0 where the engine has no such mode."""
        return int(self.rows * self.rates.get(mode, Fraction(0)))

    @cached_property
    def depths(self) -> Int64Array:
        """`depth` by mode code."""
        return np.array([self.depth(name) for name in MODE_NAMES] + [0] * 9, dtype=np.int64)[:16]

    def structures_in(self, mode: str) -> tuple[Structure, ...]:
        """The structures of weights in `mode`, the lesser first: a row of PEs chooses from M / N times as many values
        of A, weights come with their indices, and both fit the ports; a tile of the array holds a group's kept values.
        None in modes of less than 8 bits."""
        bits, depth, rate = MODE_BITS[mode], self.depth(mode), self.rates.get(mode, Fraction(0))
        return tuple(
            structure
            for structure in self.structures
            if bits >= 8
            and structure.kept <= depth
            and depth * bits * structure.group <= 8 * self.a_port_bytes_per_cycle * structure.kept
            and self.columns * rate * (bits + structure.index_format.bits) <= 8 * self.weight_port_bytes_per_cycle
        )

    @property
    def structures_by_mode(self) -> tuple[str, ...]:
        """Every structure in every mode that has it, told."""
        return tuple(f"{structure} in {mode}" for mode in sorted(self.rates) for structure in self.structures_in(mode))

    @cached_property
    def structure_table(self) -> Int64Array:
        """Whether the engine has a structure in a mode, by CODES times the mode's code and `Structure.code`."""
        table = np.zeros((16, CODES), dtype=np.int64)
        for code, mode in enumerate(MODE_NAMES):
            table[code, [structure.code for structure in self.structures_in(mode)]] = 1
        return table.ravel()


@frozen
class VectorEngine:
    """The vector engine: stream bytes are what its ports give each lane in a cycle."""

    lanes: Annotated[int, "elements in a cycle"]
    start_cycles: Annotated[int, "cycles before the first element of a pass"]
    program_cycles: Annotated[int, "cycles to take a lane program"]
    sram_bytes_per_lane: Annotated[int, "bytes that a lane reads from SRAM in a cycle"]
    acc_bytes_per_lane: Annotated[int, "bytes that a lane reads from ACC in a cycle"]


@frozen
class SparseEngine:
    """The sparse and index engine. `window`, `height`: among how many columns, of how many rows of a mask, the matrix
    engine can choose what one of its rows takes of a masked product."""

    elements_per_cycle: Annotated[int, "elements in a cycle"]
    window: Annotated[
        int, "columns among which the matrix engine can choose those that a row of a masked product keeps"
    ]
    height: Annotated[int, "rows of a mask whose kept elements can share a row of the matrix engine"]


@frozen
class Figure:
    """A figure with its source; `assumed` where the source is an estimate of ours.

    Of a memory's byte it may be told for a memory of `at_bytes`, and be `per_doubling` times as much with each doubling
    of its size: a larger memory has longer wires.
    """

    value: float
    source: str
    assumed: bool = False
    at_bytes: int = 0
    per_doubling: float = 1.0

    def of_memory(self, size: int) -> float:
        """The figure where the memory has `size` bytes."""
        return self.value * self.per_doubling ** log2(size / self.at_bytes) if self.at_bytes else self.value


@frozen
class Machine:
    """A machine as its file describes it."""

    name: Annotated[str, "the name of the machine in reports"]
    description: Annotated[str, "a line about it"]
    clock_ghz: Annotated[float, "clock, GHz"]
    control_cycles: Annotated[int, "cycles of sync, set.extent and load.extent"]
    engines: Annotated[Engines, "how many engines of each kind"]
    dram: Annotated[Dram, "DRAM"]
    sram: Annotated[Memory, "on-chip memory of operands"]
    acc: Annotated[Memory, "on-chip memory of sums"]
    transfer: Annotated[Transfer, "the on-chip side of LD and ST"]
    matrix: Annotated[MatrixEngine, "the matrix engine MX"]
    vector: Annotated[VectorEngine, "the vector engine VX"]
    sparse: Annotated[SparseEngine, "the sparse and index engine SX"]
    energy_pj: Annotated[Mapping[str, Figure], "picojoules of one action, each with its source"]
    area_um2: Annotated[Mapping[str, Figure], "square micrometres of one of each thing, each with its source"]
    notes: Annotated[tuple[str, ...], "what the figures assume"] = ()

    @cached_property
    def queues(self) -> tuple[Queue, ...]:
        """Every queue, by index: kinds in the order ld, st, mx, vx, sx; `mx1` is the second of its kind."""
        result: list[Queue] = []
        for engine in Engine:
            count = cast(int, getattr(self.engines, engine.value))
            for place in range(count):
                suffix = str(place) if place else ""
                result.append(Queue(len(result), f"{engine.value}{suffix}", engine))
        return tuple(result)

    def queue(self, engine: Engine, place: int = 0) -> Queue:
        """The `place`-th queue of a kind; MachineError when there are not so many."""
        found = [queue for queue in self.queues if queue.engine is engine]
        if place >= len(found):
            raise MachineError(self.name, f"engines.{engine}", f"there are {len(found)}, number {place} is asked for")
        return found[place]

    def memory_bytes(self, space: Space) -> int:
        """Size of a memory; of registers, their bytes."""
        return {Space.DRAM: self.dram.bytes, Space.SRAM: self.sram.bytes, Space.ACC: self.acc.bytes}.get(space, 128)

    def hazard_line_bytes(self, space: Space) -> int:
        """Two accesses conflict when they touch the same line of so many bytes."""
        return {
            Space.DRAM: self.dram.hazard_line_bytes,
            Space.SRAM: self.sram.hazard_line_bytes,
            Space.ACC: self.acc.hazard_line_bytes,
        }.get(space, 4)

    def energy(self, action: str) -> float:
        """Picojoules of one action of ACTIONS; 0 for multiply-accumulates in a mode that the machine lacks."""
        figure = self.energy_pj.get(action)
        if figure is None:
            return 0.0
        memory = {"sram": self.sram, "acc": self.acc}.get(action.partition(".")[0])
        return figure.value if memory is None else figure.of_memory(memory.bytes)

    def area_by_part_mm2(self) -> dict[str, float]:
        """Square millimetres by part: matrix, vector, sparse, sram, acc, dram, control. What a part holds, times what
        one of it takes; each engine is counted, and a mode that the matrix engine lacks takes nothing."""
        matrix, engines = self.matrix, self.engines
        places = matrix.rows * matrix.columns * engines.mx
        counts = {
            **{f"mac.{mode}": float(rate * places) for mode, rate in matrix.rates.items()},
            "vector.lane": self.vector.lanes * engines.vx,
            "sparse.element": self.sparse.elements_per_cycle * engines.sx,
            "sram.byte": self.sram.bytes,
            "acc.byte": self.acc.bytes,
            "dram.byte_per_cycle": self.dram.bytes_per_cycle,
            "control": 1,
        }
        parts: dict[str, float] = {}
        for name, count in counts.items():
            part = name.partition(".")[0]
            part = "matrix" if part == "mac" else part
            parts[part] = parts.get(part, 0.0) + count * self.area_um2[name].value * 1e-6
        return parts

    @property
    def area_mm2(self) -> float:
        """Square millimetres of the whole chip."""
        return sum(self.area_by_part_mm2().values())

    def sizes(self) -> dict[str, Any]:
        """What a program is compiled against: a machine with other values here cannot run it."""
        return {
            "engines": {engine.value: getattr(self.engines, engine.value) for engine in Engine},
            "sram.bytes": self.sram.bytes,
            "acc.bytes": self.acc.bytes,
            "dram.bytes": self.dram.bytes,
            "hazard_line_bytes": [self.hazard_line_bytes(space) for space in (Space.DRAM, Space.SRAM, Space.ACC)],
            "modes": sorted(self.matrix.rates),
        }

    def to_dict(self) -> dict[str, Any]:
        """As plain TOML or JSON values; `machine_from_dict` gives an equal machine."""
        return cast(dict[str, Any], _plain(self))


def _plain(value: Any) -> Any:
    if isinstance(value, Structure):
        return str(value)
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        mapping = cast(Mapping[str, Any], value)
        return {key: _plain(mapping[key]) for key in sorted(mapping)}
    if isinstance(value, tuple):
        return [_plain(item) for item in cast(tuple[Any, ...], value)]
    return value
