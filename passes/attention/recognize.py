"""Masks that the model holds as constants become static patterns.

A pattern says exactly what the mask says, or the mask stays: scores that it hides must be absent from the softmax. They
are where it puts -inf in their place, and where it puts or adds so large a negative number that exp underflows beside
any score (see `graph.recognize.masks`), provided that the row has another key. A row without any gives NaN or zeros
with -inf, as the attention's `empty_row` says of a pattern too; with a finite number it is uniform, as no pattern is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from ...dialects import sattn
from ...dialects.constants import Array, ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.forms.bitmap import Bitmap
from ...dialects.forms.form import Tokens
from ...dialects.forms.registry import Union
from ...dialects.forms.window import Window
from ...dialects.key_runs import Bools, KeyRuns
from ..builder import Builder
from ..graph.matching import constant
from ..graph.recognize.masks import ABSORBING
from .choose import replace_attention

BLOCK = 32
"""So many queries are computed together at least."""

WORTH = 0.75
"""A mask is a pattern where blocks of queries look at no more than this part of the keys: else all scores may as well
be computed, and hidden where the mask hides them."""


@dataclass(frozen=True)
class RecognizePatterns(ModulePass):
    """Make static patterns of masks that are constant."""

    name = "recognize-patterns"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module."""
        store = CompilerContext.of(ctx).store
        for attention in [found for found in op.walk() if isinstance(found, sattn.AttentionOp)]:
            shown = _shown(attention, store)
            if shown is not None and _is_worthwhile(shown):
                _rewrite(attention, shown, store)


def _shown(attention: sattn.AttentionOp, store: ConstantStore) -> Bools | None:
    """What the constant mask of a dense attention shows, [1 or H, Lq, Lk]; None where it is no pattern."""
    mask = None if attention.mask is None else constant(attention.mask, store)
    if mask is None or attention.count is not None or not attention.form.is_dense or attention.p_zero_point.value.data:
        return None
    found = shown_by(mask, attention.fill.value.data)
    if found is None:
        return None
    shown, hidden = found
    _, _, _, queries, keys, _, _ = attention.extents
    shown = shown.reshape((1,) * (4 - shown.ndim) + shown.shape)
    if shown.shape[0] > 1 and not (shown == shown[:1]).all():
        return None
    shown = np.broadcast_to(shown[0], (shown.shape[1], queries, keys))
    seen = shown
    if attention.causal is not None:
        seen = shown & np.tri(queries, keys, attention.causal_offset.value.data, dtype=np.bool_)
    if not math.isinf(hidden) and not seen.any(axis=-1).all():
        return None
    return shown


def shown_by(mask: Array, fill: float) -> tuple[Bools, float] | None:
    """Where a mask lets scores through unchanged, and the greatest number that it puts or adds elsewhere; None where it
    does anything but hide scores wholly."""
    if mask.dtype == np.bool_:
        return (mask, fill) if fill <= ABSORBING else None
    values = mask.astype(np.float32)
    kept = values == 0
    hidden = values[~kept]
    if not (hidden <= ABSORBING).all():
        return None
    return kept, float(hidden.max(initial=-np.inf))


def _is_worthwhile(shown: Bools) -> bool:
    heads, queries, keys = shown.shape
    blocks = -(-queries // BLOCK)
    padded = np.zeros((heads, blocks * BLOCK, keys), np.bool_)
    padded[:, :queries] = shown
    looked = padded.reshape(heads, blocks, BLOCK, keys).any(axis=2)
    return bool(looked.mean() <= WORTH)


def _rewrite(attention: sattn.AttentionOp, shown: Bools, store: ConstantStore) -> None:
    build = Builder.before(attention, store)
    form = _window(shown)
    pattern = None if form is not None else build.constant(shown[None])
    if form is None:
        form = Bitmap()
    made = attention.of_form((Union((form,)),), pattern, None, attention.empty_row.data)
    replace_attention(attention, made, build)


def _window(shown: Bools) -> Window | None:
    """The sliding window that a mask is, if all heads have the same one."""
    if not (shown == shown[:1]).all():
        return None
    _, queries, keys = shown.shape
    runs = KeyRuns.of_mask(shown[0])
    if len(runs.starts) != queries or (np.diff(runs.first) != 1).any():
        return None
    tokens = Tokens(0, queries, keys)
    before, after = int((tokens.positions - runs.starts).max()), int((runs.stops - 1 - tokens.positions).max())
    if before < 0 or after < 0:
        return None
    found = Window(before) if before == after else Window(before, after)
    return found if found.runs(tokens) == runs else None
