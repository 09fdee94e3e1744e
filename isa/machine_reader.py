"""Reading a machine from plain values (TOML or JSON): every key, type, range and port is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from typing import Any, cast

from .engines import Engine
from .errors import MachineError, UsageError
from .fields import WAIT_QUEUES
from .hardware import (
    ACTIONS,
    AREAS,
    MATRIX_LAWS,
    Dram,
    Engines,
    Figure,
    Machine,
    MatrixEngine,
    Memory,
    SparseEngine,
    Transfer,
    VectorEngine,
)
from .matrix import MODE_BITS, MODE_NAMES
from .structures import Structure

MEMORIES = ("sram.", "acc.")
"""What the names of figures that may go with the size of a memory begin with."""


class MachineReader:
    """Reads a table of a machine file into dataclasses; every error names the dotted key."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fail(self, key: str, reason: str) -> MachineError:
        """A MachineError about a key."""
        return MachineError(self.name, key, reason)

    def table(self, value: Any, key: str) -> dict[str, Any]:
        """`value` as a table."""
        if not isinstance(value, dict):
            raise self.fail(key, f"a table is needed, not {value!r}")
        return cast(dict[str, Any], value)

    def keys(self, table: Mapping[str, Any], known: tuple[str, ...], key: str, optional: tuple[str, ...] = ()) -> None:
        """Check that a table has the known keys and no others."""
        prefix = f"{key}." if key else ""
        for name in table:
            if name not in known:
                raise self.fail(f"{prefix}{name}", f"unknown key; known here are {', '.join(known)}")
        for name in known:
            if name not in table and name not in optional:
                raise self.fail(f"{prefix}{name}", "missing")

    def integer(self, value: Any, key: str, low: int = 1) -> int:
        """`value` as a whole number from `low` up."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(key, f"a whole number is needed, not {value!r}")
        if value < low:
            raise self.fail(key, f"{value} is below {low}")
        return value

    def real(self, value: Any, key: str) -> float:
        """`value` as a number from 0 up."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(key, f"a number is needed, not {value!r}")
        if not 0 <= value < float("inf"):
            raise self.fail(key, f"{value} is not a number from 0 up")
        return float(value)

    def text(self, value: Any, key: str) -> str:
        """`value` as a text that is not empty."""
        if not isinstance(value, str) or not value:
            raise self.fail(key, f"a text is needed, not {value!r}")
        return value

    def rate(self, value: Any, key: str) -> Fraction:
        """`value` as a fraction above 0."""
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
        """A table of whole numbers as the dataclass `cls`."""
        table = self.table(value, key)
        names = tuple(item.name for item in fields(cls))
        self.keys(table, names, key)
        # Cycles may be none at all; sizes and rates may not.
        lows = {name: 0 if name.endswith("_cycles") else low for name in names}
        return cls(**{name: self.integer(table[name], f"{key}.{name}", lows[name]) for name in names})

    def matrix(self, value: Any) -> MatrixEngine:
        """The matrix engine, with its rates."""
        table = self.table(value, "matrix")
        names = tuple(item.name for item in fields(MatrixEngine))
        self.keys(table, names, "matrix", ("structures",))
        law = self.text(table["law"], "matrix.law")
        if law not in MATRIX_LAWS:
            raise self.fail("matrix.law", f"{law!r} is none of {', '.join(MATRIX_LAWS)}")
        rates_table = self.table(table["rates"], "matrix.rates")
        self.keys(rates_table, MODE_NAMES, "matrix.rates", MODE_NAMES)
        # A file that extends another takes a mode away with `false`.
        given = {name: rate for name, rate in rates_table.items() if rate is not False}
        rates = {name: self.rate(rate, f"matrix.rates.{name}") for name, rate in given.items()}
        numbers = {
            name: self.integer(table[name], f"matrix.{name}", 0 if name.endswith("_cycles") else 1)
            for name in names
            if name not in ("law", "rates", "structures")
        }
        structures = self.structures(table.get("structures", []))
        rates = dict(sorted(rates.items()))
        return self.ports(MatrixEngine(law=law, rates=rates, structures=structures, **numbers))

    def structures(self, value: Any) -> tuple[Structure, ...]:
        """A list of structures N:M, the lesser first."""
        key = "matrix.structures"
        if not isinstance(value, list) or not all(isinstance(text, str) for text in cast("list[object]", value)):
            raise self.fail(key, f'a list of texts such as "2:4" is needed, not {value!r}')
        try:
            found = [Structure.parse(text) for text in cast("list[str]", value)]
        except UsageError as error:
            raise self.fail(key, str(error)) from None
        if len(set(found)) < len(found):
            raise self.fail(key, "a structure is named twice")
        return tuple(sorted(found))

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
                    f"A needs {float(row_bytes):g} B/cycle "
                    f"({engine.rows} rows x {rate} x {MODE_BITS[mode]} bits), "
                    f"matrix.a_port_bytes_per_cycle is {engine.a_port_bytes_per_cycle}",
                )
            # The next weight tile (depth x columns values) arrives in the `rows` cycles that a tile takes.
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

    def figures(self, value: Any, key: str, known: tuple[str, ...], lacking: tuple[str, ...] = ()) -> dict[str, Figure]:
        """A table of figures with sources."""
        table = self.table(value, key)
        self.keys(table, known, key, lacking)
        result: dict[str, Figure] = {}
        for name in (item for item in known if item in table):
            where = f"{key}.{name}"
            entry = self.table(table[name], where)
            optional = ("assumed", "at_bytes", "per_doubling")
            self.keys(entry, ("value", "source", *optional), where, optional)
            assumed = entry.get("assumed", False)
            if not isinstance(assumed, bool):
                raise self.fail(f"{where}.assumed", f"true or false is needed, not {assumed!r}")
            result[name] = Figure(
                self.real(entry["value"], f"{where}.value"),
                self.text(entry["source"], f"{where}.source"),
                assumed,
                self.integer(entry.get("at_bytes", 0), f"{where}.at_bytes", 0),
                self.real(entry.get("per_doubling", 1.0), f"{where}.per_doubling"),
            )
            if result[name].per_doubling <= 0:
                raise self.fail(f"{where}.per_doubling", "0 is not above 0")
            if not name.startswith(MEMORIES) and result[name].at_bytes:
                raise self.fail(f"{where}.at_bytes", "only figures of SRAM and ACC go with the size of a memory")
        return result

    def machine(self, data: Mapping[str, Any]) -> Machine:
        """The whole machine."""
        names = tuple(item.name for item in fields(Machine))
        self.keys(data, names, "", ("notes",))
        notes: Any = data.get("notes", [])
        if not isinstance(notes, list):
            raise self.fail("notes", f"a list of texts is needed, not {notes!r}")
        matrix = self.matrix(data["matrix"])
        lacking = tuple(f"mac.{mode}" for mode in MODE_NAMES if mode not in matrix.rates)
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
            matrix=matrix,
            vector=self.integers(VectorEngine, data["vector"], "vector"),
            sparse=self.integers(SparseEngine, data["sparse"], "sparse"),
            energy_pj=self.figures(data["energy_pj"], "energy_pj", tuple(ACTIONS), lacking),
            area_um2=self.figures(data["area_um2"], "area_um2", tuple(AREAS), lacking),
            notes=tuple(self.text(note, "notes") for note in cast(list[Any], notes)),
        )
        return self.consistent(machine)

    def consistent(self, machine: Machine) -> Machine:
        """Check what depends on several keys."""
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
            raise self.fail("engines", f"{len(machine.queues)} queues, instruction words name at most {WAIT_QUEUES}")
        return machine
