"""Every instruction record, collected and checked when this package loads: attnc's own, and those of packages that
extend it."""

from __future__ import annotations

from collections.abc import Mapping

from ..formats import Format
from ..lanes import LANE_FUNCTIONS, REDUCTIONS
from ..record import Instruction, collect, describe_encoding
from .control import LoadExtent, SetExtent, Sync
from .further import Further, further_records
from .masked_product import MaskedProduct
from .matrix_product import Product
from .sparse import Compact, GatherRows, Pack, Top
from .structured_product import StructuredProduct
from .transfers import Gather, LoadBlock, Scatter, StoreBlock
from .vector import VectorPass, VectorProgram

OWN_RECORDS: Mapping[str, type[Instruction]] = collect(
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
        MaskedProduct,
        StructuredProduct,
        Top,
        Compact,
        Pack,
        GatherRows,
    )
)
"""attnc's own instruction records by mnemonic."""

FURTHER: Mapping[str, Further] = further_records(OWN_RECORDS)
"""The instruction records of packages that extend attnc, by mnemonic."""

RECORDS: Mapping[str, type[Instruction]] = {
    **OWN_RECORDS,
    **{mnemonic: item.record for mnemonic, item in FURTHER.items()},
}
"""Every instruction record by mnemonic."""

RECORDS_BY_OPCODE: Mapping[int, type[Instruction]] = {record.opcode: record for record in RECORDS.values()}
"""Every instruction record by opcode."""

ISA_HASH: str = describe_encoding(
    OWN_RECORDS,
    {
        **{f"function.{item.name}": item.code for item in LANE_FUNCTIONS.values()},
        **{f"reduction.{item.name}": item.code for item in REDUCTIONS.values()},
        **{f"format.{item.label}": item.code for item in Format},
    },
)
"""Hash of encodings and semantics versions of attnc's own instructions: a program of another ISA cannot run. What a
program uses of other packages it records one by one."""

__all__ = [
    "FURTHER",
    "ISA_HASH",
    "OWN_RECORDS",
    "RECORDS",
    "RECORDS_BY_OPCODE",
    "Compact",
    "Gather",
    "GatherRows",
    "LoadBlock",
    "LoadExtent",
    "MaskedProduct",
    "Pack",
    "Product",
    "Scatter",
    "SetExtent",
    "StoreBlock",
    "StructuredProduct",
    "Sync",
    "Top",
    "VectorPass",
    "VectorProgram",
]
