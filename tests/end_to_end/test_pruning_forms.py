"""Attention that keeps scores by their values, compiled and run: values as the definition's, cycles by what is kept."""

from __future__ import annotations

import numpy as np
import pytest

import attnc
from attnc.dialects.interpret import function
from attnc.isa.errors import UsageError

from .against_runtime import difference
from .conftest import case
from .model_builder import Builder
from .test_attention_forms import attention

FORMS = ("topk:6", "topk:4,bits=4", "threshold:0.02", "sanger:0.02", "energon:0.2", "values:7")


def run(b: Builder, form: str | None, **options: object) -> tuple[np.ndarray, attnc.Result]:
    """The output and what else a run gives, races and memory checked."""
    made = attnc.compile(b.model(), attention=form, **options)
    result = attnc.Session(made.program).run(b.feed, check=True)
    return next(iter(result.outputs.values())), result


def defined(b: Builder, form: str, **options: object) -> np.ndarray:
    """The output that the form's definition gives."""
    made = attnc.compile(b.model(), attention=form, stop_after="attention", **options)
    return function.run(made.module, list(b.feed.values()), made.context.store)[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("queries", "keys"), [(45, 45), (1, 1), (1, 45), (70, 33)])
def test_programs_have_the_values_of_the_definition(form: str, queries: int, keys: int) -> None:
    built = attention(queries, keys, None)
    assert difference(run(built, form)[0], defined(built, form), 1e-5) is None


@pytest.mark.parametrize("form", FORMS)
def test_int8_too(form: str) -> None:
    built = attention(45, 45, None)
    got, expected = run(built, form, precision="int8")[0], defined(built, form, precision="int8")
    assert difference(got, expected, 1e-5) is None


@pytest.mark.parametrize("form", ["topk:45", "topk:45,bits=4", "values:45", "threshold:0", "sanger:0", "energon:-1"])
def test_what_keeps_all_is_dense(form: str) -> None:
    built = attention(45, 45, None)
    assert difference(run(built, form)[0], run(built, None)[0], 1e-5) is None


def core(tokens: int, width: int) -> Builder:
    """Attention of queries, keys and values that are inputs."""
    b = Builder(7, 17)
    q, k, v = (b.input(b.normal(1, 2, tokens, width)) for _ in range(3))
    scores = b("Mul", b("MatMul", q, b("Transpose", k, perm=[0, 1, 3, 2])), 2 * width**-0.5)
    b.output(b("MatMul", b("Softmax", scores, axis=-1), v))
    return b


def probabilities(b: Builder) -> np.ndarray:
    """What the softmax of `core` gives."""
    q, k, _ = (array.astype(np.float64) for array in b.feed.values())
    raw = np.exp(q @ k.swapaxes(-1, -2) * 2 / np.sqrt(q.shape[-1]))
    return raw / raw.sum(axis=-1, keepdims=True)


def array_cycles(result: attnc.Result, mnemonic: str) -> int:
    """Cycles that instructions of one kind take the array, without its fill."""
    assert result.measurement is not None
    measured = result.measurement
    rows = measured.program.table.groups[mnemonic].rows
    return int(measured.costs.busy[rows].sum())


def test_cycles_of_products_with_values_go_with_the_part_that_is_kept() -> None:
    built = core(128, 32)
    whole = array_cycles(run(built, "threshold:0")[1], "mx.masked")
    for least in (0.002, 0.006, 0.015):
        kept = float((probabilities(built) > least).mean())
        taken = array_cycles(run(built, f"threshold:{least}")[1], "mx.masked") / whole
        # A row of the mask is rounded up to whole rows of the array: 3 of their 4 elements at most are lost.
        assert kept <= taken <= kept + 3 / 128


def test_predictions_are_charged_beside_what_they_leave() -> None:
    built = core(128, 64)
    dense, all_kept, few = (run(built, form)[1].report.performance for form in (None, "sanger:0", "sanger:0.02"))
    assert all_kept.cycles > dense.cycles > few.cycles
    masked = {form: run(built, form)[1] for form in ("sanger:0", "sanger:0.02")}
    predicted = {form: array_cycles(result, "mx.product") for form, result in masked.items()}
    assert predicted["sanger:0"] == predicted["sanger:0.02"] > 0


def test_weights_whose_levels_the_model_fixes_are_refused_by_name() -> None:
    quantized = case("brevitas_w8a8_qcdq")
    with pytest.raises(UsageError, match="'topk:3' does not go with levels of probabilities that the model fixes"):
        attnc.compile(quantized.path, attention="topk:3")
