"""Where counted elements (tokens of which the run finds how many there are) lie in a buffer, and how an access walks
along them: arithmetic on strides, no IR."""

from __future__ import annotations

from collections.abc import Sequence

from ...dialects.affine_form import Access, AffineForm, CountForm, Minimum
from ...isa.frozen import frozen
from ..refusal import RefusalError


@frozen
class Along:
    """Counted elements of a buffer: along an axis of `period` places that lie `stride` elements apart, those from `low`
    to below `high`. What lies at place p is number p + `origin` of those that `count` counts."""

    count: int
    stride: int
    period: int
    origin: AffineForm
    low: int
    high: int

    def is_along(self, other: Along) -> bool:
        """Whether both are the same but for the places that they speak of."""
        return (self.count, self.stride, self.period, self.origin) == (
            other.count,
            other.stride,
            other.period,
            other.origin,
        )


@frozen
class Walk:
    """How an access walks along an axis of a buffer: by which of its own (None: it stays where it starts), how many
    sizes of that make one place, from which place, and between which it stays."""

    axis: int | None
    factor: int
    start: AffineForm
    low: int
    high: int


@frozen
class Cut:
    """An axis of an operation that walks along counted elements, `factor` sizes an element, from number `start` on."""

    count: int
    factor: int
    start: AffineForm

    def left(self) -> CountForm:
        """The size that the count leaves."""
        return CountForm(self.count, self.factor, self.start * -self.factor)


def bounds(form: AffineForm, trips: Sequence[int]) -> tuple[int, int]:
    """The least and the greatest value of a form over all iterations of loops."""
    reach = [factor * (count - 1) for factor, count in zip(form.coefficients, trips, strict=False)]
    return form.constant + sum(min(r, 0) for r in reach), form.constant + sum(max(r, 0) for r in reach)


def greatest(size: Minimum, trips: Sequence[int]) -> int:
    """The greatest value of a size, whatever its counts."""
    return max(0, min(bounds(form, trips)[1] for form in size.forms))


def period_of(stride: int, extents: Sequence[int]) -> int:
    """How many places of a stride an axis of a dense buffer has."""
    elements = 1
    for extent in reversed(extents):
        elements *= extent
        if elements > stride:
            break
    return max(elements, stride) // stride


def walk(access: Access, stride: int, period: int, trips: Sequence[int]) -> Walk:
    """How an access walks along an axis of `period` places of `stride` elements, in loops of so many `trips`. Raises
    RefusalError for one that cannot be told."""
    start, within = _placed(access.offset, stride, period)
    # What is within a place, by each form of the sizes there: the least of them bounds it.
    inner = [within]
    moving: list[tuple[int, int]] = []
    single: int | None = None
    for axis, (size, step) in enumerate(zip(access.sizes, access.strides, strict=True)):
        most = greatest(size, trips)
        if most <= 1:
            single = axis if step == stride else single
        elif step % (stride * period) == 0:
            continue
        elif step == stride:
            moving.append((axis, 1))
        elif 0 < step < stride and (most - 1) * step < stride:
            inner = [reached + (form + -1) * step for reached in inner for form in size.forms]
        elif 0 < step < stride and stride % step == 0:
            moving.append((axis, stride // step))
        else:
            raise RefusalError(f"the tokens of {access} cannot be told apart")
    if len(moving) > 1:
        raise RefusalError(f"{access} walks along the tokens twice")
    axis, factor = moving[0] if moving else (single, 1)
    if min(bounds(form, trips)[1] for form in inner) >= (stride if factor == 1 else access.strides[moving[0][0]]):
        raise RefusalError(f"the tokens of {access} cannot be told apart")
    low, high = bounds(start, trips)
    if axis is None:
        return Walk(None, 1, start, low, high + 1)
    ends = [bounds(start * factor + form, trips)[1] for form in access.sizes[axis].forms]
    high = -(-min(ends) // factor)
    if high > period:
        raise RefusalError(f"{access} runs past the tokens")
    return Walk(axis, factor, start, low, high)


def _placed(offset: AffineForm, stride: int, period: int) -> tuple[AffineForm, AffineForm]:
    """The place on the axis where an offset lies, and how many elements behind it."""
    whole = stride * period
    place, inner = (AffineForm((), part) for part in divmod(offset.constant % whole, stride))
    for depth, factor in enumerate(offset.coefficients):
        if factor % whole == 0:
            continue
        if factor % stride == 0:
            place += AffineForm.index(depth) * (factor // stride)
        elif 0 < factor < stride:
            inner += AffineForm.index(depth) * factor
        else:
            raise RefusalError(f"the tokens at {offset} cannot be told apart")
    return place, inner
