"""The importance of keys beside an attention's output, tiled, beside its definition and beside plain numpy."""

import dataclasses

import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f16, f32, i8

from attnc.dialects import nn, sattn
from attnc.dialects.forms.registry import Union
from attnc.dialects.interpret import function
from attnc.dialects.nn import EmptyRow
from attnc.passes.tile import attention
from attnc.passes.tile.attention_plan import AttentionDecision, AttentionPlan, ScoreForm

TOLERANCE = {f32: 2e-5, i8: 1e-5, f16: 3e-3, bf16: 2e-2}


@dataclasses.dataclass
class Case:
    """An attention that tells the importance of its keys."""

    element: object = f32
    form: str = "dense"
    batch: int = 2
    heads: int = 4
    groups: int = 2
    queries: int = 17
    keys: int = 23
    width: int = 8
    options: dict = dataclasses.field(default_factory=dict)

    def body(self, q, k, v):
        given, random = dict(self.options), np.random.default_rng(3)
        if self.element is i8:
            shapes = {"q_scale": (self.batch, self.heads, self.queries, 1)}
            shapes |= {"k_scale": (self.batch, self.groups, self.keys, 1)}
            shapes |= {"v_scale": (self.batch, self.groups, 1, self.width)}
            given |= {n: nn.ConstantOp(2 ** -random.integers(3, 7, s).astype(np.float32)) for n, s in shapes.items()}
        made = sattn.AttentionOp(q, k, v, scale=0.25, form=[Union.parse(self.form)], importance=True, **given)
        return [made.result, made.importance]

    def module(self, tiling):
        right = (self.element, (self.batch, self.groups, self.keys, self.width))
        shapes = [(self.element, (self.batch, self.heads, self.queries, self.width)), right, right]
        return tiling.module(shapes, self.body)

    def check(self, tiling, sram_bytes=None):
        module = self.module(tiling)
        arrays = [np.clip(a.astype(np.float32), -9, 9).astype(a.dtype) for a in tiling.arrays(module)]
        tolerance = TOLERANCE[self.element]
        return tiling.check(module, arrays, sram_bytes, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("element", [f32, i8, f16, bf16])
@pytest.mark.parametrize("form", ["dense", "window:3,global:1", "values:5", "topk:4", "sanger:theta=0.03"])
def test_importance_is_summed_beside_the_output(tiling, element, form):
    Case(element, form, keys=17).check(tiling)


@pytest.mark.parametrize(
    "plan",
    [
        AttentionPlan(ScoreForm.WHOLE, 5, 3, 1 << 20, True),
        AttentionPlan(ScoreForm.WHOLE, 3, 2, 1 << 20, False),
        AttentionPlan(ScoreForm.ROWS, 6, 2, 8, True),
        AttentionPlan(ScoreForm.ROWS, 4, 1, 5, False),
    ],
)
def test_any_tiling_adds_all_queries_up(tiling, monkeypatch, plan):
    monkeypatch.setattr(attention, "search_attention", lambda *_: AttentionDecision(plan, None, 1))
    Case().check(tiling)


def test_causal_queries_add_to_the_keys_they_see(tiling):
    Case(keys=17, options={"causal": True}).check(tiling)


def test_a_row_that_sees_nothing_adds_nothing(tiling):
    Case(keys=12, options={"causal": True, "causal_offset": -5, "empty_row": EmptyRow.ZERO}).check(tiling)


def test_it_is_the_column_sums_of_probabilities(tiling):
    case = Case(groups=4)
    module = case.module(tiling)
    arrays = tiling.arrays(module)
    _, found = function.run(module, arrays, tiling.context().store)
    scores = arrays[0].astype(np.float64) @ arrays[1].swapaxes(-1, -2) * 0.25
    probabilities = np.exp(scores - scores.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    np.testing.assert_allclose(found, probabilities.sum((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found.sum(1), case.heads * case.queries, rtol=1e-5)
