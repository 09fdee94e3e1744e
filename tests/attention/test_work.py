"""What forms ask, counted from their definitions: multiply-accumulates and rows that are read."""

import numpy as np
import pytest

import attnc
from attnc.dialects import nn, sattn
from attnc.dialects.forms.form import Tokens
from attnc.dialects.forms.registry import Union
from attnc.dialects.forms.work import Extents, Product
from attnc.isa.errors import InputError

from ..end_to_end.test_pruning_forms import core, run

QUERIES, KEYS, WIDTH, VALUES = 19, 23, 8, 12
EXTENTS = Extents(QUERIES, KEYS, WIDTH, VALUES)


def attention(form, heads=2, **options):
    q, k, v = (
        nn.ConstantOp(np.zeros(shape, np.float32))
        for shape in ((1, heads, QUERIES, WIDTH), (1, heads, KEYS, WIDTH), (1, heads, KEYS, VALUES))
    )
    return sattn.AttentionOp(q, k, v, scale=1.0, form=[Union.parse(form)], **options)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("form", ["dense", "causal", "window:2", "window:2,dilation=3,global:1", "random:1,size=4"])
def test_a_pattern_asks_for_the_pairs_and_the_keys_that_it_shows(form, causal):
    every = attention(form, causal=causal, causal_offset=1).work(None)
    for head, work in enumerate(every):
        shown = Union.parse(form).runs(Tokens(head, QUERIES, KEYS)).mask()
        if causal:
            shown &= np.tri(QUERIES, KEYS, 1, dtype=np.bool_)
        pairs = int(shown.sum())
        assert [(macs.least, macs.most) for macs in work.macs] == [(pairs * w,) * 2 for w in (WIDTH, VALUES)]
        assert work.key_rows == work.value_rows == shown.any(axis=0).sum()
        assert work.read_bytes(EXTENTS, 1, 2) == work.key_rows * (WIDTH + 2 * VALUES)


EVERY = QUERIES * KEYS
PRUNINGS = {
    "topk:5": {Product.SCORES: (EVERY, EVERY), Product.VALUES: (5 * QUERIES, 5 * QUERIES)},
    "topk:99": {Product.SCORES: (EVERY, EVERY), Product.VALUES: (EVERY, EVERY)},
    "topk:5,bits=4": {Product.LEVELS: (EVERY, EVERY), **dict.fromkeys((Product.SCORES, Product.VALUES), (95, 95))},
    "values:5": {Product.SCORES: (EVERY, EVERY), Product.VALUES: (95, 95)},
    "threshold:0.1": {Product.SCORES: (EVERY, EVERY), Product.VALUES: (0, EVERY)},
    "sanger": {Product.LEVELS: (EVERY, EVERY), **dict.fromkeys((Product.SCORES, Product.VALUES), (0, EVERY))},
}


@pytest.mark.parametrize("form", PRUNINGS)
def test_a_pruning_asks_for_what_is_kept_where_that_is_known_and_for_a_range_where_it_is_not(form):
    (work, _) = attention(form).work(None)
    widths = {Product.SCORES: WIDTH, Product.LEVELS: WIDTH, Product.VALUES: VALUES}
    found = {
        macs.product: (macs.least // widths[macs.product], macs.most // widths[macs.product]) for macs in work.macs
    }
    assert found == PRUNINGS[form]
    assert work.key_rows == work.value_rows == KEYS


def test_later_rounds_predict_what_the_first_left():
    (work, _) = attention("energon").work(None)
    rounds = [(macs.bits, macs.least, macs.most) for macs in work.macs if macs.product is Product.LEVELS]
    assert rounds == [(2, EVERY * WIDTH, EVERY * WIDTH), (4, 0, EVERY * WIDTH)]


@pytest.mark.parametrize("form", ["sima", "taylor", "ecoformer"])
def test_a_linear_form_asks_for_its_products(form):
    (linear,) = Union.parse(form).forms
    (macs,) = linear.work(EXTENTS).macs
    assert macs.least == macs.most == linear.macs(EXTENTS)


def test_check_counts_by_form():
    model = core(64, 16).model()
    (dense,), (window,), (pruned,) = (
        attnc.check(model, attention=form).layers for form in (None, "window:4", "sanger")
    )
    assert dense.form == "dense"
    assert dense.macs == 2 * 64 * 64 * (16 + 16)
    assert dense.bytes == 4 * 2 * 64 * 16 * 4
    assert window.macs == 2 * (9 * 64 - 20) * (16 + 16)
    assert dict(zip(pruned.modes, pruned.mode_macs, strict=True)) == {"f32": 0, "i4": dense.macs // 2}
    assert pruned.most_macs == dense.macs + dense.macs // 2


def test_timing_alone_counts_what_a_run_keeps_and_is_refused_without_inputs():
    built = core(64, 16)
    program = attnc.compile(built.model(), attention="sanger:0.02").program
    _, both = run(built, "sanger:0.02")
    session = attnc.Session(program)
    assert session.run(built.feed, "timing").report.performance == both.report.performance
    with pytest.raises(InputError, match="none given"):
        session.run(mode="timing")
