"""Linear forms, end to end: against their numpy definitions, in every precision, their products and their cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from xdsl.dialects.builtin import i8

import attnc
from attnc.compiler.recipe import Recipe
from attnc.dialects import bnn, nn
from attnc.dialects.bnn_types import bipolar
from attnc.dialects.elements import element_type, shape_of
from attnc.dialects.forms.registry import Union
from attnc.dialects.forms.work import Extents
from attnc.dialects.provenance import folded_nodes
from attnc.isa.errors import InputError, UsageError

from ..end_to_end.against_runtime import difference, reference
from ..end_to_end.model_builder import Builder, Value

FORMS = ("sima:order=scores", "sima:order=context", "taylor:order=scores", "taylor:order=context", "ecoformer")

DRAWN = (0.18516524, -0.17153922, 0.034674317)

EXTENTS = ((17, 17), (1, 1), (5, 40), (70, 33))


def projected(b: Builder, x: Value, heads: int, width: int) -> Value:
    """A projection with a bias, as heads."""
    made = b("Add", b("MatMul", x, b.weight(x.shape[-1], heads * width)), b.weight(heads * width))
    return b("Transpose", b("Reshape", made, (*x.shape[:2], heads, width)), perm=[0, 2, 1, 3])


def attention(
    queries: int,
    keys: int,
    *,
    heads: int = 3,
    groups: int = 3,
    width: int = 16,
    wider: int = 4,
    batch: int = 2,
    mask: bool = False,
    inner: bool = False,
) -> Builder:
    """Attention behind projections; its queries, keys and values are the outputs where `inner`."""
    b = Builder(5, 17)
    x = b.input(b.normal(batch, queries, 24))
    y = x if keys == queries else b.input(b.normal(batch, keys, 24))
    q, k, v = projected(b, x, heads, width), projected(b, y, groups, width), projected(b, y, groups, width + wider)
    for value in (q, k, v) if inner else ():
        b.output(value)
    k, v = (repeated(b, value, heads // groups) for value in (k, v))
    scores = b("Mul", b("MatMul", q, b("Transpose", k, perm=[0, 1, 3, 2])), width**-0.5)
    if mask:
        scores = b("Add", scores, b.input(b.normal(batch, 1, queries, keys)))
    if not inner:
        b.output(b("Transpose", b("MatMul", b("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3]))
    return b


def repeated(b: Builder, value: Value, share: int) -> Value:
    """Heads of keys or values, each for so many heads of queries."""
    batch, groups, *rest = value.shape
    wide = b("Expand", b.unsqueeze(value, [2]), (batch, groups, share, *rest))
    return value if share == 1 else b("Reshape", wide, (batch, groups * share, *rest))


def expected(
    form: str, queries: int, keys: int, constants: dict[str, np.ndarray] | None = None, **options: int
) -> np.ndarray:
    """What the definition gives for queries, keys and values of ONNX Runtime."""
    b = attention(queries, keys, inner=True, **options)
    q, k, v = reference(b.model(), b.feed).values()
    k, v = (np.repeat(value, q.shape[1] // k.shape[1], axis=1) for value in (k, v))
    made = Union.parse(form).forms[0]
    constants = constants or made.constants(Extents(queries, keys, q.shape[-1], v.shape[-1]))
    return made.attend(q, k, v, q.shape[-1] ** -0.5, constants).transpose(0, 2, 1, 3)


def rules(form: str) -> Recipe:
    """A recipe of one form for all attentions."""
    return Recipe.of({"attention": [{"match": "*", "form": form}]})


def result(b: Builder, form: str, **options: object) -> tuple[np.ndarray, attnc.Compilation]:
    """The output on the simulator, with races and memory checked."""
    made = attnc.compile(b.model(), recipe=rules(form), **options)
    return next(iter(attnc.Session(made.program).run(b.feed, check=True).outputs.values())), made


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("queries", "keys"), EXTENTS)
def test_a_form_is_its_definition(form: str, queries: int, keys: int) -> None:
    got, made = result(attention(queries, keys), form)
    # Sums of float32 in another order.
    assert difference(got, expected(form, queries, keys), 1e-5) is None
    assert set(made.facts.forms.values()) == {form}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("precision", "calibrated", "tolerance"), [("bf16", False, 0.02), ("int8", False, 0.05), ("int8", True, 0.1)]
)
def test_a_form_takes_every_precision(form: str, precision: str, calibrated: bool, tolerance: float) -> None:
    b = attention(40, 40)
    got, _ = result(b, form, precision=precision, calibrate=b.feed if calibrated else None)
    # Rounding takes some queries and keys over a threshold of the hash: a bit of 16 changes a weight by a seventeenth.
    flipped = 0.06 if form == "ecoformer" else 0.0
    assert difference(got, expected(form, 40, 40), tolerance + flipped) is None


def test_bits_of_keys_are_packed_where_values_are_bytes() -> None:
    b = attention(64, 64)
    made = attnc.compile(b.model(), recipe=rules("ecoformer"), precision="int8", stop_after="precision")
    packed = [op for op in made.module.walk() if isinstance(op, bnn.MatmulOp)]
    assert (i8, bipolar) in [(element_type(op.lhs), element_type(op.rhs)) for op in packed]


@pytest.mark.parametrize("prefix", ["", "attention."])
@pytest.mark.parametrize("by_head", [False, True])
def test_a_hash_comes_from_a_file(tmp_path: Path, prefix: str, by_head: bool) -> None:
    rng = np.random.default_rng(2)
    heads = (3,) if by_head else ()
    shapes = {"anchors": (5, 16), "means": (5,), "weights": (8, 5)}
    given = {name: rng.standard_normal((*heads, *shape)).astype(np.float32) for name, shape in shapes.items()}
    given["sigma"] = np.full((*heads, 1), 3, np.float32)
    np.savez(tmp_path / "hash.npz", **{prefix + name: array for name, array in given.items()})
    table = {"match": "*", "form": "ecoformer:bits=8,anchors=5", "constants": str(tmp_path / "hash.npz")}
    b = attention(20, 20)
    program = attnc.compile(b.model(), recipe=Recipe.of({"attention": [table]})).program
    (got,) = attnc.Session(program).run(b.feed, check=True).outputs.values()
    assert difference(got, expected("ecoformer:bits=8,anchors=5", 20, 20, given), 1e-5) is None
    np.savez(tmp_path / "hash.npz", **{prefix + "anchors": np.ones((4, 16), np.float32)})
    with pytest.raises(InputError, match=r"is float32 4x16, .* needs finite floats 5x16 or 3x5x16"):
        attnc.compile(b.model(), recipe=Recipe.of({"attention": [table]}))


def test_a_hash_is_drawn_from_its_seed() -> None:
    extents = Extents(9, 9, 16, 16)
    first, other = (Union.parse(f"ecoformer:seed={seed}").forms[0].constants(extents) for seed in (0, 1))
    # Numbers that no version of numpy may change.
    np.testing.assert_allclose(first["anchors"][0, :3], DRAWN, rtol=1e-6)
    assert not np.allclose(first["weights"], other["weights"])
    np.testing.assert_allclose(np.linalg.norm(first["anchors"], axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_heads_share_keys(form: str) -> None:
    got, _ = result(attention(20, 20, heads=6, groups=2), form)
    assert difference(got, expected(form, 20, 20, heads=6, groups=2), 1e-5) is None


@pytest.mark.parametrize("spelling", ["split", "gathered"])
def test_queries_keys_and_values_of_one_product_cost_what_those_of_three_do(spelling: str) -> None:
    def built(fused: bool) -> Builder:
        b = Builder(4, 17)
        x, weight, bias = b.input(b.normal(1, 40, 24)), b.normal(24, 144, scale=0.2), b.normal(144)
        if fused and spelling == "gathered":
            whole = b("Reshape", b("Add", b("MatMul", x, weight), bias), (1, 40, 3, 3, 16))
            turned = b("Transpose", whole, perm=[2, 0, 3, 1, 4])
            q, k, v = (b("Gather", turned, np.array(place), axis=0) for place in range(3))
        else:
            if fused:
                parts = b.split(b("Add", b("MatMul", x, weight), bias), 2, (48, 48, 48))
            else:
                columns = [slice(start, start + 48) for start in (0, 48, 96)]
                parts = [b("Add", b("MatMul", x, weight[:, each]), bias[each]) for each in columns]
            q, k, v = (b("Transpose", b("Reshape", part, (1, 40, 3, 16)), perm=[0, 2, 1, 3]) for part in parts)
        scores = b("Mul", b("MatMul", q, b("Transpose", k, perm=[0, 1, 3, 2])), 0.25)
        b.output(b("MatMul", b("Softmax", scores, axis=-1), v))
        return b

    def run(b: Builder) -> tuple[np.ndarray, int]:
        made = attnc.compile(b.model(), recipe=rules("taylor"))
        folded = {node.name for node in folded_nodes(made.module)}
        assert folded.union(node.name for node in made.program.nodes) == {node.name for node in b.model().graph.node}
        done = attnc.Session(made.program).run(b.feed, check=True)
        return next(iter(done.outputs.values())), done.report.performance.cycles

    (apart, cycles), (at_once, same) = run(built(False)), run(built(True))
    assert difference(at_once, apart, 1e-6) is None
    assert same == cycles


@pytest.mark.parametrize("name", ["sima", "taylor"])
def test_the_order_of_fewer_multiplications_is_chosen(name: str) -> None:
    form = Union.parse(name).forms[0]
    for tokens, order in ((15, "scores"), (16, "scores"), (17, "context")):
        extents = Extents(tokens, tokens, 16, 16)
        assert form.chosen(extents) == order
        assert extents.macs(order) == min(extents.macs("scores"), extents.macs("context"))
    assert Extents(16, 16, 16, 16).macs("scores") == Extents(16, 16, 16, 16).macs("context")


@pytest.mark.parametrize("form", FORMS)
def test_products_are_as_many_as_the_form_says(form: str) -> None:
    b = attention(30, 30)
    module = attnc.compile(b.model(), recipe=rules(form), stop_after="graph").module
    products = [op for op in module.walk() if isinstance(op, nn.MatmulOp) and len(shape_of(op.result)) == 4]
    macs = sum(int(np.prod(shape_of(op.result))) * shape_of(op.lhs)[-1] for op in products)
    assert macs == 2 * 3 * Union.parse(form).forms[0].macs(Extents(30, 30, 16, 20))


@pytest.mark.parametrize("name", ["sima", "taylor"])
def test_cycles_cross_those_of_dense_attention_where_there_are_as_many_tokens_as_channels(name: str) -> None:
    def cycles(tokens: int, form: str) -> int:
        b = attention(tokens, tokens, heads=2, groups=2, width=32, wider=0, batch=1)
        program = attnc.compile(b.model(), recipe=rules(form), machine="tiny").program
        return attnc.Session(program).run(b.feed, mode="timing").report.performance.cycles

    scores, context = f"{name}:order=scores", f"{name}:order=context"
    assert cycles(16, "dense") < cycles(16, context)
    assert cycles(32, scores) == pytest.approx(cycles(32, context), rel=0.05)
    assert cycles(64, context) < 0.9 * cycles(64, "dense")
    assert cycles(16, name) == cycles(16, scores)
    assert cycles(64, name) == cycles(64, context)


@pytest.mark.parametrize("form", ["sima", "taylor", "ecoformer"])
def test_masks_are_refused_with_a_remedy(form: str) -> None:
    b = attention(9, 9, mask=True)
    with pytest.raises(UsageError, match=r"has a mask.*give this form to attentions without masks"):
        attnc.compile(b.model(), recipe=rules(form))


def test_unknown_orders_are_refused() -> None:
    with pytest.raises(UsageError, match="the order is one of cost, scores, context, not 'left'"):
        Union.parse("sima:order=left")
