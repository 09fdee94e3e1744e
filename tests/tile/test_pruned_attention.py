"""Attention that keeps scores by their values: tiled, beside the definitions of its forms.

Queries, keys and values are small multiples of 1/4: scores are exact in any order of a sum, so that what is kept is.
"""

import dataclasses

import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f16, f32, i8

from attnc.dialects import nn, sattn
from attnc.dialects.forms.registry import Union
from attnc.dialects.interpret import function
from attnc.dialects.nn import EmptyRow
from attnc.dialects.tile import ForOp, MaskedProductOp, ProductOp
from attnc.isa.errors import UnsupportedError
from attnc.passes.tile.tile import TileKernels

FORMS = [
    "topk:5",
    "topk:3,bits=4",
    "threshold:0.03",
    "threshold:0.03,scores=0.5",
    "sanger:theta=0.03",
    "sanger:theta=0.03,bits=8",
]
FORMS += ["energon:0.1", "energon:-0.5,bits=3", "values:5"]
SOME = ["topk:4", "threshold:0.05", "sanger:0.02", "energon", "values:3"]
TOLERANCE = {f32: 2e-5, i8: 1e-5, f16: 3e-3, bf16: 2e-2}


@dataclasses.dataclass
class Case:
    """An attention of a form."""

    form: str
    queries: int = 17
    keys: int = 17
    heads: int = 2
    groups: int = 2
    width: int = 8
    element: object = f32
    batch: int = 1
    options: dict = dataclasses.field(default_factory=dict)

    def body(self, q, k, v):
        given, random = dict(self.options), np.random.default_rng(3)
        if self.element is i8:
            shapes = {"q_scale": (self.batch, self.heads, self.queries, 1)}
            shapes |= {"k_scale": (self.batch, self.groups, self.keys, 1)}
            shapes |= {"v_scale": (self.batch, self.groups, 1, self.width)}
            given |= {n: nn.ConstantOp(2 ** -random.integers(3, 7, s).astype(np.float32)) for n, s in shapes.items()}
        if "mask" in given:
            given["mask"] = nn.ConstantOp(given["mask"])
        form = [] if self.form == "dense" else [Union.parse(self.form)]
        return [sattn.AttentionOp(q, k, v, scale=0.25, **given, **({"form": form} if form else {})).result]

    @property
    def shapes(self):
        right = (self.element, (self.batch, self.groups, self.keys, self.width))
        return [(self.element, (self.batch, self.heads, self.queries, self.width)), right, right]

    def arrays(self, module, tiling):
        scale = 1 if self.element is i8 else 0.25
        return [
            np.round(a.astype(np.float32) * 2).clip(-9, 9).astype(a.dtype) * a.dtype.type(scale)
            for a in tiling.arrays(module)
        ]

    def check(self, tiling, sram_bytes=None):
        module = tiling.module(self.shapes, self.body)
        tolerance = TOLERANCE[self.element]
        (kernel,) = tiling.check(module, self.arrays(module, tiling), sram_bytes, rtol=tolerance, atol=10 * tolerance)
        return kernel

    def values(self, tiling):
        module = tiling.module(self.shapes, self.body)
        return function.run(module, self.arrays(module, tiling), tiling.context().store)[0].astype(np.float32)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("element", [f32, i8, f16, bf16])
def test_forms_have_the_values_of_their_definitions(tiling, form, element):
    Case(form, element=element).check(tiling)


@pytest.mark.parametrize("form", SOME)
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 9), (9, 1), (33, 80), (80, 33)])
def test_few_queries_and_keys(tiling, form, queries, keys):
    Case(form, queries, keys).check(tiling)


@pytest.mark.parametrize("form", SOME)
def test_several_batches_and_heads_that_share_keys(tiling, form):
    Case(form, heads=4, groups=2, batch=2).check(tiling)
    Case(form, heads=3, groups=1, element=i8).check(tiling)


@pytest.mark.parametrize("form", SOME)
@pytest.mark.parametrize("fill", [float("-inf"), -30.0])
def test_masks_of_the_model_apply_too(tiling, form, fill):
    options = {"causal": True, "fill": fill, "empty_row": EmptyRow.ZERO}
    Case(form, 70, 70, options=options).check(tiling)
    mask = np.random.default_rng(1).random((1, 1, 1, 17)) < 0.5
    Case(form, options={**options, "causal_offset": 2, "mask": mask}).check(tiling)
    Case(form, options={"mask": np.where(mask, np.float32(0.5), np.float32(-np.inf)), "softcap": 4.0}).check(tiling)


@pytest.mark.parametrize(
    "form", ["topk:17", "topk:40", "topk:17,bits=4", "threshold:0", "sanger:0", "energon:-1", "values:17"]
)
@pytest.mark.parametrize("element", [f32, i8])
def test_what_keeps_all_is_dense(tiling, form, element):
    case = Case(form, element=element)
    case.check(tiling)
    np.testing.assert_array_equal(case.values(tiling), dataclasses.replace(case, form="dense").values(tiling))


@pytest.mark.parametrize("form", ["threshold:0.9", "sanger:0.9"])
@pytest.mark.parametrize("element", [f32, i8])
def test_rows_of_which_nothing_is_kept_are_zero(tiling, form, element):
    case = Case(form, element=element, options={"empty_row": EmptyRow.ZERO})
    case.check(tiling)
    assert (case.values(tiling) == 0).any()


@pytest.mark.parametrize("form", ["topk:9", "threshold:0.01", "sanger:0.01", "energon:0.2"])
@pytest.mark.parametrize("element", [f32, i8])
def test_long_sequences_go_by_pieces_of_keys(tiling, form, element):
    case = Case(form, 100, 500, heads=1, groups=1, width=32, element=element)
    kernel = case.check(tiling, sram_bytes=40_000)
    assert any(isinstance(op, ForOp) for op in kernel.walk())


def test_what_is_not_kept_is_left_out_of_exact_products(tiling):
    def products(form):
        kernel = Case(form, heads=1, groups=1).check(tiling)
        masked = [op.masked.data for op in kernel.walk() if isinstance(op, MaskedProductOp)]
        return masked, sum(isinstance(op, ProductOp) for op in kernel.walk())

    assert products("topk:5") == (["left"], 1)
    assert products("threshold:0.1") == (["left"], 1)
    assert products("sanger") == (["result", "left"], 1)
    assert products("energon") == (["result", "result", "left"], 1)


def test_keys_that_lie_column_by_column_are_not_predicted(tiling):
    def body(q, k, v):
        turned = nn.TransposeOp(k, [0, 1, 3, 2])
        return [sattn.AttentionOp(q, turned, v, scale=0.25, form=[Union.parse("sanger")]).result]

    shapes = Case("sanger").shapes
    shapes[1] = (f32, (1, 2, 8, 17))
    with pytest.raises(UnsupportedError, match="do not lie row by row"):
        TileKernels().apply(tiling.context(), tiling.module(shapes, body))


def test_levels_take_the_narrowest_mode_that_the_machine_has(tiling):
    def modes(form, kept):
        engine = tiling.machine.matrix
        engine = dataclasses.replace(engine, rates={mode: engine.rates[mode] for mode in kept})
        few = dataclasses.replace(tiling, machine=dataclasses.replace(tiling.machine, matrix=engine))
        kernel = Case(form, heads=1, groups=1).check(few)
        return {op.mode.data for op in kernel.walk() if isinstance(op, ProductOp | MaskedProductOp)}

    assert modes("energon", ["f32", "i8", "i4", "ternary"]) == {"f32", "i4", "ternary"}
    assert modes("energon", ["f32", "i8", "i4"]) == {"f32", "i4"}
    assert modes("energon", ["f32", "i8"]) == {"f32", "i8"}
    with pytest.raises(UnsupportedError, match="has no mode for levels of 2 bits"):
        modes("energon", ["f32"])
