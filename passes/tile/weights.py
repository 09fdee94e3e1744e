"""Constant right operands, laid out in DRAM so that every tile of a product is one contiguous run.

A weight [batch..., K, N] is cut into column blocks of `columns`; a block's rows follow each other without a gap, so
that any piece of K of a block is one run. The last block is as wide as the others: its padding is stored, never read.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ...dialects.constants import Array, ConstantStore, derived_key


def packed_shape(shape: tuple[int, ...], columns: int, transposed: bool) -> tuple[int, int, int, int]:
    """(batch, blocks, K, columns) of a weight of `shape` ([..., N, K] where `transposed`) once packed."""
    rows, width = (shape[-1], shape[-2]) if transposed else (shape[-2], shape[-1])
    return prod(shape[:-2]), -(-width // columns), rows, columns


def pack(weight: Array, columns: int, transposed: bool) -> Array:
    """`weight` as [batch, blocks, K, columns], the last block padded with zeros."""
    batch, blocks, rows, _ = packed_shape(weight.shape, columns, transposed)
    matrices = weight.reshape(batch, *weight.shape[-2:])
    if transposed:
        matrices = matrices.swapaxes(1, 2)
    width = matrices.shape[2]
    packed = np.zeros((batch, blocks, rows, columns), weight.dtype)
    for block in range(blocks):
        low = block * columns
        packed[:, block, :, : min(columns, width - low)] = matrices[:, :, low : low + columns]
    return packed


def packed_weight(
    store: ConstantStore, key: str, shape: tuple[int, ...], columns: int, transposed: bool
) -> str:
    """The key of constant `key` (seen as `shape`, row-major) packed; made when its bytes are asked for."""
    width = shape[-2] if transposed else shape[-1]
    if columns >= width and not transposed:
        return key
    name = derived_key("pack", key, shape=shape, columns=columns, transposed=transposed)
    return store.derive(
        name,
        lambda array: pack(array.reshape(shape), columns, transposed),
        key,
        shape=packed_shape(shape, columns, transposed),
        dtype=store.dtype(key),
    )
