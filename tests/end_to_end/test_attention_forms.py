"""Attention patterns from recipes and from the model's own masks, against ONNX Runtime with the mask as a constant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import attnc
from attnc.compiler.recipe import Recipe
from attnc.dialects.forms.form import Tokens
from attnc.dialects.forms.registry import Union
from attnc.isa.errors import InputError, UsageError

from .against_runtime import difference, reference
from .model_builder import Builder
from .random_transformers import LOWEST

HEADS = 3

PATTERNS = (
    "window:5",
    "window:4,dilation=3,global:2",
    "block:16,random:1,size=8",
    "causal",
    "bitmap",
    "bitmap,window:2",
)


def bits(queries: int, keys: int) -> np.ndarray:
    """Masks of single heads, some of whose rows are empty."""
    drawn = np.random.default_rng(3).random((HEADS, queries, keys)) < 0.08
    drawn[1, ::5] = False
    return drawn


def shown(form: str, queries: int, keys: int) -> np.ndarray:
    """What a form shows, [1, heads, queries, keys]."""
    drawn = bits(queries, keys)
    each = [Union.parse(form).runs(Tokens(head, queries, keys, drawn[head])).mask() for head in range(HEADS)]
    return np.stack(each)[None]


def attention(queries: int, keys: int, mask: np.ndarray | None, spelling: str = "guarded") -> Builder:
    """Attention between projections, with a constant mask in one of its spellings."""
    b = Builder(7, 17)
    width = 16
    out = b.weight(HEADS * width, 24)
    q, k, v = (
        b(
            "Transpose",
            b(
                "Reshape",
                b("MatMul", b.input(b.normal(1, rows, 24)), b.weight(24, HEADS * width)),
                (1, rows, HEADS, width),
            ),
            perm=[0, 2, 1, 3],
        )
        for rows in (queries, keys, keys)
    )
    scores = b("Mul", b("MatMul", q, b("Transpose", k, perm=[0, 1, 3, 2])), width**-0.5)
    if mask is not None and spelling in ("guarded", "where"):
        scores = b("Where", b.constant(mask), scores, float("-inf"))
    elif mask is not None:
        fill = {"added": float("-inf"), "lowest": LOWEST, "thousand": -1000.0}[spelling]
        scores = b("Add", scores, b.constant(np.where(mask, np.float32(0), np.float32(fill))))
    weights = b("Softmax", scores, axis=-1)
    if spelling == "guarded":
        weights = b("Where", b("IsNaN", weights), 0.0, weights)
    made = b("Reshape", b("Transpose", b("MatMul", weights, v), perm=[0, 2, 1, 3]), (1, queries, HEADS * width))
    b.output(b("MatMul", made, out))
    return b


def compiled(
    model: onnx.ModelProto, feed: dict[str, np.ndarray], **options: object
) -> tuple[np.ndarray, set[str], int]:
    """The output on the simulator, the forms, and the cycles."""
    made = attnc.compile(model, **options)
    result = attnc.Session(made.program).run(feed, check=True)
    return next(iter(result.outputs.values())), set(made.facts.forms.values()), result.report.performance.cycles


def recipe(folder: Path, form: str, queries: int, keys: int) -> Recipe:
    """A recipe of one form for all attentions."""
    rule = {"match": "*", "form": form}
    if "bitmap" in form:
        np.savez(folder / "masks.npz", masks=bits(queries, keys))
        rule["masks"] = str(folder / "masks.npz")
    return Recipe.of({"attention": [rule]})


@pytest.mark.parametrize("form", PATTERNS)
@pytest.mark.parametrize(("queries", "keys"), [(45, 45), (1, 1), (1, 45), (70, 33)])
def test_patterns_from_a_recipe_are_masks_in_the_model(tmp_path: Path, form: str, queries: int, keys: int) -> None:
    if "global:2" in form and keys < 2:
        form = "window:4,dilation=3,global:1"
    plain = attention(queries, keys, None)
    masked = attention(queries, keys, shown(form, queries, keys))
    expected = next(iter(reference(masked.model(), masked.feed).values()))
    got, forms, _ = compiled(plain.model(), plain.feed, recipe=recipe(tmp_path, form, queries, keys))
    assert difference(got, expected, 1e-5) is None
    assert forms == {form}
    for precision, tolerance in (("bf16", 0.03), ("int8", 0.06)) if queries == 45 else ():
        got, _, _ = compiled(
            plain.model(), plain.feed, recipe=recipe(tmp_path, form, queries, keys), precision=precision
        )
        assert difference(got, expected, tolerance) is None


def test_heads_of_one_attention_have_forms_of_their_own() -> None:
    plain = attention(45, 45, None)
    forms = ("window:3", "dense", "causal")
    mask = np.concatenate([shown(form, 45, 45)[:, :1] for form in forms], axis=1)
    masked = attention(45, 45, mask)
    expected = next(iter(reference(masked.model(), masked.feed).values()))
    rules = [{"match": "*", "form": "window:3", "heads": [0]}, {"match": "*", "form": "causal", "heads": [2]}]
    got, found, _ = compiled(plain.model(), plain.feed, recipe=Recipe.of({"attention": rules}))
    assert difference(got, expected, 1e-5) is None
    assert found == {"window:3; dense; causal"}


RECOGNISED = {
    "window:3": "window:3",
    "window:6,after=0": "window:6,after=0",
    "block:8": "bitmap",
    "window:2,global:1": "bitmap",
    "random:1,size=8": "bitmap",
}


@pytest.mark.parametrize("spelling", ["guarded", "where", "added", "lowest"])
@pytest.mark.parametrize("form", RECOGNISED)
def test_constant_masks_of_the_model_become_patterns(form: str, spelling: str) -> None:
    built = attention(90, 90, shown(form, 90, 90), spelling)
    expected = next(iter(reference(built.model(), built.feed).values()))
    got, forms, _ = compiled(built.model(), built.feed)
    assert difference(got, expected, 1e-5) is None
    assert forms == {RECOGNISED[form]}


@pytest.mark.parametrize(("spelling", "form"), [("where", "bitmap"), ("guarded", "bitmap"), ("lowest", "dense")])
def test_empty_rows_of_a_mask_stay_what_their_spelling_says(spelling: str, form: str) -> None:
    mask = shown("window:2", 90, 90).copy()
    mask[:, :, 40:43] = False
    built = attention(90, 90, mask, spelling)
    expected = next(iter(reference(built.model(), built.feed).values()))
    got, forms, _ = compiled(built.model(), built.feed)
    assert difference(got, expected, 1e-5) is None
    assert forms == {form}
    assert np.isnan(got).any() == (spelling == "where")


def test_a_mask_of_a_moderate_number_stays_a_mask() -> None:
    built = attention(90, 90, shown("window:2", 90, 90), "thousand")
    expected = next(iter(reference(built.model(), built.feed).values()))
    got, forms, _ = compiled(built.model(), built.feed)
    assert difference(got, expected, 1e-5) is None
    assert forms == {"dense"}


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"match": "decoder.*", "form": "window:3"}, "recipe attention 'decoder.*' matches no attention"),
        ({"match": "*", "form": "window:3", "heads": [3]}, "has no head 3"),
        ({"match": "*", "form": "global:99"}, "its tokens end at 99, and there are 9 keys"),
    ],
)
def test_rules_that_do_not_fit_the_model_are_refused(table: dict[str, object], told: str) -> None:
    built = attention(9, 9, None)
    with pytest.raises(UsageError, match=told.replace("*", r"\*")):
        attnc.compile(built.model(), recipe=Recipe.of({"attention": [table]}))


def test_masks_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    built = attention(9, 9, None)
    np.savez(tmp_path / "small.npz", masks=np.ones((9, 8)))
    np.savez(tmp_path / "other.npz", a=np.ones((9, 9)), b=np.ones((9, 9)))
    (tmp_path / "text.npz").write_text("no archive")
    for file, told in (
        ("small", "is 9x8"),
        ("other", "has no array"),
        ("text", "is no .npz"),
        ("none", "cannot be read"),
    ):
        rule = {"match": "*", "form": "bitmap", "masks": str(tmp_path / f"{file}.npz")}
        with pytest.raises(InputError, match=told):
            attnc.compile(built.model(), recipe=Recipe.of({"attention": [rule]}))


@pytest.mark.parametrize("form", ["window:5", "window:3,dilation=2,global:1", "block:16", "bitmap"])
def test_a_causal_model_stays_causal_with_a_pattern(tmp_path: Path, form: str) -> None:
    causal = np.tri(70, 70, dtype=np.bool_)[None, None]
    built = attention(70, 70, np.broadcast_to(causal, (1, HEADS, 70, 70)))
    masked = attention(70, 70, causal & shown(form, 70, 70))
    expected = next(iter(reference(masked.model(), masked.feed).values()))
    got, _, _ = compiled(built.model(), built.feed, recipe=recipe(tmp_path, form, 70, 70))
    assert difference(got, expected, 1e-5) is None
