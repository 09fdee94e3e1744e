"""Constant right operands, laid out in DRAM so that every tile of a product is one contiguous run.

A weight [outer..., K, N] is cut into column blocks of `columns`; a block's rows follow each other without a gap, so
that any piece of K of a block is one run. The last block is as wide as the others: its padding is stored, never read.
A weight of a structure is two such tensors, of what its groups keep and of the places of that.
"""

from __future__ import annotations

from math import prod

import numpy as np
from xdsl.ir import Block, SSAValue
from xdsl.rewriter import InsertPoint, Rewriter

from ...dialects import nn
from ...dialects.constants import Array, ConstantStore, derived_key
from ...dialects.tile import BufferType, KernelOp, TensorOp
from ...isa.formats import Format
from ...isa.frozen import frozen
from ...isa.packed import packing
from ...isa.structures import Structure, compressed
from .kernel import Scope
from .view import View


@frozen
class Packing:
    """How a constant is packed: what it shows as [outer..., K, N] of the stored elements, and the width of a block.

    Of one with a `structure` either the values or the `indices` are packed.
    """

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    columns: int
    structure: Structure | None = None
    indices: bool = False

    @property
    def pitch(self) -> int:
        """Elements from row to row of a block: indices of a row fill whole bytes."""
        return self.structure.index_format.pitch(self.columns) if self.structure and self.indices else self.columns

    @property
    def packed_shape(self) -> tuple[int, int, int, int]:
        """[batch, blocks, K (or what is kept of it), columns]: the outer axes are one."""
        depth, width = self.shape[-2:]
        rows = depth if self.structure is None else self.structure.rows(depth)
        return prod(self.shape[:-2]), -(-width // self.columns), rows, self.pitch

    def pack(self, stored: Array) -> Array:
        """The packed weight; of indices, its bytes."""
        flat = np.ascontiguousarray(stored).reshape(-1)[self.offset :]
        steps = [stride * flat.itemsize for stride in self.strides]
        matrices = np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)
        packed = np.zeros(self.packed_shape, np.uint8 if self.indices else stored.dtype)
        for batch, outer in enumerate(np.ndindex(self.shape[:-2])):
            matrix = matrices[outer]
            if self.structure is not None:
                matrix = compressed(matrix, self.structure)[self.indices]
            for block in range(packed.shape[1]):
                low = block * self.columns
                width = min(self.columns, self.shape[-1] - low)
                packed[batch, block, :, :width] = matrix[:, low : low + width]
        return self._bytes(packed) if self.indices else packed

    def _bytes(self, indices: Array) -> Array:
        assert self.structure is not None
        bits = self.structure.index_format.bits
        stored = np.zeros((*indices.shape[:-1], indices.shape[-1] * bits // 8), np.uint8)
        packing(bits)(indices, stored)
        return stored

    def key(self, store: ConstantStore, source: str) -> str:
        """The key of constant `source` packed; it is made when its bytes are asked for."""
        about: dict[str, object] = {"offset": self.offset, "shape": self.shape, "strides": self.strides}
        about["columns"] = self.columns
        if self.structure is not None:
            about["structure"] = self.structure
        if self.indices:
            name = derived_key("pack_indices", source, **about)
            return store.derive(name, self.pack, source, dtype=np.dtype(np.uint8))
        name = derived_key("pack", source, **about)
        return store.derive(name, self.pack, source, shape=self.packed_shape, dtype=store.dtype(source))


def constant_of(scope: Scope, view: View) -> nn.ConstantOp | None:
    """The constant that a view shows, None where it shows something computed or a stride runs backwards."""
    owner = view.root.owner
    return owner if isinstance(owner, nn.ConstantOp) and min(view.strides, default=0) >= 0 else None


def packed_tensor(scope: Scope, constant: nn.ConstantOp, packing: Packing, form: Format, inside: Block) -> SSAValue:
    """A DRAM tensor of a packed constant, made before the kernel that block `inside` is part of."""
    source = constant.reference or scope.store.anonymous(scope.store.array(constant.data))
    key = packing.key(scope.store, source)
    tensor = TensorOp(key, "weight", BufferType("dram", packing.packed_shape, form), key)
    kernel = inside.parent_op()
    while kernel is not None and not isinstance(kernel, KernelOp):
        kernel = kernel.parent_op()
    Rewriter.insert_op(tensor, InsertPoint.at_start(inside) if kernel is None else InsertPoint.before(kernel))
    return tensor.result
