"""Constant operands of products: the bytes of the store that a product sees through transpositions and reshapes."""

from __future__ import annotations

import numpy as np
from xdsl.ir import Operation, SSAValue

from ..dialects import nn
from ..dialects.constants import Array, ConstantStore
from ..dialects.elements import shape_of
from ..isa.frozen import frozen


@frozen(eq=False)
class ConstantOperand:
    """A constant and the layout operations between it and who reads it, first to last."""

    constant: nn.ConstantOp
    steps: tuple[Operation, ...]

    @staticmethod
    def of(value: SSAValue) -> ConstantOperand | None:
        """That of a value; None where it is no constant, or is shown only in part, or more than once."""
        steps: list[Operation] = []
        while isinstance(value.owner, nn.TransposeOp | nn.ReshapeOp):
            steps.insert(0, value.owner)
            value = value.owner.operands[0]
        return ConstantOperand(value.owner, tuple(steps)) if isinstance(value.owner, nn.ConstantOp) else None

    def key(self, store: ConstantStore) -> str:
        """The constant's key in the store."""
        return self.constant.reference or store.anonymous(store.array(self.constant.data))

    @property
    def shape(self) -> tuple[int, ...]:
        """As the reader sees it."""
        return tuple(shape_of(self.steps[-1].results[0] if self.steps else self.constant.result))

    @property
    def spelled(self) -> tuple[tuple[str, ...], ...]:
        """The steps, for the key of what is derived through them."""
        return tuple(
            tuple(map(str, (step.name, *step.properties.values(), step.results[0].type))) for step in self.steps
        )

    def seen(self, array: Array) -> Array:
        """The constant's array as the reader sees it."""
        for step in self.steps:
            if isinstance(step, nn.TransposeOp):
                array = np.transpose(array, step.permutation.get_values())
            else:
                array = array.reshape(shape_of(step.results[0]))
        return array
