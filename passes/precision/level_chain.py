"""Chains of monotone functions that make levels of floats, and the arguments at which they reach each.

Rounding to nearest is monotone, so a composition of monotone functions is monotone in float32 as it is in the reals.
Thresholds are found by evaluating the model's own expression, never by algebra: bits are those of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from xdsl.dialects.builtin import i8
from xdsl.ir import SSAValue

from ...dialects import nn
from ...dialects.constants import Array, ConstantStore
from ...dialects.elements import element_type, ui8
from ...isa.frozen import frozen
from ..graph.matching import constant
from .monotone import COMPARISONS, Step, running_operand


@frozen
class LevelChain:
    """Steps from an argument to a value, first to last."""

    steps: tuple[Step, ...]
    store: ConstantStore

    @property
    def _direction(self) -> Array:
        """1, -1 or 0 for each expression: 0 where that is unknown too."""
        result = np.ones((), np.int64)
        for step in self.steps:
            way = step.direction()
            result = result * (0 if way is None else way)
        return result

    @property
    def rises(self) -> bool:
        """Whether the whole never falls as the argument rises."""
        return bool((self._direction > 0).all())

    @property
    def falls(self) -> bool:
        """Whether the whole never rises as the argument rises."""
        return bool((self._direction < 0).all())

    @property
    def constants(self) -> Iterator[Array]:
        """The constants of all steps."""
        return (array for step in self.steps for array in step.constants if array is not None)

    def __call__(self, argument: Array) -> Array:
        """The values for these of the argument, with which constants stretch."""
        with np.errstate(all="ignore"):
            for step in self.steps:
                argument = step(argument, self.store)
        return argument


def step_to(value: SSAValue, store: ConstantStore) -> Step | None:
    """The step that makes `value` of something and constants; None where it is none that is known to be monotone."""
    made = value.owner
    place = running_operand(made) if isinstance(made, nn.MapOp | nn.CastOp | nn.QuantizeOp) else None
    if place is None:
        return None
    assert isinstance(made, nn.MapOp | nn.CastOp | nn.QuantizeOp)
    narrow = element_type(made.operands[place]) in (i8, ui8)
    if narrow and isinstance(made, nn.MapOp) and made.function.data not in ("min", "max", *COMPARISONS):
        # Other functions of bytes wrap.
        return None
    step = Step(made, place, tuple(constant(operand, store) for operand in made.operands))
    return None if step.direction() is None else step


def least_reaching(
    function: Callable[[Array], Array], levels: Array, shape: tuple[int, ...], low: float, high: float
) -> Array:
    """[*shape, levels]: for each of the rising `levels` the least float32 from `low` to `high` for which the function,
    which never falls, is no less; +inf where none is. `shape` is what its constants stretch to, with a last axis of 1.
    """
    below = np.full((*shape[:-1], len(levels)), _order(np.float32(low)) - 1)
    above = np.full_like(below, _order(np.float32(high)))
    reached = function(np.broadcast_to(np.float32(high), below.shape)) >= levels
    while (above - below > 1).any():
        middle = below + (above - below) // 2
        enough = function(_float(middle)) >= levels
        above, below = np.where(enough, middle, above), np.where(enough, below, middle)
    return np.where(reached, _float(above), np.float32(np.inf)).astype(np.float32)


def _order(value: np.float32) -> int:
    """The place of a float32 among all, in rising order; those of -0.0 and 0.0 are neighbours."""
    bits = int(value.view(np.int32))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF) - 1


def _float(order: Array) -> Array:
    """The float32 values of places."""
    bits = np.where(order >= 0, order, -(order + 1) | np.int64(0x80000000))
    return bits.astype(np.uint32).view(np.float32)
