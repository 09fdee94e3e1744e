"""The machine: everything that compiler and simulator know of the hardware, read from one TOML file.

Keys carry their units. A file may say `extends = "edge"` and give only what differs. Reading checks everything:
unknown, missing and mistyped keys, ranges, and that every matrix mode's rate fits the operand ports.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from .blocks import Space
from .columns import Int64Array
from .engines import Engine
from .errors import MachineError
from .fields import WAIT_QUEUES
from .matrix import MODE_BITS, MODE_NAMES

MACHINES_FOLDER = Path(__file__).parent / "machines"

MATRIX_LAWS = ("pipelined_ws", "plain_ws", "plain_os")
"""Names of the cost laws of the matrix engine (`isa.matrix_laws`)."""

ACTIONS: dict[str, str] = {
    **{f"mac.{name}": f"multiply-accumulate in mode {name}" for name in MODE_NAMES},
    "vector.operation": "operation of one vector lane",
    "vector.transcendental": "transcendental operation of one vector lane",
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


@dataclass(frozen=True)
class Queue:
    """One engine with its in-order queue: `index` stands in instruction words, `name` in text."""

    index: int
    name: str
    engine: Engine


@dataclass(frozen=True)
class Engines:
    """How many engines of each kind."""

    ld: int
    st: int
    mx: int
    vx: int
    sx: int


@dataclass(frozen=True)
class Memory:
    """An on-chip memory. hazard_line_bytes: two accesses to one line are ordered as if they touched."""

    bytes: int
    hazard_line_bytes: int


@dataclass(frozen=True)
class Dram:
    """DRAM: its channel is shared by all LD and ST engines."""

    bytes: int
    bytes_per_cycle: int
    burst_bytes: int
    latency_cycles: int
    hazard_line_bytes: int


@dataclass(frozen=True)
class Transfer:
    """The on-chip side of LD and ST: one access of so many bytes a cycle."""

    access_bytes: int


@dataclass(frozen=True)
class MatrixEngine:
    """The matrix engine. rates: products a PE and cycle by mode, relative to int8."""

    law: str
    rows: int
    columns: int
    fill_cycles: int
    drain_cycles: int
    a_port_bytes_per_cycle: int
    weight_port_bytes_per_cycle: int
    acc_port_bytes_per_cycle: int
    rates: Mapping[str, Fraction]

    def depth(self, mode: str) -> int:
        """Values of K that one weight tile covers in `mode`; 0 where the engine has no such mode."""
        return int(self.rows * self.rates.get(mode, Fraction(0)))

    @cached_property
    def depths(self) -> Int64Array:
        """`depth` by mode code."""
        return np.array([self.depth(name) for name in MODE_NAMES] + [0] * 9, dtype=np.int64)[:16]


@dataclass(frozen=True)
class VectorEngine:
    """The vector engine: stream bytes are what its ports give each lane in a cycle."""

    lanes: int
    start_cycles: int
    program_cycles: int
    sram_bytes_per_lane: int
    acc_bytes_per_lane: int


@dataclass(frozen=True)
class SparseEngine:
    """The sparse and index engine."""

    elements_per_cycle: int


@dataclass(frozen=True)
class Figure:
    """A figure with its source; `assumed` where the source is an estimate of ours."""

    value: float
    source: str
    assumed: bool = False


@dataclass(frozen=True)
class Machine:
    """A machine as its file describes it."""

    name: str
    description: str
    clock_ghz: float
    control_cycles: int
    engines: Engines
    dram: Dram
    sram: Memory
    acc: Memory
    transfer: Transfer
    matrix: MatrixEngine
    vector: VectorEngine
    sparse: SparseEngine
    energy_pj: Mapping[str, Figure]
    area_mm2: Mapping[str, Figure]
    notes: tuple[str, ...] = ()

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
            raise MachineError(
                self.name, f"engines.{engine}", f"there are {len(found)}, number {place} is asked for"
            )
        return found[place]

    def memory_bytes(self, space: Space) -> int:
        """Size of a memory; of registers, their bytes."""
        return {Space.DRAM: self.dram.bytes, Space.SRAM: self.sram.bytes, Space.ACC: self.acc.bytes}.get(
            space, 128
        )

    def hazard_line_bytes(self, space: Space) -> int:
        """Two accesses conflict when they touch the same line of so many bytes."""
        return {
            Space.DRAM: self.dram.hazard_line_bytes,
            Space.SRAM: self.sram.hazard_line_bytes,
            Space.ACC: self.acc.hazard_line_bytes,
        }.get(space, 4)

    def energy(self, action: str) -> float:
        """Picojoules of one action of ACTIONS."""
        return self.energy_pj[action].value

    def sizes(self) -> dict[str, Any]:
        """What a program is compiled against: a machine with other values here cannot run it."""
        return {
            "engines": {engine.value: getattr(self.engines, engine.value) for engine in Engine},
            "sram.bytes": self.sram.bytes,
            "acc.bytes": self.acc.bytes,
            "dram.bytes": self.dram.bytes,
            "hazard_line_bytes": [
                self.hazard_line_bytes(space) for space in (Space.DRAM, Space.SRAM, Space.ACC)
            ],
            "modes": sorted(self.matrix.rates),
        }

    def to_dict(self) -> dict[str, Any]:
        """As plain TOML or JSON values; `machine_from_dict` gives an equal machine."""
        return cast(dict[str, Any], _plain(self))


def _plain(value: Any) -> Any:
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


class _Reader:
    """Reads a table of a machine file into dataclasses; every error names the dotted key."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fail(self, key: str, reason: str) -> MachineError:
        return MachineError(self.name, key, reason)

    def table(self, value: Any, key: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fail(key, f"a table is needed, not {value!r}")
        return cast(dict[str, Any], value)

    def keys(
        self, table: Mapping[str, Any], known: tuple[str, ...], key: str, optional: tuple[str, ...] = ()
    ) -> None:
        prefix = f"{key}." if key else ""
        for name in table:
            if name not in known:
                raise self.fail(f"{prefix}{name}", f"unknown key; known here are {', '.join(known)}")
        for name in known:
            if name not in table and name not in optional:
                raise self.fail(f"{prefix}{name}", "missing")

    def integer(self, value: Any, key: str, low: int = 1) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(key, f"a whole number is needed, not {value!r}")
        if value < low:
            raise self.fail(key, f"{value} is below {low}")
        return value

    def real(self, value: Any, key: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(key, f"a number is needed, not {value!r}")
        if not 0 <= value < float("inf"):
            raise self.fail(key, f"{value} is not a number from 0 up")
        return float(value)

    def text(self, value: Any, key: str) -> str:
        if not isinstance(value, str) or not value:
            raise self.fail(key, f"a text is needed, not {value!r}")
        return value

    def rate(self, value: Any, key: str) -> Fraction:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self.fail(key, f'a number or a fraction such as "1/8" is needed, not {value!r}')
        try:
            rate = Fraction(value)
        except (ValueError, ZeroDivisionError, OverflowError):
            raise self.fail(key, f"{value!r} is no fraction") from None
        if rate <= 0:
            raise self.fail(key, f"{value!r} is not above 0")
        return rate

    def integers(self, cls: type[Any], value: Any, key: str, low: int = 1) -> Any:
        table = self.table(value, key)
        names = tuple(item.name for item in fields(cls))
        self.keys(table, names, key)
        # Cycles may be none at all; sizes and rates may not.
        lows = {name: 0 if name.endswith("_cycles") else low for name in names}
        return cls(**{name: self.integer(table[name], f"{key}.{name}", lows[name]) for name in names})

    def matrix(self, value: Any) -> MatrixEngine:
        table = self.table(value, "matrix")
        names = tuple(item.name for item in fields(MatrixEngine))
        self.keys(table, names, "matrix")
        law = self.text(table["law"], "matrix.law")
        if law not in MATRIX_LAWS:
            raise self.fail("matrix.law", f"{law!r} is none of {', '.join(MATRIX_LAWS)}")
        rates_table = self.table(table["rates"], "matrix.rates")
        self.keys(rates_table, MODE_NAMES, "matrix.rates", MODE_NAMES)
        rates = {name: self.rate(rate, f"matrix.rates.{name}") for name, rate in rates_table.items()}
        numbers = {
            name: self.integer(table[name], f"matrix.{name}", 0 if name.endswith("_cycles") else 1)
            for name in names
            if name not in ("law", "rates")
        }
        return self.ports(MatrixEngine(law=law, rates=dict(sorted(rates.items())), **numbers))

    def ports(self, engine: MatrixEngine) -> MatrixEngine:
        """A mode's rate times its width must fit the ports of A, of weights and of ACC."""
        for mode, rate in engine.rates.items():
            key = f"matrix.rates.{mode}"
            if (engine.rows * rate).denominator != 1:
                raise self.fail(key, f"{engine.rows} rows times {rate} is not a whole number of K values")
            row_bytes = engine.rows * rate * MODE_BITS[mode] / 8
            if row_bytes > engine.a_port_bytes_per_cycle:
                raise self.fail(
                    key,
                    f"A needs {float(row_bytes):g} B/cycle ({engine.rows} rows x {rate} x {MODE_BITS[mode]} bits), "
                    f"matrix.a_port_bytes_per_cycle is {engine.a_port_bytes_per_cycle}",
                )
            # The next weight tile (depth x columns values) arrives in the `rows` cycles that a tile lasts at least.
            weight_bytes = engine.columns * rate * MODE_BITS[mode] / 8
            if weight_bytes > engine.weight_port_bytes_per_cycle:
                raise self.fail(
                    key,
                    f"weights need {float(weight_bytes):g} B/cycle "
                    f"({engine.columns} columns x {rate} x {MODE_BITS[mode]} bits), "
                    f"matrix.weight_port_bytes_per_cycle is {engine.weight_port_bytes_per_cycle}",
                )
        if engine.columns * 4 > engine.acc_port_bytes_per_cycle:
            raise self.fail(
                "matrix.acc_port_bytes_per_cycle",
                f"{engine.columns} columns need {engine.columns * 4} B/cycle, not {engine.acc_port_bytes_per_cycle}",
            )
        return engine

    def figures(self, value: Any, key: str, known: tuple[str, ...]) -> dict[str, Figure]:
        table = self.table(value, key)
        self.keys(table, known, key)
        result: dict[str, Figure] = {}
        for name in known:
            where = f"{key}.{name}"
            entry = self.table(table[name], where)
            self.keys(entry, ("value", "source", "assumed"), where, ("assumed",))
            assumed = entry.get("assumed", False)
            if not isinstance(assumed, bool):
                raise self.fail(f"{where}.assumed", f"true or false is needed, not {assumed!r}")
            result[name] = Figure(
                self.real(entry["value"], f"{where}.value"),
                self.text(entry["source"], f"{where}.source"),
                assumed,
            )
        return result

    def machine(self, data: Mapping[str, Any]) -> Machine:
        names = tuple(item.name for item in fields(Machine))
        self.keys(data, names, "", ("notes",))
        notes: Any = data.get("notes", [])
        if not isinstance(notes, list):
            raise self.fail("notes", f"a list of texts is needed, not {notes!r}")
        machine = Machine(
            name=self.text(data["name"], "name"),
            description=self.text(data["description"], "description"),
            clock_ghz=self.real(data["clock_ghz"], "clock_ghz"),
            control_cycles=self.integer(data["control_cycles"], "control_cycles", 0),
            engines=self.integers(Engines, data["engines"], "engines", 0),
            dram=self.integers(Dram, data["dram"], "dram"),
            sram=self.integers(Memory, data["sram"], "sram"),
            acc=self.integers(Memory, data["acc"], "acc"),
            transfer=self.integers(Transfer, data["transfer"], "transfer"),
            matrix=self.matrix(data["matrix"]),
            vector=self.integers(VectorEngine, data["vector"], "vector"),
            sparse=self.integers(SparseEngine, data["sparse"], "sparse"),
            energy_pj=self.figures(data["energy_pj"], "energy_pj", tuple(ACTIONS)),
            area_mm2=self.figures(
                data["area_mm2"], "area_mm2", ("matrix", "vector", "sparse", "sram", "acc", "other")
            ),
            notes=tuple(self.text(note, "notes") for note in cast(list[Any], notes)),
        )
        return self.consistent(machine)

    def consistent(self, machine: Machine) -> Machine:
        if machine.clock_ghz <= 0:
            raise self.fail("clock_ghz", f"{machine.clock_ghz} is not above 0")
        for key, size, limit in (
            ("dram.bytes", machine.dram.bytes, 1 << 32),
            ("sram.bytes", machine.sram.bytes, 1 << 31),
            ("acc.bytes", machine.acc.bytes, 1 << 31),
        ):
            if size > limit:
                raise self.fail(key, f"{size} is more than addresses reach ({limit})")
        for key, line in (
            ("dram.hazard_line_bytes", machine.dram.hazard_line_bytes),
            ("sram.hazard_line_bytes", machine.sram.hazard_line_bytes),
            ("acc.hazard_line_bytes", machine.acc.hazard_line_bytes),
            ("dram.burst_bytes", machine.dram.burst_bytes),
            ("transfer.access_bytes", machine.transfer.access_bytes),
        ):
            if line & (line - 1) or line < 4:
                raise self.fail(key, f"{line} is not a power of two from 4 up")
        for engine in (Engine.LD, Engine.ST, Engine.MX, Engine.VX):
            if getattr(machine.engines, engine.value) < 1:
                raise self.fail(f"engines.{engine}", "at least one is needed")
        if len(machine.queues) > WAIT_QUEUES:
            raise self.fail(
                "engines", f"{len(machine.queues)} queues, instruction words name at most {WAIT_QUEUES}"
            )
        return machine


def machine_names() -> tuple[str, ...]:
    """Names of the machines that come with attnc."""
    return tuple(sorted(path.stem for path in MACHINES_FOLDER.glob("*.toml")))


def load_machine(name_or_path: str | Path) -> Machine:
    """The machine of a name from `machine_names()` or of a TOML file; MachineError when it is not valid."""
    return machine_from_dict(_read(name_or_path, ()), str(name_or_path))


def machine_from_dict(data: Mapping[str, Any], name: str = "") -> Machine:
    """The machine of plain values, as `Machine.to_dict` or a TOML file give them; MachineError if not valid."""
    return _Reader(name or str(data.get("name", "?"))).machine(data)


def _read(name_or_path: str | Path, seen: tuple[str, ...]) -> dict[str, Any]:
    path = _locate(name_or_path)
    subject = str(name_or_path)
    if str(path) in seen:
        raise MachineError(subject, "extends", "the files extend one another in a circle")
    try:
        content = path.read_bytes()
        data: dict[str, Any] = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise MachineError(subject, "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MachineError(subject, "", "is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise MachineError(subject, "", f"is not TOML: {error}") from None
    parent = data.pop("extends", None)
    if parent is None:
        return data
    if not isinstance(parent, str):
        raise MachineError(subject, "extends", f"a machine's name or file is needed, not {parent!r}")
    beside = path.parent / parent
    base = _read(beside if beside.is_file() else parent, (*seen, str(path)))
    return _merge(base, data)


def _locate(name_or_path: str | Path) -> Path:
    if isinstance(name_or_path, str) and name_or_path in machine_names():
        return MACHINES_FOLDER / f"{name_or_path}.toml"
    path = Path(name_or_path)
    if not path.is_file():
        raise MachineError(
            str(name_or_path),
            "",
            f"no machine of this name and no such file; names are {', '.join(machine_names())}",
        )
    return path.resolve()


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        # A figure is replaced whole: a new value under the old source would be a false citation.
        if isinstance(old, dict) and isinstance(value, dict) and "source" not in old:
            result[key] = _merge(cast(dict[str, Any], old), cast(dict[str, Any], value))
        else:
            result[key] = value
    return result
