"""Extents as a run has them: the numbers that registers really held, instead of their declared maxima.

Ranges, races and a program's check count with the maxima (`isa.analysis`); cycles and energy count what was
done. `set.extent` says what a register holds; what `load.extent` reads is data, known only from a run.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..isa.analysis import Analysis
from ..isa.columns import Column, Int64Array
from ..isa.fields import EXTENT_REGISTERS
from ..isa.record import Instruction
from ..isa.table import Table


def needs_data(table: Table) -> bool:
    """Whether an extent is read from memory, so that costs depend on values."""
    return "load.extent" in table.groups


def resolved(analysis: Analysis, loaded: Mapping[int, int]) -> Mapping[str, Instruction]:
    """For each mnemonic one instruction whose fields are columns over its rows, extents as the run had them.

    `loaded` has the value that each `load.extent` row read; a row that it lacks counts with its declared
    maximum.
    """
    writers = _register_writers(analysis.table, loaded)
    if not writers:
        return analysis.instances
    result: dict[str, Instruction] = {}
    for mnemonic, instance in analysis.instances.items():
        group = analysis.table.groups[mnemonic]
        columns: dict[str, Column] = dict(vars(instance))
        for name in group.record.extents:
            columns[name] = _looked_up(group.columns[name], group.rows, writers)
        result[mnemonic] = group.record(**columns)
    return result


def _register_writers(table: Table, loaded: Mapping[int, int]) -> dict[int, tuple[Int64Array, Int64Array]]:
    """For each register the rows that set it, ascending, and the value that each gives."""
    found: list[tuple[int, int, int]] = []
    setters = table.groups.get("set.extent")
    if setters is not None:
        columns = (setters.rows, setters.columns["register"], setters.columns["value"])
        found.extend(zip(*(column.tolist() for column in columns), strict=True))
    loaders = table.groups.get("load.extent")
    if loaders is not None:
        columns = (loaders.rows, loaders.columns["register"], loaders.columns["maximum"])
        for row, register, maximum in zip(*(column.tolist() for column in columns), strict=True):
            found.append((row, register, loaded.get(row, maximum)))
    found.sort()
    result: dict[int, tuple[Int64Array, Int64Array]] = {}
    for number in range(EXTENT_REGISTERS):
        chosen = [(row, value) for row, register, value in found if register == number]
        if chosen:
            rows, values = zip(*chosen, strict=True)
            result[number] = np.array(rows, dtype=np.int64), np.array(values, dtype=np.int64)
    return result


def _looked_up(
    column: Int64Array, rows: Int64Array, writers: Mapping[int, tuple[Int64Array, Int64Array]]
) -> Int64Array:
    result = column.copy()
    for register, (set_at, values) in writers.items():
        chosen = np.flatnonzero(column == -1 - register)
        # The analysis has refused a register that is used before it is set, so an earlier setter exists.
        result[chosen] = values[np.searchsorted(set_at, rows[chosen]) - 1]
    return result
