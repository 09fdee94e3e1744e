"""Attention: values for every form, mask, format and grouping, with rows that see nothing."""

import dataclasses

import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f16, f32, i8

from attnc.dialects import nn, sattn
from attnc.dialects.nn import EmptyRow
from attnc.dialects.tile import ProductOp, stage_of
from attnc.passes.tile import attention
from attnc.passes.tile.attention_plan import AttentionDecision, AttentionPlan, ScoreForm
from attnc.passes.tile.tile import TileKernels

LEAST = float(np.finfo(np.float32).min)
TOLERANCE = {f32: 2e-5, i8: 1e-5, f16: 3e-3, bf16: 2e-2}
FORMS = [
    None,
    AttentionPlan(ScoreForm.WHOLE, 5, 3, 1 << 20, True),
    AttentionPlan(ScoreForm.WHOLE, 3, 2, 1 << 20, False),
    AttentionPlan(ScoreForm.ROWS, 6, 2, 8, True),
    AttentionPlan(ScoreForm.ROWS, 4, 1, 5, False),
]
"""Tilings for any weights."""

MERGED = [
    AttentionPlan(ScoreForm.MERGED, 6, 2, 8, True),
    AttentionPlan(ScoreForm.MERGED, 3, 2, 5, False),
    AttentionPlan(ScoreForm.MERGED, 4, 1, 5, False),
    AttentionPlan(ScoreForm.MERGED, 100, 1, 3, True),
]
"""Tilings for weights by the greatest score so far."""

SWEEPS = [
    AttentionPlan(ScoreForm.SWEEPS, 6, 1, 8, True),
    AttentionPlan(ScoreForm.SWEEPS, 100, 1, 5, False),
]
"""Tilings for weights by a row's greatest score."""

FEW = [FORMS[1], FORMS[4]]
"""One tiling of each form for any weights."""


@dataclasses.dataclass
class Case:
    """An attention of B x H heads (`groups` of keys and values) of Lq queries over Lk keys."""

    batch: int = 2
    heads: int = 4
    groups: int = 2
    queries: int = 11
    keys: int = 14
    width: int = 8
    value_width: int = 12
    element: object = f32
    mask: np.ndarray | None = None
    merged: bool = False
    weight_scale: float | None = None
    zeros: bool = False
    key_block: int = 0
    options: dict = dataclasses.field(default_factory=dict)

    def arguments(self):
        sizes = (
            (self.heads, self.queries, self.width),
            (self.groups, self.keys, self.width),
            (self.groups, self.keys, self.value_width),
        )
        if self.merged:
            return [(self.element, (self.batch, rows, heads * width)) for heads, rows, width in sizes]
        return [(self.element, (self.batch, heads, rows, width)) for heads, rows, width in sizes]

    def body(self, q, k, v):
        if self.merged:
            rows = ((self.heads, self.queries), (self.groups, self.keys), (self.groups, self.keys))
            split = [
                nn.ReshapeOp(x, (self.batch, length, heads, -(-x.type.get_shape()[2] // heads))).result
                for x, (heads, length) in zip((q, k, v), rows, strict=True)
            ]
            q, k, v = (nn.TransposeOp(x, (0, 2, 1, 3)).result for x in split)
        mask = None if self.mask is None else nn.ConstantOp(self.mask)
        result = sattn.AttentionOp(q, k, v, mask, scale=0.3, **self.options, **self.factors()).result
        if self.merged:
            shape = (self.batch, self.queries, self.heads * self.value_width)
            result = nn.ReshapeOp(nn.TransposeOp(result, (0, 2, 1, 3)), shape).result
        return [result]

    def factors(self):
        if self.element is not i8:
            return {}
        random = np.random.default_rng(3)
        shapes = {
            "q_scale": (self.batch, self.heads, self.queries, 1),
            "k_scale": (self.batch, self.groups, self.keys, 1),
            "v_scale": (self.batch, self.groups, 1, self.value_width),
        }
        factors = {name: nn.ConstantOp((random.random(s) * 0.05).astype(np.float32)) for name, s in shapes.items()}
        if self.weight_scale is not None:
            factors["p_scale"] = nn.ConstantOp(np.float32(self.weight_scale))
        if self.zeros:
            factors["q_offset"] = nn.ConstantOp(random.integers(-900, 900, shapes["q_scale"]).astype(np.int32))
            factors["k_offset"] = nn.ConstantOp(random.integers(-900, 900, shapes["k_scale"]).astype(np.int32))
            factors |= {"v_zero_point": 19, "p_zero_point": -128}
        factors["key_block"] = self.key_block
        return factors

    def tilings(self, forms):
        """Those of `forms`, and some of what only these weights can have."""
        if self.key_block:
            return [None, *(dataclasses.replace(plan, keys=self.key_block) for plan in MERGED)]
        if forms == [None]:
            return forms
        return [*forms, *(SWEEPS if self.element is i8 else MERGED)[:2]]

    def check(self, tiling, monkeypatch, forms=FORMS, inputs=None, sram_bytes=None, tilings=True):
        tolerance = TOLERANCE[self.element]
        for form in self.tilings(forms) if tilings else forms:
            with monkeypatch.context() as patch:
                if form is not None:
                    patch.setattr(attention, "search_attention", lambda *_, form=form: AttentionDecision(form, None, 1))
                module = tiling.module(self.arguments(), self.body)
                arrays = tiling.arrays(module) if inputs is None else inputs
                kernels = tiling.check(module, arrays, sram_bytes, rtol=tolerance, atol=10 * tolerance)
                assert [kernel.label.data for kernel in kernels] == ["attention_0"]


@pytest.mark.parametrize("element", [f32, f16, bf16, i8])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_formats_and_shared_keys(tiling, monkeypatch, element, groups):
    Case(element=element, groups=groups).check(tiling, monkeypatch)


def test_heads_split_and_merged_by_addressing(tiling, monkeypatch):
    Case(merged=True).check(tiling, monkeypatch)
    Case(merged=True, groups=4, element=i8).check(tiling, monkeypatch)


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 9), (9, 1), (33, 40)])
def test_few_queries_and_keys(tiling, monkeypatch, queries, keys):
    Case(queries=queries, keys=keys).check(tiling, monkeypatch)


@pytest.mark.parametrize("element", [f32, i8])
@pytest.mark.parametrize("offset", [0, 3, -3])
@pytest.mark.parametrize(
    ("fill", "empty_row"),
    [(-np.inf, EmptyRow.NAN), (-np.inf, EmptyRow.ZERO), (-1e4, EmptyRow.NAN), (LEAST, EmptyRow.UNIFORM)],
)
def test_causal(tiling, monkeypatch, element, offset, fill, empty_row):
    options = {"causal": True, "causal_offset": offset, "fill": float(fill), "empty_row": empty_row}
    Case(element=element, options=options).check(tiling, monkeypatch, FORMS if element is f32 else FEW)


MASKS = [(1, 1, 1, 14), (2, 1, 1, 14), (1, 4, 11, 14), (1, 1, 11, 1), (11, 14), (2, 4, 11, 14)]


@pytest.mark.parametrize("shape", MASKS)
@pytest.mark.parametrize("element", [f32, i8])
@pytest.mark.parametrize(("empty_row", "causal"), [(EmptyRow.NAN, False), (EmptyRow.ZERO, True)])
def test_masks_of_any_shape(tiling, monkeypatch, shape, element, empty_row, causal):
    random = np.random.default_rng(1)
    added = random.standard_normal(shape).astype(np.float32)
    added[random.random(shape) < 0.4] = -np.inf
    options = {"empty_row": empty_row, "causal": causal}
    Case(element=element, mask=added, options=options).check(tiling, monkeypatch, FEW)
    Case(element=element, mask=random.random(shape) < 0.5, options=options).check(tiling, monkeypatch, FEW)


@pytest.mark.parametrize("empty_row", [EmptyRow.NAN, EmptyRow.ZERO])
@pytest.mark.parametrize("element", [f32, i8])
def test_rows_that_see_nothing(tiling, monkeypatch, element, empty_row):
    mask = np.zeros((1, 1, 11, 14), np.float32)
    mask[..., 3, :], mask[..., 5, :], mask[..., 7, :] = -np.inf, LEAST, -1e9
    Case(element=element, mask=mask, options={"empty_row": empty_row}).check(tiling, monkeypatch)


def test_a_finite_fill_makes_empty_rows_uniform(tiling, monkeypatch):
    mask = np.ones((1, 1, 11, 14), np.bool_)
    mask[..., 3, :], mask[..., 5, 2:] = False, False
    options = {"empty_row": EmptyRow.UNIFORM, "fill": LEAST, "causal": True}
    Case(mask=mask, options=options).check(tiling, monkeypatch)


@pytest.mark.parametrize("cap", [30.0, 32.0])
def test_capped_scores(tiling, monkeypatch, cap):
    Case(options={"softcap": cap}).check(tiling, monkeypatch)
    Case(options={"softcap": cap, "causal": True}).check(tiling, monkeypatch)


@pytest.mark.parametrize("scale", [1 / 127, 1 / 128])
def test_weights_of_a_fixed_scale(tiling, monkeypatch, scale):
    Case(element=i8, weight_scale=scale).check(tiling, monkeypatch)
    Case(element=i8, weight_scale=scale, options={"causal": True}).check(tiling, monkeypatch)


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"causal": True, "empty_row": EmptyRow.ZERO}])
def test_weights_by_the_greatest_score_so_far(tiling, monkeypatch, options):
    mask = np.random.default_rng(1).standard_normal((1, 1, 11, 14)).astype(np.float32) * 20
    mask[..., 3, :], mask[..., 4, :9], mask[..., 5, 5:10], mask[..., 6, 5:] = -np.inf, -np.inf, LEAST, -np.inf
    Case(element=i8, key_block=5, options=options).check(tiling, monkeypatch)
    Case(element=i8, key_block=5, options=options, mask=mask).check(tiling, monkeypatch)


@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 20))])
def test_random_attentions(tiling, monkeypatch, seed):
    random = np.random.default_rng(seed)
    element = (f32, i8)[seed % 2]
    groups, share, batch = (int(random.integers(1, 4)) for _ in range(3))
    queries, keys, rows, blocks, piece = (int(random.integers(1, most)) for most in (20, 30, 9, 5, 12))
    options = {
        "causal": bool(random.random() < 0.5),
        "causal_offset": int(random.integers(-4, 12)),
        "fill": float(random.choice([-np.inf, -30.0, LEAST])),
        "softcap": float(random.choice([3.0, 50.0])) if random.random() < 0.3 else None,
    }
    empty = [EmptyRow.NAN, EmptyRow.ZERO, *([EmptyRow.UNIFORM] if np.isfinite(options["fill"]) else [])]
    options["empty_row"] = empty[int(random.integers(len(empty)))]
    mask = None
    if random.random() < 0.6:
        shape = [n if random.random() < 0.6 else 1 for n in (batch, groups * share, queries, keys)]
        mask = random.random(shape) < 0.6
        if random.random() < 0.5:
            mask = np.where(mask, random.standard_normal(shape), random.choice([-np.inf, LEAST, -1e4]))
            mask = mask.astype(np.float32)
    case = Case(batch, groups * share, groups, queries, keys, element=element, mask=mask, options=options)
    forms = list(ScoreForm)[: 3 if element is f32 else 2]
    if element is i8 and random.random() < 0.6:
        case.key_block, forms = piece, [ScoreForm.MERGED] if piece < keys else [ScoreForm.WHOLE, ScoreForm.ROWS]
    plans = [AttentionPlan(form, rows, blocks, piece, bool(random.random() < 0.5)) for form in forms]
    case.check(tiling, monkeypatch, forms=[None, *plans], tilings=False)


def test_the_last_values_of_a_head_wait_for_the_first_scores_of_the_next(tiling, monkeypatch):
    plan = AttentionPlan(ScoreForm.WHOLE, 8, 2, 14, True)
    monkeypatch.setattr(attention, "search_attention", lambda *_: AttentionDecision(plan, None, 1))
    case = Case(batch=1, groups=4)
    orders = []
    for staggered in (True, False):
        module = tiling.module(case.arguments(), case.body)
        TileKernels(stagger_heads=staggered).apply(tiling.context(), module)
        products = [op for op in module.walk() if isinstance(op, ProductOp)]
        orders.append([("scores" if op.transpose_b is not None else "values", stage_of(op)) for op in products])
    scores, values = ("scores", 0), ("values", 0)
    assert orders == [[scores, ("values", 1), scores, values], [scores, values, scores, values]]


@pytest.mark.parametrize("mask", [None, (1, 1, 11, 14)])
def test_zero_points(tiling, monkeypatch, mask):
    case = Case(element=i8, weight_scale=1 / 255, zeros=True)
    if mask is not None:
        case.mask = np.where(np.random.default_rng(2).random(mask) < 0.5, np.float32(-np.inf), np.float32(0))
        case.mask[..., 4, :] = -np.inf
    case.check(tiling, monkeypatch)


def test_extreme_int8_values(tiling, monkeypatch):
    case = Case(element=i8)
    for low, high in ((-128, -128), (-128, 127), (127, 127)):
        values = zip(case.arguments(), (low, high, low), strict=True)
        inputs = [np.full(shape, value, np.int8) for (_, shape), value in values]
        case.check(tiling, monkeypatch, inputs=inputs)


def test_infinite_and_undefined_scores_are_computed_as_ieee_says(tiling, monkeypatch):
    case = Case()
    random = np.random.default_rng(7)
    inputs = [random.standard_normal(shape).astype(np.float32) for _, shape in case.arguments()]
    inputs[0][0, 0, 2, 0], inputs[0][1, 1, 4, 1] = np.nan, np.inf
    case.check(tiling, monkeypatch, inputs=inputs)


@pytest.mark.parametrize("element", [f32, i8])
@pytest.mark.parametrize("sram_bytes", [None, 40_000])
def test_long_rows(tiling, monkeypatch, element, sram_bytes):
    case = Case(batch=1, heads=2, groups=1, queries=70, keys=900, width=32, value_width=32, element=element)
    case.check(tiling, monkeypatch, forms=[None], sram_bytes=sram_bytes)


def test_an_epilogue_rides_along(tiling):
    def body(q, k, v):
        result = sattn.AttentionOp(q, k, v, scale=0.3).result
        return [nn.QuantizeOp(result, nn.ConstantOp(np.float32(0.05)), None).result]

    module = tiling.module([(f32, (1, 2, 17, 16))] * 3, body)
    kernels = tiling.check(module, tiling.arrays(module))
    assert len(kernels) == 1


def test_queries_keys_and_values_stay_on_chip(tiling):
    weight = np.random.default_rng(4).standard_normal((32, 32)).astype(np.float32)

    def body(x):
        heads = [nn.MatmulOp(x, nn.ConstantOp(weight + n)).result for n in range(3)]
        split = [nn.TransposeOp(nn.ReshapeOp(y, (1, 20, 2, 16)), (0, 2, 1, 3)).result for y in heads]
        result = sattn.AttentionOp(*split, scale=0.01).result
        merged = nn.ReshapeOp(nn.TransposeOp(result, (0, 2, 1, 3)), (1, 20, 32)).result
        return [nn.MatmulOp(merged, nn.ConstantOp(weight)).result]

    module = tiling.module([(f32, (1, 20, 32))], body)
    kernels = tiling.check(module, tiling.arrays(module), atol=1e-3)
    program = kernels[0].parent_block()
    assert program is not None
    assert not [op for op in program.ops if op.name == "tile.tensor" and op.role.data == "temporary"]
