"""The values of `sattn` operations, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from xdsl.ir import Operation, SSAValue

from .. import sattn
from ..constants import Array, ConstantStore
from ..elements import dtype_of, element_type, is_float
from ..forms.progressive import Progressive
from ..forms.pruning import NumpyLanes, to_levels
from ..nn import EmptyRow
from .nn import Semantics, lanes, product, softmax, stored

LEVELS = np.float32(127)


def _attention(op: sattn.AttentionOp, arguments: Sequence[Array], store: ConstantStore) -> tuple[Array, ...]:
    def operand(value: SSAValue | None) -> Array | None:
        return _given(op, arguments, value)

    share = op.extents[1] // op.extents[2]
    values = _repeated(arguments[2], share)
    if op.has_packed_values:
        values = values.swapaxes(-1, -2)
    scores, shown, weighted = _all_scores(op, arguments)
    scores = _counted(scores, operand(op.count))
    zero_nan = op.empty_row.data == EmptyRow.ZERO
    factor = _shared(operand(op.v_scale), share)
    with np.errstate(all="ignore"):
        if factor is None:
            result = _float_values(scores, values, zero_nan, weighted)
        else:
            levels = _levels(op, scores, operand(op.p_scale), operand(op.p_thresholds), op.weights.data)
            if levels is None:
                result = _integer_values(scores, values, factor, zero_nan, op.key_block.value.data, weighted)
            else:
                rows = levels.sum(axis=-1, keepdims=True, dtype=np.int32)
                total = product(levels, values) - rows * np.int32(op.v_zero_point.value.data)
                offset = _shared(operand(op.v_offset), share)
                result = (total if offset is None else total - offset).astype(np.float32) * factor
    if shown is not None and op.empty_row.data != EmptyRow.NAN:
        result = np.where(shown.any(axis=-1, keepdims=True), result, np.float32(0))
    results = (stored(result, op.result),)
    return results if op.importance is None else (*results, _importance(op, scores, operand(op.count)))


def _counted(scores: Array, count: Array | None) -> Array:
    """Scores of which only so many keys are left (None: all)."""
    if count is None:
        return scores
    keys: int = scores.shape[-1]
    return np.where(np.arange(keys) < count.item(), scores, np.float32(-np.inf))


def _importance(op: sattn.AttentionOp, scores: Array, count: Array | None) -> Array:
    """What is multiplied with the value of each key, over a row's sum, of all heads and queries, or of the first
    `count` of these: [B, Lk]."""
    with np.errstate(all="ignore"):
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        total = weights.sum(axis=-1, keepdims=True, dtype=np.float32)
        if is_float(element_type(op.v)):
            weights = lanes(weights.astype(dtype_of(element_type(op.v))))
            total = weights.sum(axis=-1, keepdims=True, dtype=np.float32)
        else:
            weights, total = np.rint(weights * LEVELS), total * LEVELS
        shown = np.where(total > 0, weights / total, np.float32(0))
    shown = shown if count is None else shown[:, :, : count.item()]
    return shown.sum(axis=(1, 2), dtype=np.float32)


def _predicted(q: Array, keys: Array, bits: int) -> Array:
    """q @ k^T by levels of so many bits of each query and key (see `forms.pruning.to_levels`)."""
    with np.errstate(all="ignore"):
        (q, q_step), (k, k_step) = (to_levels(NumpyLanes(), x.astype(np.float32), bits) for x in (q, keys))
        q, k = (np.nan_to_num(x).astype(np.int8) for x in (q, k))
        return product(q, k.swapaxes(-1, -2)).astype(np.float32) * q_step * k_step.swapaxes(-1, -2)


def _given(op: sattn.AttentionOp, arguments: Sequence[Array], value: SSAValue | None) -> Array | None:
    return None if value is None else arguments[tuple(op.operands).index(value)]


def _repeated(array: Array, share: int) -> Array:
    """Key heads [B, Hkv, ...] as many times as query heads share them."""
    return array if share == 1 else np.repeat(array, share, axis=1)


def _all_scores(op: sattn.AttentionOp, arguments: Sequence[Array]) -> tuple[Array, Array | None, Array | None]:
    """The scores with factors, masks and form, which of them the form shows (None: all), and whose weights it keeps
    behind the softmax (None: all)."""

    def operand(value: SSAValue | None) -> Array | None:
        return _given(op, arguments, value)

    share = op.extents[1] // op.extents[2]
    keys = _repeated(arguments[1], share)

    def masked(shown: Array) -> Array:
        scores = _scores(op, shown, operand(op.q_scale), _shared(operand(op.k_scale), share))
        if op.form.pruning is not None:
            scores = op.form.pruning.entering(NumpyLanes(), scores)
        return _masked(op, scores, operand(op.mask))

    if op.form.progressive is not None:
        return _progressive(op, arguments, op.form.progressive, keys, masked), None, None
    shown = product(arguments[0], keys.swapaxes(-1, -2))
    for offset, turned in ((operand(op.q_offset), False), (_shared(operand(op.k_offset), share), True)):
        if offset is not None:
            shown = shown - (offset.swapaxes(-1, -2) if turned else offset)
    scores, form = masked(shown), op.form.pruning
    if form is None:
        return *_shown(op, scores, operand(op.pattern), operand(op.order)), None
    kept = form.kept(lambda bits: masked(_predicted(arguments[0], keys, bits)) if bits else scores)
    if form.within_softmax:
        return np.where(kept, scores, np.float32(-np.inf)), kept, None
    return scores, None, kept


def probabilities(op: sattn.AttentionOp, arguments: Sequence[Array]) -> Array:
    """The softmax of the scores [B, H, Lq, Lk]; a row of which nothing is seen is of zeros."""
    scores, *_ = _all_scores(op, arguments)
    with np.errstate(all="ignore"):
        return softmax(scores, 3, zero_nan=True)


def _progressive(
    op: sattn.AttentionOp,
    arguments: Sequence[Array],
    form: Progressive,
    keys: Array,
    masked: Callable[[Array], Array],
) -> Array:
    """The scores of the high bits of each key, or of all of them where the form asks for that."""
    step, low = 1 << form.low_bits, _given(op, arguments, op.k_low)
    if low is None:
        high = keys >> form.low_bits
        low = keys & np.int8(step - 1)
    else:
        high, low = keys, _repeated(low, op.extents[1] // op.extents[2])
    of_high, of_low = (product(arguments[0], part.swapaxes(-1, -2)) for part in (high, low))
    first, all_bits = masked(of_high * step), masked(of_high * step + of_low)
    return np.where(form.again(NumpyLanes(), first), all_bits, first)


def flips_of_weights(op: sattn.AttentionOp, arguments: Sequence[Array]) -> tuple[int, int] | None:
    """How many of how many levels the softmax itself, compared with the thresholds, would give otherwise; None where
    its logarithm is not what is compared."""
    thresholds = _given(op, arguments, op.p_thresholds)
    if op.weights.data != sattn.Weights.LOG_SOFTMAX or thresholds is None:
        return None
    scores, *_ = _all_scores(op, arguments)
    with np.errstate(all="ignore"):
        folded, unfolded = (
            _levels(op, scores, None, thresholds, weights)
            for weights in (sattn.Weights.LOG_SOFTMAX, sattn.Weights.SOFTMAX)
        )
    assert folded is not None
    return int((folded != unfolded).sum()), folded.size


def _scores(op: sattn.AttentionOp, shown: Array, q_scale: Array | None, k_scale: Array | None) -> Array:
    """q @ k^T, as is `shown`, with the factors of both and the scale, soft-capped."""
    with np.errstate(all="ignore"):
        scores = shown.astype(np.float32, copy=False)
        if q_scale is not None and k_scale is not None:
            scores = scores * q_scale * k_scale.swapaxes(-1, -2)
        scores = scores * np.float32(op.scale.value.data)
        if op.softcap is not None:
            cap = np.float32(op.softcap.value.data)
            scores = np.tanh(scores / cap) * cap
    return scores


def _masked(op: sattn.AttentionOp, scores: Array, mask: Array | None) -> Array:
    """Scores with the mask applied."""
    hidden = np.float32(op.fill.value.data)
    if mask is not None:
        with np.errstate(all="ignore"):
            scores = np.where(mask, scores, hidden) if mask.dtype == np.bool_ else scores + lanes(mask)
    if op.causal is not None:
        queries, keys = scores.shape[-2:]
        seen = np.tri(queries, keys, op.causal_offset.value.data, dtype=np.bool_)
        scores = np.where(seen, scores, hidden)
    return scores


def _shown(
    op: sattn.AttentionOp, scores: Array, pattern: Array | None, order: Array | None
) -> tuple[Array, Array | None]:
    """Scores without those that the form does not show, and which it shows (None: all)."""
    runs = None if op.form.is_dense else op.runs(pattern, order)
    if runs is None:
        return scores, None
    shown = np.stack([each.mask() for each in runs])
    return np.where(shown, scores, np.float32(-np.inf)), shown


def _float_values(scores: Array, values: Array, zero_nan: bool, kept: Array | None) -> Array:
    """Weights exp(score - maximum) in the format of the values, times the values, divided by their sum.

    The sum is that of the rounded weights: what rounding takes from the products, it takes from the sum too. Weights
    that are not `kept` count in the sum only.
    """
    weights = scores - scores.max(axis=-1, keepdims=True)
    weights = np.exp(weights, out=weights).astype(values.dtype, copy=False)
    total = lanes(weights).sum(axis=-1, keepdims=True, dtype=np.float32)
    weights = weights if kept is None else np.where(kept, weights, np.zeros((), weights.dtype))
    result = product(weights, values) / total
    return np.where(np.isnan(total), np.float32(0), result) if zero_nan else result


def _levels(
    op: sattn.AttentionOp, scores: Array, p_scale: Array | None, thresholds: Array | None, kind: sattn.Weights
) -> Array | None:
    """int8 levels of the weights, by a fixed scale and zero point or by thresholds; None where a row makes its own."""
    if thresholds is not None:
        weights, base = scores, np.float32(0)
        if kind == sattn.Weights.SOFTMAX:
            weights = softmax(scores, 3, zero_nan=False)
        elif kind == sattn.Weights.LOG_SOFTMAX:
            greatest = np.float32(0) if op.bounded is not None else scores.max(axis=-1, keepdims=True)
            base = greatest + np.log(np.exp(scores - greatest).sum(axis=-1, keepdims=True, dtype=np.float32))
            thresholds = np.log(thresholds)
        levels = np.zeros(weights.shape, np.int8)
        for level in range(thresholds.shape[-1]):
            levels += weights >= base + thresholds[..., [level]]
        return levels
    if p_scale is None:
        return None
    levels = np.rint(softmax(scores, 3, zero_nan=True) / p_scale) + np.float32(op.p_zero_point.value.data)
    most = op.p_levels.value.data
    return np.clip(levels, 0 if most else -LEVELS - 1, most or LEVELS).astype(np.int8)


def _integer_values(
    scores: Array, values: Array, v_scale: Array, zero_nan: bool, block: int, kept: Array | None
) -> Array:
    """int8 probabilities, levels of a row's greatest (so far, after each `block` of keys), by int8 values. Those that
    are not `kept` count in the sum only."""
    keys = scores.shape[-1]
    maximum = np.full((*scores.shape[:-1], 1), -np.inf, np.float32)
    total, result = np.float32(0), np.float32(0)
    for start in range(0, keys, block or keys):
        piece = slice(start, start + (block or keys))
        greatest = np.maximum(maximum, scores[..., piece].max(axis=-1, keepdims=True))
        # A part of a row that sees nothing gives nothing; a whole row of -inf has a sum of 0 or NaN.
        base = np.maximum(greatest, np.finfo(np.float32).min) if block else greatest
        weights, before = np.exp(scores[..., piece] - base), np.exp(maximum - base)
        levels = np.nan_to_num(np.rint(weights * LEVELS)).astype(np.int8)
        levels = levels if kept is None else np.where(kept[..., piece], levels, np.int8(0))
        total = total * before + weights.sum(axis=-1, keepdims=True, dtype=np.float32)
        result = result * before + product(levels, values[..., piece, :]).astype(np.float32)
        maximum = greatest
    result = result * v_scale / (LEVELS * total)
    return np.where(np.isnan(result), np.float32(0), result) if zero_nan else result


def _shared(factor: Array | None, share: int) -> Array | None:
    """A factor of key heads repeated for the query heads that share them."""
    return factor if factor is None or factor.ndim < 3 or factor.shape[-3] == 1 else np.repeat(factor, share, axis=-3)


SEMANTICS: dict[type[Operation], Semantics] = {sattn.AttentionOp: _attention}
"""The meaning of each operation, as in `interpret.nn`."""
