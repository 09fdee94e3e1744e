"""Attention of static patterns: values for every pattern and tiling, and only what is seen is computed."""

import dataclasses

import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f16, f32, i8

from attnc.dialects import nn, sattn
from attnc.dialects.forms.registry import Union
from attnc.dialects.nn import EmptyRow
from attnc.dialects.tile import ForOp, ProductOp
from attnc.passes.tile import attention
from attnc.passes.tile.attention_plan import AttentionDecision, AttentionPlan, ScoreForm

LEAST = float(np.finfo(np.float32).min)
TOLERANCE = {f32: 2e-5, i8: 1e-5, f16: 3e-3, bf16: 2e-2}
PATTERNS = [
    "window:3",
    "window:6,after=2,global:2",
    "window:2,dilation=20",
    "causal",
    "block:16",
    "block:7,neighbours=1",
    "random:2,size=8",
    "global:1,first=30",
    "bitmap",
    "bitmap,window:1",
]
ROWS, MERGED, SWEEPS = ScoreForm.ROWS, ScoreForm.MERGED, ScoreForm.SWEEPS
PLANS = [
    None,
    AttentionPlan(ROWS, 8, 1, 1 << 20, True),
    AttentionPlan(ROWS, 5, 3, 7, False, near=True),
    AttentionPlan(ROWS, 16, 2, 9, False),
]
MERGED_PLANS = [AttentionPlan(MERGED, 8, 1, 5, True), AttentionPlan(MERGED, 16, 1, 1 << 20, False)]
SWEEPS_PLANS = [AttentionPlan(SWEEPS, 8, 1, 5, True), AttentionPlan(SWEEPS, 16, 1, 1 << 20, False)]


@dataclasses.dataclass
class Case:
    """An attention of a form; `forms` has one for all heads, or one for each."""

    forms: tuple[str, ...]
    queries: int = 43
    keys: int = 43
    heads: int = 2
    groups: int = 2
    width: int = 8
    element: object = f32
    batch: int = 1
    mask: np.ndarray | None = None
    options: dict = dataclasses.field(default_factory=dict)

    def module(self, tiling):
        q, k = (self.batch, self.heads, self.queries, self.width), (self.batch, self.groups, self.keys, self.width)
        return tiling.module([(self.element, q), (self.element, k), (self.element, k)], self.body)

    def body(self, q, k, v):
        random = np.random.default_rng(5)
        given = dict(self.options)
        if any("bitmap" in form for form in self.forms):
            bits = random.random((1, self.heads, self.queries, self.keys)) < 0.1
            given["pattern"] = nn.ConstantOp(bits)
        if self.element is i8:
            shapes = {
                "q_scale": (self.batch, self.heads, self.queries, 1),
                "k_scale": (self.batch, self.groups, self.keys, 1),
                "v_scale": (self.batch, self.groups, 1, self.width),
            }
            given |= {name: nn.ConstantOp((random.random(s) * 0.05).astype(np.float32)) for name, s in shapes.items()}
        if self.mask is not None:
            given["mask"] = nn.ConstantOp(self.mask)
        forms = [Union.parse(form) for form in self.forms]
        return [sattn.AttentionOp(q, k, v, scale=0.3, form=forms, **given).result]

    def check(self, tiling, monkeypatch, plans=PLANS, sram_bytes=None):
        tolerance = TOLERANCE[self.element]
        kernels = []
        for plan in plans:
            with monkeypatch.context() as patch:
                if plan is not None:
                    patch.setattr(attention, "search_shown", lambda *_, plan=plan: AttentionDecision(plan, None, 1))
                module = self.module(tiling)
                arrays = tiling.arrays(module)
                kernels = tiling.check(module, arrays, sram_bytes, rtol=tolerance, atol=10 * tolerance)
                assert [kernel.label.data for kernel in kernels] == ["attention_0"]
        return kernels[0]


@pytest.mark.parametrize("form", PATTERNS)
@pytest.mark.parametrize("element", [f32, i8])
def test_patterns_in_every_tiling(tiling, monkeypatch, form, element):
    plans = [*PLANS, *(SWEEPS_PLANS if element is i8 else MERGED_PLANS)]
    Case((form,), element=element).check(tiling, monkeypatch, plans)


@pytest.mark.parametrize("element", [f16, bf16])
def test_narrow_floats(tiling, monkeypatch, element):
    Case(("window:6,global:1",), element=element).check(tiling, monkeypatch, [*PLANS, *MERGED_PLANS])


@pytest.mark.parametrize("form", ["window:2", "bitmap", "window:2,global:1"])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 9), (9, 1), (33, 80), (80, 33)])
def test_few_queries_and_keys(tiling, monkeypatch, form, queries, keys):
    Case((form,), queries, keys).check(tiling, monkeypatch, PLANS[:3])


@pytest.mark.parametrize("element", [f32, i8])
def test_heads_of_different_forms(tiling, monkeypatch, element):
    forms = ("window:3", "dense", "causal", "window:3,global:2")
    for groups in (1, 2, 4):
        Case(forms, heads=4, groups=groups, element=element, batch=2).check(tiling, monkeypatch, PLANS[:3])


@pytest.mark.parametrize("element", [f32, i8])
@pytest.mark.parametrize("empty_row", [EmptyRow.NAN, EmptyRow.ZERO, EmptyRow.UNIFORM])
def test_rows_that_see_nothing(tiling, monkeypatch, element, empty_row):
    fill = LEAST if empty_row is EmptyRow.UNIFORM else float("-inf")
    options = {"empty_row": empty_row, "fill": fill}
    plans = [*PLANS[:3], *(SWEEPS_PLANS if element is i8 else MERGED_PLANS)]
    # The first queries stand before the first key.
    Case(("window:2",), 90, 33, element=element, options=options).check(tiling, monkeypatch, plans)


@pytest.mark.parametrize("element", [f32, i8])
@pytest.mark.parametrize("fill", [float("-inf"), -30.0])
def test_masks_of_the_model_apply_within_a_pattern(tiling, monkeypatch, element, fill):
    random = np.random.default_rng(1)
    mask = random.random((1, 1, 1, 43)) < 0.7
    options = {"fill": fill, "causal": True, "causal_offset": 1, "empty_row": EmptyRow.ZERO}
    case = Case(("window:9,global:1",), element=element, mask=mask, options=options)
    case.check(tiling, monkeypatch, PLANS[:3])
    added = np.where(random.random((1, 2, 43, 43)) < 0.5, np.float32(-np.inf), np.float32(0.5))
    dataclasses.replace(case, mask=added).check(tiling, monkeypatch, PLANS[:3])


@pytest.mark.parametrize("element", [f32, i8])
def test_long_sequences_in_little_memory(tiling, monkeypatch, element):
    for form in ("window:9,global:2", "random:2,size=32"):
        case = Case((form,), 700, 700, heads=1, groups=1, width=32, element=element)
        case.check(tiling, monkeypatch, [None], sram_bytes=60_000)


def test_the_middle_of_a_window_is_one_loop(tiling, monkeypatch):
    sizes = []
    for tokens in (1024, 4096):
        case = Case(("window:16",), tokens, tokens, heads=1, groups=1)
        kernel = case.check(tiling, monkeypatch, [AttentionPlan(ROWS, 32, 2, 64, False, near=True)])
        sizes.append(len(list(kernel.walk())))
        assert [loop.trips for loop in kernel.walk() if isinstance(loop, ForOp)] == [tokens // 64 - 2]
    assert sizes[0] == sizes[1]


def test_only_what_blocks_see_is_multiplied(tiling, monkeypatch):
    plan = AttentionPlan(ROWS, 16, 1, 1 << 20, True)
    kernel = Case(("block:16",), 64, 64, heads=1, groups=1).check(tiling, monkeypatch, [plan])
    products = [op for op in kernel.walk() if isinstance(op, ProductOp) and op.transpose_b is not None]
    assert {size.constant for op in products for size in op.acc_access.data.sizes} == {16}
