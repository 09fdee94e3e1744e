"""Which products of an attention take only what a pattern shows: a sparse rest beside dense stretches of keys.

A stretch of a block of which a pattern hides much is multiplied by `mx.masked`: the array packs what is shown of each
query, so that its rows go with what is shown rather than with the stretch's area. Its mask is that of the softmax, and
what it packs into is known. Where that takes no fewer cycles of the array, as of a stretch that is nearly full, the
product is an ordinary one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...dialects.key_runs import Ints
from ...isa.frozen import frozen
from ...isa.instructions.masked_product import LEFT, RESULT
from ...isa.machine import Machine
from ...isa.matrix import MatrixMode
from ...isa.row_packing import RowPacking
from .arithmetic import Arithmetic
from .attention_masks import tiles_stay
from .attention_sight import Shown
from .rates import MAXIMUM_EXTENT, Column, Rates
from .tile_counts import Counted

MOST_KEPT = 16384
"""Answers that are kept: heads of different patterns in every layer ask for as many, over and over."""

ORDINARY = -1
"""Of a tile whose product is an ordinary one, in the place of its rows."""


def packing_of(masked: int, mode: MatrixMode, machine: Machine) -> RowPacking:
    """How a machine packs a mask of the result or of the left operand."""
    return RowPacking.of(machine, machine.matrix.columns if masked == RESULT else int(machine.matrix.depths[mode.code]))


@frozen
class Products:
    """The arithmetic and the widths of queries by keys, and of weights by values."""

    scoring: Arithmetic
    valuing: Arithmetic
    key_width: int
    value_width: int

    def of(self, masked: int, keys: Ints) -> tuple[Arithmetic, Ints, Ints]:
        """Arithmetic, columns and depth of the product that a mask of the result or of the left operand goes with, by
        so many keys."""
        if masked == RESULT:
            return self.scoring, keys, np.full_like(keys, self.key_width)
        return self.valuing, np.full_like(keys, self.value_width), keys


@frozen(eq=False)
class MaskedTiles:
    """For each mask tile the rows that its products of queries and keys, and of weights and values, pack into."""

    scores: Ints
    values: Ints


@lru_cache(maxsize=MOST_KEPT)
def masked_tiles(products: Products, sight: Shown, rows_of_block: int, rates: Rates) -> MaskedTiles:
    """Which products of stretches that are multiplied whole are masked: those that are cheaper so, of tiles that stay
    on chip."""
    layout = sight.layout(rows_of_block, 1)
    masks = layout.masks
    sizes = np.array([mask.shape for mask in masks], dtype=np.int64).reshape(-1, 2)
    rows, keys = sizes[:, 0], sizes[:, 1]

    def cheaper(masked: int) -> Ints:
        arithmetic, columns, depth = products.of(masked, keys)
        mode = arithmetic.mode
        none = np.full(len(masks), ORDINARY, np.int64)
        if mode.packed or not len(masks) or not tiles_stay(layout.tile_bytes, rates.sram_bytes):
            return none
        packing = packing_of(masked, mode, rates.machine)
        packed = np.array([packing.count(mask) for mask in masks], dtype=np.int64)
        whole = rates.product(mode.label, rows, columns, depth, left=arithmetic.left)
        part = rates.masked_product(mode.label, rows, columns, depth, packed, masked)
        return np.where((part < whole) & (packed <= MAXIMUM_EXTENT), packed, none)

    return MaskedTiles(cheaper(RESULT), cheaper(LEFT))


@lru_cache(maxsize=MOST_KEPT)
def array_cycles(
    products: Products, sight: Shown, rows_of_block: int, rates: Rates, piece: int, whole: int
) -> tuple[int, int]:
    """Cycles of the array of one head's products, (of queries and keys, of weights and values): in pieces of so many
    keys, and of stretches of up to `whole` keys by what is shown where that is cheaper."""
    found = masked_tiles(products, sight, rows_of_block, rates)
    layout = sight.layout(rows_of_block, 1)
    stretches = layout.stretches
    rows = np.diff(layout.bounds)[stretches.rows]
    keys = stretches.stops - stretches.starts
    numbers = np.array([ORDINARY if number is None else number for number in layout.tile_of[0]], dtype=np.int64)

    def cycles(masked: int, packed: Ints) -> int:
        counts = np.append(packed, ORDINARY)[numbers]
        packs = (counts != ORDINARY) & (keys <= whole)
        arithmetic, columns, depth = products.of(masked, keys[packs])
        mode = arithmetic.mode.label
        parts = rates.masked_product(mode, rows[packs], columns, depth, counts[packs], masked)

        def ordinary(m: Column, n: Column) -> Column:
            _, columns, depth = products.of(masked, n)
            return rates.product(mode, m, columns, depth, left=arithmetic.left)

        return int(parts.sum()) + Counted.of(rows[~packs], keys[~packs]).cut(piece).total(ordinary)

    return cycles(RESULT, found.scores), cycles(LEFT, found.values)
