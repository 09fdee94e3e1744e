"""Attention whose rows see nothing: what each spelling of the mask gives is what ONNX Runtime unoptimized gives."""

import numpy as np
import pytest

import attnc
from attnc.compiler.recipe import Recipe
from attnc.isa.errors import Fault
from attnc.passes.schedule_options import ScheduleOptions

from .against_runtime import difference, mismatches
from .model_builder import Builder, Value
from .random_transformers import LOWEST

FILLS = {"infinite": float("-inf"), "lowest": LOWEST, "thousand": -1000.0}

SPELLINGS = ("added", "where", "where not", "complement")

GUARDS = ("none", "before values", "behind values")


def attention(spelling: str, fill: float, guard: str, precision: type = np.float32) -> Builder:
    """Two heads over five keys; the second query of the first batch and all of the second batch see nothing."""
    b = Builder(3, 17, precision)
    q, k, v = (b.input(b.normal(2, 2, rows, 8)) for rows in (7, 5, 5))
    kept = b.rng.random((2, 1, 7, 5)) < 0.6
    kept[..., 0] = True
    kept[0, 0, 1] = False
    kept[1] = False
    scores = b("Div", b("MatMul", q, b("Transpose", k, perm=[0, 1, 3, 2])), 8.0**0.5)
    weights = b("Softmax", masked(b, scores, kept, spelling, fill), axis=-1)
    if guard == "before values":
        weights = b("Where", b("IsNaN", weights), 0.0, weights)
    made = b("MatMul", weights, v)
    if guard == "behind values":
        made = b("Where", b("IsNaN", made), 0.0, made)
    b.output(b("Transpose", made, perm=[0, 2, 1, 3]))
    return b


def masked(b: Builder, scores: Value, kept: np.ndarray, spelling: str, fill: float) -> Value:
    """Scores with their mask, in one of its spellings."""
    if spelling == "complement":
        given = b.input(kept.astype(np.int64))
        return b("Add", scores, b("Mul", b("Sub", 1.0, b("Cast", given, to=1)), fill))
    keep = b.input(kept)
    if spelling == "added":
        return b("Add", scores, b("Where", keep, 0.0, fill))
    if spelling == "where":
        return b("Where", keep, scores, fill)
    return b("Where", b("Not", keep), fill, scores)


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_rows_that_see_nothing_give_what_their_spelling_says(spelling: str, fill: str, guard: str) -> None:
    # Zero times infinity is NaN in every row that sees anything: nobody writes that.
    if spelling == "complement" and fill == "infinite":
        fill = "lowest"
    assert not mismatches(attention(spelling, FILLS[fill], guard), ("edge", "tiny"))


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("keys", [5, 9])
def test_causal_rows_before_the_first_key_see_nothing(fill: str, keys: int) -> None:
    b = Builder(4, 17)
    q, k, v = (b.input(b.normal(1, 2, rows, 8)) for rows in (9, keys, keys))
    seen = b.constant(np.tril(np.ones((9, keys), np.bool_), -3))
    scores = b("MatMul", q, b("Transpose", k, perm=[0, 1, 3, 2]))
    b.output(b("MatMul", b("Softmax", b("Where", seen, scores, FILLS[fill]), axis=-1), v))
    assert not mismatches(b, ("edge", "tiny"))


def test_a_mask_cast_to_bool_is_true_wherever_it_is_not_zero() -> None:
    b = Builder(3, 17)
    mask = b.input(np.array([[0, 1, -3, 2, 256]], np.int64))
    scores = b("Where", b("Cast", mask, to=9), b.input(b.normal(4, 5)), LOWEST)
    b.output(b("Softmax", scores, axis=-1))
    assert not mismatches(b, ("edge",))


def test_a_mask_taken_from_one_is_zeros_and_ones() -> None:
    b = Builder(3, 17)
    mask = b.input(np.array([[0, 1, 2, 1, 1]], np.int64))
    b.output(b("Add", b.input(b.normal(4, 5)), b("Mul", b("Sub", 1.0, b("Cast", mask, to=1)), LOWEST)))
    with pytest.raises(Fault, match=r"at .* is 2, valid is 0 or 1"):
        mismatches(b, ("edge",))


@pytest.mark.parametrize("precision", ["model", "bf16", "int8"])
@pytest.mark.parametrize("spelling", ["added", "complement"])
def test_an_attention_written_out_has_the_values_of_the_fused_one(spelling: str, precision: str) -> None:
    built = attention(spelling, LOWEST, "behind values")
    results = []
    for fused in (True, False):
        recipe = Recipe(precision=precision, schedule=ScheduleOptions(fuse_attention=fused))
        made = attnc.compile(built.model(), recipe=recipe)
        results.append(next(iter(attnc.Session(made.program).run(built.feed, check=True).outputs.values())))
    assert difference(results[1], results[0], 1e-5) is None
