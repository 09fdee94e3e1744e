"""Attention whose keys come by high and low bits: tiled, beside its definition, and what is fetched."""

import dataclasses

import numpy as np
import pytest
from xdsl.dialects.builtin import i8, i32

from attnc.dialects import nn, sattn
from attnc.dialects.bnn import PackOp
from attnc.dialects.bnn_types import int2, int4, uint4
from attnc.dialects.forms.registry import Union
from attnc.dialects.interpret import function
from attnc.dialects.tile import CopyOp, MaskedProductOp


def plane(values, element):
    return nn.CastOp(values, i8).result if element is i8 else PackOp(values, element).result


@dataclasses.dataclass
class Case:
    """An attention of the form progressive; `split`: with its keys in two tensors."""

    threshold: float = 0.3
    bits: int = 4
    split: bool = True
    batch: int = 2
    heads: int = 4
    groups: int = 2
    queries: int = 17
    keys: int = 23
    width: int = 16
    form: str = ""
    importance: bool = False
    options: dict = dataclasses.field(default_factory=dict)

    def body(self, q, k, v):
        random, given = np.random.default_rng(3), dict(self.options)
        shapes = {"q_scale": (self.batch, self.heads, self.queries, 1)}
        shapes |= {"k_scale": (self.batch, self.groups, self.keys, 1), "v_scale": (self.batch, self.groups, 1, 1)}
        given |= {n: nn.ConstantOp(2 ** -random.integers(3, 6, s).astype(np.float32)) for n, s in shapes.items()}
        if "mask" in given:
            given["mask"] = nn.ConstantOp(given["mask"])
        form = Union.parse(self.form or f"progressive:{self.threshold},bits={self.bits}")
        if self.split and not self.form:
            low, whole = 8 - self.bits, nn.CastOp(k, i32).result
            high, rest = (nn.ConstantOp(np.asarray(value, np.int32)).result for value in (low, (1 << low) - 1))
            k = plane(nn.MapOp("shift_right", [whole, high]).result, {2: int2, 4: int4}.get(self.bits, i8))
            given["k_low"] = plane(nn.MapOp("bit_and", [whole, rest]).result, uint4 if low <= 4 else i8)
        made = sattn.AttentionOp(q, k, v, scale=2**-6, form=[form], importance=self.importance, **given)
        return [made.result, *([made.importance] if self.importance else [])]

    def module(self, tiling):
        right = (i8, (self.batch, self.groups, self.keys, self.width))
        return tiling.module([(i8, (self.batch, self.heads, self.queries, self.width)), right, right], self.body)

    def arrays(self):
        """Queries of which some attend to few keys, and others to many."""
        random = np.random.default_rng(5)
        q = (
            random.integers(-127, 128, (self.batch, self.heads, self.queries, self.width))
            * np.array([[0.02], [1]])[random.integers(0, 2, self.queries)]
        )
        right = (self.batch, self.groups, self.keys, self.width)
        return [q.astype(np.int8), *(random.integers(-127, 128, right).astype(np.int8) for _ in range(2))]

    def check(self, tiling, sram_bytes=None):
        return tiling.check(self.module(tiling), self.arrays(), sram_bytes, rtol=1e-5, atol=1e-4)

    def values(self, tiling):
        return function.run(self.module(tiling), self.arrays(), tiling.context().store)[0]


@pytest.mark.parametrize("bits", [2, 4, 6])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_tiles_have_the_values_of_the_definition(tiling, threshold, bits):
    Case(threshold, bits).check(tiling)


def test_rows_of_both_kinds_are_there(tiling):
    dense, high, some = (Case(threshold).values(tiling) for threshold in (1.0, 0.0, 0.3))
    same = [(np.abs(some - other) < 1e-6).all(axis=-1) for other in (dense, high)]
    assert all(rows.mean() > 0.2 for rows in same)
    assert (same[0] | same[1]).all()


def test_a_threshold_of_one_is_dense(tiling):
    np.testing.assert_allclose(Case(1.0).values(tiling), Case(form="dense").values(tiling), rtol=1e-6, atol=1e-5)


def test_split_keys_mean_what_whole_ones_do(tiling):
    for bits in (2, 3, 4, 7):
        np.testing.assert_array_equal(Case(bits=bits).values(tiling), Case(bits=bits, split=False).values(tiling))


def test_high_bits_are_the_first_of_two_s_complement(tiling):
    case = Case(0.0, groups=4, batch=1)
    q, k, v = (array.astype(np.float64) for array in case.arrays())
    op = next(op for op in case.module(tiling).walk() if isinstance(op, sattn.AttentionOp))
    store = tiling.context().store
    scale = [store.array(factor.owner.data).astype(np.float64) for factor in (op.q_scale, op.k_scale, op.v_scale)]
    scores = (q * scale[0]) @ (np.floor(k / 16) * 16 * scale[1]).swapaxes(-1, -2) * 2**-6
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = weights @ (v * scale[2]) / weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(case.values(tiling), expected, atol=0.01 * np.abs(expected).max())


@pytest.mark.parametrize(
    "options",
    [
        {"causal": True},
        {"mask": np.arange(23)[None, None, None] < 11},
        {"mask": np.linspace(-2, 2, 23, dtype=np.float32)[None, None, None]},
    ],
)
def test_masks_apply_to_scores_of_any_bits(tiling, options):
    Case(options=options, queries=23).check(tiling)


def test_importance_is_that_of_the_weights_that_are_used(tiling):
    Case(importance=True).check(tiling)


@pytest.mark.parametrize("threshold", [0.0, 0.02, 1.0])
def test_low_bits_are_loaded_by_what_the_run_finds(tiling, threshold):
    kernels = Case(threshold, groups=4, keys=400, width=64).check(tiling, sram_bytes=48 * 1024)
    operations = list(kernels[-1].walk())
    assert any(isinstance(op, CopyOp) and op.count is not None for op in operations)
    assert any(isinstance(op, MaskedProductOp) for op in operations)


@pytest.mark.parametrize("queries", [9, 17, 33])
def test_blocks_without_rows_ask_for_nothing(tiling, queries):
    Case(0.02, queries=queries, groups=4, keys=400, width=64).check(tiling, sram_bytes=44 * 1024)
