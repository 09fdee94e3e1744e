"""Tokens in another order give the values that they give in the model's, and stand in the one that costs least."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnc
from attnc.compiler.recipe import Recipe
from attnc.dialects import nn
from attnc.dialects.key_runs import KeyRuns
from attnc.dialects.sattn import AttentionOp
from attnc.passes.attention import order_tokens

from .against_runtime import difference
from .model_builder import Builder

TOKENS, HEADS, WIDTH = 45, 2, 16


def encoder(classify: bool, layers: int = 2) -> Builder:
    """Attention with residuals over tokens that have positions; the first token's answer, or all tokens."""
    b = Builder(5, 17)
    x = b("Add", b.input(b.normal(1, TOKENS, WIDTH)), b.weight(1, TOKENS, WIDTH))
    for _ in range(layers):
        q, k, v = (
            b(
                "Transpose",
                b("Reshape", b("MatMul", x, b.weight(WIDTH, WIDTH)), (1, TOKENS, HEADS, 8)),
                perm=[0, 2, 1, 3],
            )
            for _ in range(3)
        )
        scores = b("Mul", b("MatMul", q, b("Transpose", k, perm=[0, 1, 3, 2])), 8**-0.5)
        shown = b("Transpose", b("MatMul", b("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        made = b("MatMul", b("Reshape", shown, (1, TOKENS, WIDTH)), b.weight(WIDTH, WIDTH))
        x = b("Add", x, made)
    b.output(b("Gather", x, b.constant(np.array(0)), axis=1) if classify else x)
    return b


def masks(folder: Path) -> str:
    """Bits of single heads: scattered, with columns that every query sees and a row that sees nothing."""
    rng = np.random.default_rng(3)
    bits = rng.random((HEADS, TOKENS, TOKENS)) < 0.05
    bits[:, :, rng.choice(TOKENS, 9, replace=False)] = True
    bits[1, 7] = False
    np.savez(folder / "masks.npz", masks=bits)
    return str(folder / "masks.npz")


def rules(form: str, folder: Path) -> Recipe:
    rule = {"match": "*", "form": form} | ({"masks": masks(folder)} if "bitmap" in form else {})
    # What is quantized of a bf16 sum may or may not be rounded to bf16 before, as it is fused.
    return Recipe.of({"attention": [rule], "residual": "fp32"})


def attentions(compilation: Any) -> list[AttentionOp]:
    return [op for op in compilation.module.walk() if isinstance(op, AttentionOp)]


@pytest.mark.parametrize("precision", ["model", "int8"])
@pytest.mark.parametrize("form", ["bitmap", "window:2,dilation=4,global:1", "random:2,size=4"])
@pytest.mark.parametrize("classify", [False, True])
def test_values_are_those_of_the_models_order(
    form: str, classify: bool, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = np.random.default_rng(9).permutation(TOKENS)
    monkeypatch.setattr(order_tokens, "_best", lambda *_: order)
    built = encoder(classify)
    options: dict[str, Any] = {"recipe": rules(form, tmp_path), "precision": precision}
    ordered = attnc.compile(built.model(), **options)
    stopped = attnc.compile(built.model(), **options, stop_after="attention")
    assert all(op.order is not None and isinstance(op.order.owner, nn.ConstantOp) for op in attentions(stopped))
    got = next(iter(attnc.Session(ordered.program).run(built.feed, check=True).outputs.values()))
    monkeypatch.setattr(order_tokens, "_best", lambda *_: None)
    plain = attnc.compile(built.model(), **options)
    expected = next(iter(attnc.Session(plain.program).run(built.feed).outputs.values()))
    assert difference(got, expected, 1e-5) is None


def test_an_order_is_left_alone_where_it_saves_less_than_it_moves(tmp_path: Path) -> None:
    stopped = attnc.compile(encoder(True).model(), recipe=rules("bitmap", tmp_path), stop_after="attention")
    assert all(op.order is None for op in attentions(stopped))


@pytest.mark.parametrize("form", ["bitmap", "window:2,dilation=9"])
def test_what_is_seen_often_stands_in_front_and_residues_together(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_tokens, "_moving", lambda *_: 0.0)
    monkeypatch.setattr(order_tokens, "LEAST_GAIN", 0.0)
    monkeypatch.setattr(order_tokens, "_cost", lambda patterns, order, _: spread(patterns[0][1], order))
    built = encoder(True)
    stopped = attnc.compile(built.model(), recipe=rules(form, tmp_path), stop_after="attention")
    (listed, *_) = [op.order.owner for op in attentions(stopped) if op.order is not None]
    assert isinstance(listed, nn.ConstantOp)
    order = stopped.context.store.array(listed.data)
    if form == "bitmap":
        bits = np.load(tmp_path / "masks.npz")["masks"]
        assert bits[0][:, order[:9]].all()
    else:
        np.testing.assert_array_equal(order, np.lexsort((np.arange(TOKENS), np.arange(TOKENS) % 9)))


def spread(runs: KeyRuns, order: np.ndarray | None) -> float:
    """How many stretches of keys there are."""
    return len((runs if order is None else runs.ordered(order)).starts)


def test_a_pattern_that_gains_nothing_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_tokens, "_best", lambda *_: np.arange(TOKENS)[::-1].copy())
    stopped = attnc.compile(encoder(False).model(), recipe=rules("causal", tmp_path), stop_after="attention")
    assert all(op.order is None for op in attentions(stopped))
