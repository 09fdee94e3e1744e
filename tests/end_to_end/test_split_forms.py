"""Heads of one attention have forms of any kind: each gives what it gives where all heads have its form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnc
from attnc.compiler.recipe import Recipe
from attnc.isa.errors import UsageError

from .against_runtime import difference
from .model_builder import Builder

TOKENS, HEADS, WIDTH = 37, 6, 8


def attention(groups: int) -> Builder:
    """Attention whose output has the heads side by side; `groups` key heads."""
    b = Builder(7, 17)
    x = b.input(b.normal(1, TOKENS, 24))

    def heads(count: int) -> str:
        rows = b("Reshape", b("MatMul", x, b.weight(24, count * WIDTH)), (1, TOKENS, count, WIDTH))
        return b("Transpose", rows, perm=[0, 2, 1, 3])

    q, k, v = heads(HEADS), heads(groups), heads(groups)
    if groups != HEADS:
        share = (1, groups, HEADS // groups, TOKENS, WIDTH)
        k, v = (
            b("Reshape", b("Expand", b("Unsqueeze", y, b.constant(np.array([2]))), share), (1, HEADS, TOKENS, WIDTH))
            for y in (k, v)
        )
    scores = b("Mul", b("MatMul", q, b("Transpose", k, perm=[0, 1, 3, 2])), WIDTH**-0.5)
    shown = b("Transpose", b("MatMul", b("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    b.output(b("Reshape", shown, (1, TOKENS, HEADS * WIDTH)))
    return b


def run(built: Builder, rules: list[dict[str, Any]], **options: Any) -> tuple[np.ndarray, set[str]]:
    """The heads' outputs [tokens, heads, width], and the forms that are told."""
    made = attnc.compile(built.model(), recipe=Recipe.of({"attention": rules}), **options)
    result = attnc.Session(made.program).run(built.feed, check=True)
    (output,) = result.outputs.values()
    return output.reshape(TOKENS, HEADS, WIDTH), set(made.facts.forms.values())


MIXTURE = {0: "taylor", 1: "taylor", 2: "window:3", 3: "topk:5", 5: "sima"}


@pytest.mark.parametrize("precision", ["model", "bf16"])
@pytest.mark.parametrize("groups", [6, 2])
def test_each_head_gives_what_its_form_gives(groups: int, precision: str) -> None:
    built = attention(groups)
    forms = dict.fromkeys([*MIXTURE.values(), "dense"])
    alone = {form: run(built, [{"match": "*", "form": form}], precision=precision)[0] for form in forms}
    rules = [
        {"match": "*", "form": form, "heads": [head for head, other in MIXTURE.items() if other == form]}
        for form in dict.fromkeys(MIXTURE.values())
    ]
    mixed, told = run(built, rules, precision=precision)
    for head in range(HEADS):
        expected = alone[MIXTURE.get(head, "dense")][:, head]
        assert difference(mixed[:, head], expected, 1e-5 if precision == "model" else 0.01) is None, head
    assert told == {"taylor; sima; window:3; topk:5; dense"} or groups != HEADS


def test_masks_and_draws_are_those_of_the_heads_numbers(tmp_path: Path) -> None:
    built = attention(6)
    bits = np.random.default_rng(1).random((HEADS, TOKENS, TOKENS)) < 0.2
    np.savez(tmp_path / "masks.npz", masks=bits)
    shown = {"match": "*", "form": "bitmap,random:1,size=4", "masks": str(tmp_path / "masks.npz")}
    alone, _ = run(built, [shown])
    mixed, _ = run(built, [{"match": "*", "form": "sima", "heads": [0, 3]}, shown])
    for head in (1, 2, 4, 5):
        assert difference(mixed[:, head], alone[:, head], 1e-5) is None


def test_a_head_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="has no head 6"):
        run(attention(6), [{"match": "*", "form": "sima", "heads": [6]}])
