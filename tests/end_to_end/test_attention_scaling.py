"""Cycles and bytes follow the work that forms leave: the laws of docs/attention-scaling.md, on small models."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from attention_scaling import BLOCKS, FOUR_HEADS, STRUCTURES, TWO_HEADS, WINDOW, Bench, exponent, form, product_model
from attention_scaling import tokens as dynamic_tokens
from encoders import build


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


SLOW = pytest.mark.slow
SPANS = [
    ("model", (512, 2048)),
    pytest.param("model", (512, 8192), marks=SLOW),
    pytest.param("int8", (512, 8192), marks=SLOW),
]


@pytest.mark.parametrize(("precision", "span"), SPANS)
def test_a_window_is_linear_in_tokens(bench: Bench, precision: str, span: tuple[int, ...]) -> None:
    paths = [bench.path(partial(build, replace(TWO_HEADS, tokens=count))) for count in span]
    cores = [float(bench.run(path, precision=precision, **form(WINDOW)).core) for path in paths]
    assert 0.9 < exponent(span, cores) < 1.1


@pytest.mark.parametrize("precision", ["model", pytest.param("int8", marks=SLOW)])
def test_attention_of_a_tenth_of_the_blocks_is_five_times_as_fast(bench: Bench, precision: str) -> None:
    path = bench.path(partial(build, FOUR_HEADS))
    dense = bench.run(path, precision=precision)
    for text in BLOCKS:
        sparse = bench.run(path, precision=precision, **form(text))
        assert dense.core > 5 * sparse.core
        # What the rest of the layer takes bounds what it gains.
        assert dense.cycles - sparse.cycles < 1.05 * dense.core


@pytest.mark.parametrize("precision", ["model", "int8"])
def test_structured_weights_take_their_part_of_the_array(bench: Bench, precision: str) -> None:
    path = bench.path(partial(product_model, 64, 512))
    whole = bench.run(path, "edge-structured", precision=precision).array
    for text in STRUCTURES:
        kept, group = map(int, text.split(":"))
        prune = [{"match": "*", "structure": text}]
        assert bench.run(path, "edge-structured", precision=precision, prune=prune).array * group == whole * kept


@SLOW
def test_tokens_shrink_as_dynamicvit_has_them(bench: Bench) -> None:
    assert [row["patches"] for row in dynamic_tokens(bench)] == [196, 137, 96, 67]


@pytest.mark.parametrize("precision", ["model", "bf16"])
def test_fused_attention_stores_no_scores(bench: Bench, precision: str) -> None:
    path = bench.path(partial(build, replace(FOUR_HEADS, tokens=256)))
    fused, unfused = (
        bench.run(path, precision=precision, schedule={"fuse_attention": fuse}).dram_bytes for fuse in (True, False)
    )
    assert unfused - fused > 2 * 4 * 256**2 * (4 if precision == "model" else 2)
