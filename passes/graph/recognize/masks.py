"""What hides scores from a softmax, gathered into the one mask that an attention has.

A score hidden by an addition of -inf, or of so large a finite number that any score vanishes in it (-1e30 and
below, scores being smaller than 1e22 in magnitude), is as hidden as one replaced by that number. So both
spellings are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isinf

import numpy as np
from xdsl.dialects.builtin import LocationAttr
from xdsl.ir import Operation, SSAValue

from ....dialects import nn, shapes
from ....dialects.constants import Array, ConstantStore
from ....dialects.elements import shape_of
from ....dialects.nn import EmptyRow
from ....isa.frozen import frozen
from ..matching import constant, mapped, scalar

ABSORBING = -1e30
"""Additions of no more than this leave nothing of a score."""


@frozen
class Mask:
    """One mask in the way of scores of a `shape`: a float `value` that is added, or a truth `value` that
    keeps scores where it holds (where it does not, if `negated`) and puts `fill` elsewhere."""

    value: SSAValue
    shape: tuple[int, ...]
    location: LocationAttr
    fill: float | None = None
    negated: bool = False

    @property
    def is_additive(self) -> bool:
        """Whether the mask is added."""
        return self.fill is None


@frozen
class Masking:
    """How an attention hides scores: its mask operand and the attributes that go with it."""

    mask: SSAValue | None = None
    fill: float = -inf
    causal: bool = False
    offset: int = 0

    def empty_row(self, guarded: bool) -> EmptyRow:
        """What a row without keys gives, behind a softmax that is guarded against NaN or not."""
        if guarded:
            return EmptyRow.ZERO
        return EmptyRow.NAN if isinf(self.fill) else EmptyRow.UNIFORM


def as_boolean(mask: Mask, store: ConstantStore) -> Mask:
    """An additive mask that chooses between 0 and an absorbing number, as the truth value it chooses by."""
    choice = mapped(mask.value, "select") if mask.is_additive else None
    if choice is None:
        return mask
    condition, kept, hidden = choice.inputs
    numbers = scalar(kept, store), scalar(hidden, store)
    for (zero, fill), negated in ((numbers, False), (numbers[::-1], True)):
        if zero == 0.0 and fill is not None and fill <= ABSORBING:
            return Mask(condition, mask.shape, mask.location, fill, negated)
    return mask


class MaskBuilder:
    """Combines masks into one for scores of shape [B, H, Lq, Lk]; `operations` collects what it makes."""

    def __init__(self, target: tuple[int, ...], store: ConstantStore):
        self.target = target
        self.store = store
        self.operations: list[Operation] = []
        self._location: LocationAttr | None = None

    def combine(self, masks: Sequence[Mask]) -> Masking | None:
        """The one masking that does what `masks`, applied one after another, do; None if there is none."""
        masks = [as_boolean(mask, self.store) for mask in masks]
        if not masks:
            return Masking()
        fills = {mask.fill for mask in masks}
        if len(masks) == 1 or len(fills) == 1:
            fill = masks[0].fill
            values = [self._placed(mask) for mask in masks]
            combined = self._joined(values, "add" if fill is None else "and")
        elif all(fill is None or fill <= ABSORBING for fill in fills):
            fill = None
            combined = self._joined([self._additive(mask) for mask in masks], "add")
        else:
            return None
        return self._patterned(combined, fill)

    def _joined(self, values: Sequence[SSAValue], function: str) -> SSAValue:
        result = values[0]
        for value in values[1:]:
            result = self._made(nn.MapOp(function, (result, value)))
        return result

    def _placed(self, mask: Mask) -> SSAValue:
        """The mask's value, kept where true, in the axes of the target."""
        self._location = mask.location
        value = mask.value
        if mask.negated:
            value = self._made(nn.MapOp("not", (value,)))
        return self._laid_out(value, mask.shape)

    def _additive(self, mask: Mask) -> SSAValue:
        value = self._placed(mask)
        if mask.is_additive:
            return value
        zero, fill = (self._made(nn.ConstantOp(np.asarray(x, np.float32))) for x in (0.0, mask.fill))
        return self._made(nn.MapOp("select", (value, zero, fill)))

    def _laid_out(self, value: SSAValue, full: tuple[int, ...]) -> SSAValue:
        """A value that stretches to scores of shape `full`, as one that stretches to them in the target's
        shape."""
        if full == self.target or shapes.elements(shape_of(value)) == 1:
            return value if len(shape_of(value)) <= 4 else self._made(nn.ReshapeOp(value, ()))
        shape = (1,) * (len(full) - len(shape_of(value))) + shape_of(value)
        stretched: list[int] = []
        placed: list[int] = []
        for old, new in _groups(full, self.target):
            have = [shape[axis] for axis in old]
            if all(extent == 1 for extent in have):
                stretched.extend(have)
                placed.extend(1 for _ in new)
            else:
                stretched.extend(full[axis] for axis in old)
                placed.extend(self.target[axis] for axis in new)
        if tuple(stretched) != shape:
            value = self._made(nn.BroadcastOp(value, stretched))
        return value if shape_of(value) == tuple(placed) else self._made(nn.ReshapeOp(value, placed))

    def _patterned(self, value: SSAValue, fill: float | None) -> Masking:
        """A mask that is constant as the pattern it shows, if that is one."""
        array = constant(value, self.store)
        plain = Masking(value, -inf if fill is None else fill)
        visible = None if array is None else _visible(array)
        if visible is None:
            return plain
        if visible.all():
            return Masking()
        offset = causal_offset(visible, self.target)
        if offset is None:
            return plain
        if fill is not None and fill > ABSORBING:
            return Masking(None, fill, True, offset)
        # Every row sees a key, next to which exp of an absorbing number is zero: it may as well be -inf.
        return Masking(None, -inf, True, offset)

    def _made(self, operation: Operation) -> SSAValue:
        if self._location is not None:
            operation.location = self._location
        self.operations.append(operation)
        return operation.results[0]


def causal_offset(visible: Array, target: Sequence[int]) -> int | None:
    """The d for which query i sees exactly the keys j <= i + d, where every query sees one; None if there is
    none.

    `visible` is boolean and stretches to `target`, [B, H, Lq, Lk].
    """
    queries, keys = target[-2:]
    if visible.ndim < 2 or visible.shape[-2:] != (queries, keys):
        return None
    offset = int(np.count_nonzero(visible.reshape(-1, queries, keys)[0, 0])) - 1
    if offset < 0 or offset + queries < keys:
        # A first query that sees nothing, or keys that no query sees, make another pattern.
        return None
    expected = np.tri(queries, keys, offset, dtype=np.bool_)
    return offset if bool((visible == expected).all()) else None


def _visible(mask: Array) -> Array | None:
    """Where a constant mask lets scores through, if elsewhere it hides them wholly."""
    if mask.dtype == np.bool_:
        return mask
    values = mask.astype(np.float32)
    kept = values == 0
    return kept if bool((kept | (values <= ABSORBING)).all()) else None


def _groups(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The axes of two shapes of equally many elements, in the least groups that have equally many."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        left, right = [i] if i < len(old) else [], [j] if j < len(new) else []
        i, j = i + len(left), j + len(right)
        while (a := _extent(old, left)) != (b := _extent(new, right)):
            if a < b:
                left.append(i)
                i += 1
            else:
                right.append(j)
                j += 1
        groups.append((left, right))
    return groups


def _extent(shape: Sequence[int], axes: Sequence[int]) -> int:
    return shapes.elements([shape[axis] for axis in axes])
