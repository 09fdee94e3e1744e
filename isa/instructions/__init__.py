"""Every instruction record, collected and checked when this package loads."""

from __future__ import annotations

from collections.abc import Mapping

from ..formats import Format
from ..lanes import LANE_FUNCTIONS, REDUCTIONS
from ..record import Instruction, collect, describe_encoding
from .control import LoadExtent, SetExtent, Sync
from .matrix_product import Product
from .transfers import Gather, LoadBlock, Scatter, StoreBlock
from .vector import VectorPass, VectorProgram

RECORDS: Mapping[str, type[Instruction]] = collect(
    (
        Sync,
        SetExtent,
        LoadExtent,
        LoadBlock,
        Gather,
        StoreBlock,
        Scatter,
        Product,
        VectorProgram,
        VectorPass,
    )
)
"""Every instruction record by mnemonic."""

RECORDS_BY_OPCODE: Mapping[int, type[Instruction]] = {record.opcode: record for record in RECORDS.values()}
"""Every instruction record by opcode."""

ISA_HASH: str = describe_encoding(
    RECORDS,
    {
        **{f"function.{item.name}": item.code for item in LANE_FUNCTIONS.values()},
        **{f"reduction.{item.name}": item.code for item in REDUCTIONS.values()},
        **{f"format.{item.label}": item.code for item in Format},
    },
)
"""Hash of encodings and semantics versions: a program of another ISA cannot run."""

__all__ = [
    "ISA_HASH",
    "RECORDS",
    "RECORDS_BY_OPCODE",
    "Gather",
    "LoadBlock",
    "LoadExtent",
    "Product",
    "Scatter",
    "SetExtent",
    "StoreBlock",
    "Sync",
    "VectorPass",
    "VectorProgram",
]
