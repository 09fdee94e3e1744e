"""Operands of products packed along their depth, where they are made.

Every layout operation between there and the product must leave an operand's rows along K, and those in whole bytes.
Constants are transposed to [N, K].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
from xdsl.dialects.builtin import i8
from xdsl.ir import Attribute, Operation, SSAValue

from ...dialects import bnn, nn
from ...dialects.constants import Array, ConstantStore, RefAttr, derived_key
from ...dialects.elements import shape_of, tensor
from ...isa.machine import Machine
from ...isa.matrix import MatrixMode
from ..builder import Builder
from ..constant_operand import ConstantOperand
from .before_layout import moved_before_layout
from .pack_along_tokens import packed_along_tokens
from .packed_modes import ProductCost
from .packed_values import packed, placed_along_depth, placeholder
from .retype import above_layout, replace, through_layout
from .value_sets import FEW, ValueSets, types_for


@dataclass
class Packer:
    """Packs operands of products of one module for one machine."""

    store: ConstantStore
    machine: Machine
    sets: ValueSets
    _packed: dict[tuple[SSAValue, Attribute], SSAValue] = field(
        default_factory=dict[tuple[SSAValue, Attribute], SSAValue], init=False
    )

    def pack(self, product: nn.MatmulOp) -> str:
        """Replace the product by one of packed operands; otherwise why not, or nothing for one of many levels."""
        left, right = self.sets.of(product.lhs), self.sets.of(product.rhs)
        few = [values for values in (left, right) if values is not None and len(values) <= FEW]
        if not few:
            return ""
        if right is None or not types_for(right):
            return "its right operand has more levels than a packed mode takes"
        (rows, depth), columns = shape_of(product.lhs)[-2:], shape_of(product.result)[-1]
        chosen = ProductCost(self.machine, rows, columns, depth).choose((*types_for(left), i8), types_for(right))
        return chosen if isinstance(chosen, str) else self._replace(product, *chosen)

    def _replace(self, product: nn.MatmulOp, left: Attribute, right: Attribute) -> str:
        lhs = self.along_depth(product.lhs, left, product, swapped=False)
        swapped = product.transpose_rhs is None
        rhs: SSAValue | str | None = self.along_depth(product.rhs, right, product, swapped)
        if lhs is not None and rhs is None and swapped:
            rhs = packed_along_tokens(
                product.rhs, product, right, self._saved(product, left, right), self.store, self.machine
            )
        if lhs is None or rhs is None or isinstance(rhs, str):
            side = "left" if lhs is None else "right"
            return f"its {side} operand does not lie along the depth of the product in whole bytes"
        build = Builder.before(product, self.store)
        replace(product, build.insert(bnn.MatmulOp(lhs, rhs)))
        return ""

    def _saved(self, product: nn.MatmulOp, left: Attribute, right: Attribute) -> int | None:
        """Cycles of the array that a product takes less in the packed mode than in int8."""
        (*batch, rows, depth), columns = shape_of(product.lhs), shape_of(product.result)[-1]
        cost = ProductCost(self.machine, rows, columns, depth)
        plain, less = cost.cycles(MatrixMode.I8), cost.packed_cycles(left, right)
        return None if plain is None or less is None else (plain - less) * prod(batch)

    def along_depth(self, value: SSAValue, element: Attribute, product: Operation, swapped: bool) -> SSAValue | None:
        """An operand as the product takes it, with the depth last; None where it cannot be had so."""
        source, steps = above_layout(value)
        if isinstance(source.owner, nn.ConstantOp):
            return self._constant(source.owner, steps, element, product, swapped)
        if element == i8:
            return None if swapped else value
        moved = moved_before_layout(source, self.store)
        if moved is not None:
            source, steps = moved[0], (*moved[1], *steps)
        placed = placed_along_depth(placeholder(source, element), steps, swapped)
        if placed is None:
            return None
        build = Builder.before(product, self.store)
        shown = through_layout(build, self._made_packed(source, element, product, placed), steps)
        return build.swap_last(shown) if swapped else shown

    def _made_packed(self, source: SSAValue, element: Attribute, reader: Operation, placed: bool) -> SSAValue:
        """A value packed where it is made: once, unless it is `placed` as its reader wants it."""
        known = None if placed else self._packed.get((source, element))
        if known is None:
            build = Builder.after(source, self.store, reader)
            known = packed(build, source, element)
        if not placed:
            self._packed[source, element] = known
        return known

    def _constant(
        self, constant: nn.ConstantOp, steps: Sequence[Operation], element: Attribute, reader: Operation, swapped: bool
    ) -> SSAValue | None:
        """A constant matrix as rows of the depth."""
        if not all(isinstance(step, nn.TransposeOp | nn.ReshapeOp) for step in steps):
            return None
        operand = ConstantOperand(constant, tuple(steps))
        key = operand.key(self.store)

        def rows(array: Array) -> Array:
            seen = operand.seen(array)
            return np.ascontiguousarray(seen.swapaxes(-1, -2) if swapped else seen)

        shape = list(operand.shape)
        if swapped:
            shape[-2:] = reversed(shape[-2:])
        name = derived_key("rows_of_depth", key, steps=operand.spelled, swapped=swapped)
        self.store.derive(name, rows, key, shape=tuple(shape), dtype=np.dtype(np.int8))
        build = Builder.before(reader, self.store)
        build.location = constant.location
        return build.insert(nn.ConstantOp(RefAttr(name), tensor(element, *shape)))
