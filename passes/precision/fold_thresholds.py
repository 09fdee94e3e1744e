"""What comes between a product's integer sums and one bit (scales, biases, norms of batches, rounding, a comparison)
becomes one comparison of the integers with a threshold for each column.

The thresholds are those of the model's own float32 expression, found by bisection (`monotone`): no algebra, no
rounding, no tie is decided otherwise. Where the expression falls, the bit is turned over.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import LocationAttr, ModuleOp, f32, i8
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.constants import Array, ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_bool, shape_of, tensor, ui8
from ...dialects.provenance import fuse
from ...isa.frozen import frozen
from ..builder import INT32, Builder
from .monotone import Monotone, running_operand
from .retype import before_layout, replace, through_layout

BOUNDS = {
    ("ge", 0): (False, False),
    ("gt", 0): (True, False),
    ("lt", 0): (False, True),
    ("le", 0): (True, True),
    ("ge", 1): (True, True),
    ("gt", 1): (False, True),
    ("lt", 1): (True, False),
    ("le", 1): (False, False),
    ("above", 0): (True, False),
    ("above", 1): (False, True),
}
"""Of a comparison and the place of its variable operand: whether the bound is strict, and whether the bit is true
below it."""

HALVES = 1 << 22
"""Up to here, float32 tells a whole number from those half a step beside it."""


@frozen
class Threshold:
    """A truth value of integer sums: `sums` >= `level` (with `is_checked`, > level and a fault where they are equal),
    turned over where `flip` says so. Level and flip stretch to the sums."""

    sums: SSAValue
    level: Array
    flip: Array
    is_checked: bool = False

    @staticmethod
    def of(sums: SSAValue, level: Array, flip: Array) -> Threshold:
        """Without a check; levels that no int32 reaches become the least one, turned over."""
        unreached = level > INT32.max
        return Threshold(sums, np.where(unreached, INT32.min, level), flip ^ unreached)

    def write(self, build: Builder) -> SSAValue:
        """The comparison, in as few operations as it takes."""
        flip = self.flip
        level = self.level.reshape(-1)[:1].reshape(()) if (self.level == self.level.flat[0]).all() else self.level
        is_whole = bool((level == np.floor(level)).all())
        sums = self.sums if is_whole else build.cast(self.sums, f32)
        bound = build.constant(level.astype(np.int32 if is_whole else np.float32))
        if flip.all():
            return build.map("above", bound, sums) if self.is_checked else build.map("lt", sums, bound)
        bit = build.map("above" if self.is_checked else "ge", sums, bound)
        return build.map("xor", bit, build.constant(flip)) if flip.any() else bit


@dataclass(frozen=True)
class FoldThresholds(ModulePass):
    """Compare integer sums with thresholds instead of computing floats of them first."""

    name = "fold-thresholds"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; what the bits no longer read is left for `remove-unused`."""
        store = CompilerContext.of(ctx).store
        for made in list(op.walk()):
            if isinstance(made, nn.MapOp):
                _fold_comparison(made, store)
            elif isinstance(made, nn.CastOp) and element_type(made.result) in (i8, ui8):
                _fold_levels(made, store)


def _fold_comparison(made: nn.MapOp, store: ConstantStore) -> None:
    place = running_operand(made)
    if place is None or len(made.inputs) != 2 or (made.function.data, place) not in BOUNDS:
        return
    found = Monotone.of(made.inputs[place], store)
    constant = made.inputs[1 - place].owner
    if found is None or not isinstance(constant, nn.ConstantOp):
        return
    bound = store.array(constant.data)
    if found.layout:
        aligned = before_layout(bound, made.inputs[place], found.layout)
        if aligned is None:
            return
        bound = aligned
    if not np.isfinite(bound).all():
        return
    threshold = threshold_of(found, made.function.data, place, bound)
    if threshold is not None:
        _write(made, found, threshold, store)


def threshold_of(found: Monotone, function: str, place: int, bound: Array) -> Threshold | None:
    """The threshold of a comparison of `found` (operand number `place`) with `bound`; None where there is none that
    an integer comparison can make."""
    strict, is_below = BOUNDS[function, place]
    level = found.first(bound, strict)
    direction = found.direction
    assert direction is not None
    flip = np.broadcast_to((direction < 0) ^ is_below, level.shape)
    if function == "above":
        other = found.first(bound, not strict)
        ties = np.abs(other - level)
        if (ties > 1).any():
            return None
        is_checked = bool(ties.any())
        level = np.minimum(level, other)
        if is_checked and not ties.all():
            if np.abs(level).max() > HALVES or max(-found.low, found.high) > HALVES:
                return None
            # Where nothing ties, the bound lies between two sums.
            level = np.where(ties == 1, level, level - 0.5)
        if is_checked:
            return Threshold(found.sums, level, flip, True)
    return Threshold.of(found.sums, level, flip)


def _fold_levels(made: nn.CastOp, store: ConstantStore) -> None:
    """Bytes that take two neighbouring values only."""
    found = None if is_bool(element_type(made.input)) else Monotone.of(made.input, store)
    if found is None:
        return
    ends = [found(np.full(found.shape, end, np.int32)) for end in (found.low, found.high)]
    if any((end != np.floor(end)).any() for end in ends):
        return
    low, high = min(end.min() for end in ends), max(end.max() for end in ends)
    limits = np.iinfo(np.int8 if element_type(made.result) == i8 else np.uint8)
    if high - low != 1 or low < limits.min or high > limits.max:
        return
    # Between the two values truncation gives the one nearer to 0.
    upper = high if low >= 0 else np.nextafter(low, high, dtype=np.float32)
    direction = found.direction
    assert direction is not None
    level = found.first(np.asarray(upper, np.float32), False)
    bit = Threshold.of(found.sums, level, np.broadcast_to(direction < 0, level.shape))
    build = Builder.before(made, store)
    build.location = _location(found, made)
    levels = bit.write(build)
    if (low, high) != (0, 1):
        levels = build.map("select", levels, float(high), float(low), to=f32)
    replace(made, through_layout(build, build.cast(levels, element_type(made.result)), found.layout))


def _write(made: nn.MapOp, found: Monotone, threshold: Threshold, store: ConstantStore) -> None:
    """Put the comparison in the place of `made`. Where layout comes between, what is chosen by the bit is chosen
    before it."""
    followers = _followers(made.result) if found.layout else []
    last = followers[-1] if followers else made
    build = Builder.before(last, store)
    build.location = _location(found, made)
    value = threshold.write(build)
    for follower in followers:
        build.location = follower.location
        kind = tensor(element_type(follower.results[0]), *shape_of(value))
        operands = [value, *follower.operands[1:]]
        value = build.insert(
            type(follower).create(operands=operands, result_types=[kind], properties=dict(follower.properties))
        )
    replace(last, through_layout(build, value, found.layout))


def _location(found: Monotone, made: Operation) -> LocationAttr:
    return fuse(*(step.operation.location for step in found.steps), made.location)


def _followers(value: SSAValue) -> list[Operation]:
    """The choice between two numbers by a bit, and its change of type, where nothing else reads what they read."""
    followers: list[Operation] = []
    while value.has_one_use():
        (use,) = value.uses
        user = use.operation
        is_choice = isinstance(user, nn.MapOp) and user.function.data == "select" and use.index == 0
        if not isinstance(user, nn.CastOp) and not (is_choice and running_operand(user) == 0):
            break
        if any(prod(shape_of(operand)) != 1 for operand in user.operands[1:]):
            break
        followers.append(user)
        value = user.results[0]
    return followers
