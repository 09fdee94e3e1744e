"""ViTCoD's masks from calibration data, against ONNX Runtime with the masks as constants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import attnc
from attnc.compiler.recipe import Recipe
from attnc.dialects.forms.registry import Union
from attnc.dialects.tile import MaskedProductOp
from attnc.isa.errors import UsageError

from .against_runtime import difference, reference
from .model_builder import Builder
from .test_attention_forms import attention, compiled

SAMPLES = 3


def drawn(built: Builder) -> dict[str, np.ndarray]:
    """Calibration data: samples along the first axis."""
    rng = np.random.default_rng(11)
    return {name: rng.standard_normal((SAMPLES, *x.shape[1:])).astype(np.float32) for name, x in built.feed.items()}


def mean_maps(built: Builder, samples: dict[str, np.ndarray]) -> np.ndarray:
    """The mean of the model's softmax over samples, [heads, queries, keys], by ONNX Runtime."""
    model = built.model()
    (softmax,) = [node.output[0] for node in model.graph.node if node.op_type == "Softmax"]
    model.graph.output.append(onnx.helper.make_tensor_value_info(softmax, onnx.TensorProto.FLOAT, None))
    maps = [
        reference(model, {name: array[[sample]] for name, array in samples.items()})[softmax][0]
        for sample in range(SAMPLES)
    ]
    return np.mean(maps, axis=0)


@pytest.mark.parametrize("form", ["vitcod:0.6", "vitcod:sparsity=0.8", "vitcod:0.3,always=0,window:2"])
@pytest.mark.parametrize(("queries", "keys"), [(45, 45), (1, 1), (33, 70)])
def test_masks_are_those_of_the_mean_maps(form: str, queries: int, keys: int) -> None:
    if keys == 1 and "sparsity" in form:
        pytest.skip("of one key nothing can be removed")
    plain = attention(queries, keys, None)
    samples = drawn(plain)
    asked = Union.parse(form)
    shown = np.stack(asked.calibrated[0].masks(list(mean_maps(plain, samples))))[None]
    if len(asked.forms) > 1:
        shown |= np.abs(np.arange(queries)[:, None] + keys - queries - np.arange(keys)) <= 2
    masked = attention(queries, keys, shown)
    expected = next(iter(reference(masked.model(), masked.feed).values()))
    got, forms, _ = compiled(plain.model(), plain.feed, attention=form, calibrate=samples)
    assert difference(got, expected, 1e-5) is None
    assert forms == {str(asked.as_bits)}
    got, *_ = compiled(plain.model(), plain.feed, attention=form, calibrate=samples, precision="bf16")
    assert difference(got, expected, 0.03) is None


def test_single_heads_are_pruned_each_in_its_way() -> None:
    plain = attention(45, 45, None)
    samples = drawn(plain)
    maps = mean_maps(plain, samples)
    asked = {0: "vitcod:0.2", 2: "vitcod:0.7"}
    shown = np.ones((1, *maps.shape), np.bool_)
    for head, form in asked.items():
        shown[0, head] = Union.parse(form).calibrated[0].masks([maps[head]])[0]
    masked = attention(45, 45, shown)
    expected = next(iter(reference(masked.model(), masked.feed).values()))
    rules = [{"match": "*", "form": form, "heads": [head]} for head, form in asked.items()]
    got, forms, _ = compiled(plain.model(), plain.feed, recipe=Recipe.of({"attention": rules}), calibrate=samples)
    assert difference(got, expected, 1e-5) is None
    assert forms == {"bitmap; dense; bitmap"}


def test_of_a_scattered_rest_the_array_takes_what_is_shown(tmp_path: Path) -> None:
    bits = np.random.default_rng(2).random((3, 96, 96)) < 0.06
    bits[:, :, :8] = True
    np.savez(tmp_path / "masks.npz", masks=bits)
    rule = {"match": "*", "form": "bitmap", "masks": str(tmp_path / "masks.npz")}
    plain, masked = attention(96, 96, None), attention(96, 96, bits[None])
    expected = next(iter(reference(masked.model(), masked.feed).values()))
    got, _, cycles = compiled(plain.model(), plain.feed, recipe=Recipe.of({"attention": [rule]}))
    assert difference(got, expected, 1e-5) is None
    _, _, dense = compiled(plain.model(), plain.feed)
    assert cycles < 0.8 * dense
    tiled = attnc.compile(plain.model(), recipe=Recipe.of({"attention": [rule]}), stop_after="tile")
    products = [op for op in tiled.module.walk() if isinstance(op, MaskedProductOp)]
    assert len(products) >= 6
    assert all(op.counted is None for op in products)


def test_without_calibration_data_it_is_refused() -> None:
    with pytest.raises(UsageError, match=r"vitcod:theta=0.9' is made of the model's mean attention over samples"):
        attnc.compile(attention(9, 9, None).model(), attention="vitcod:0.9")


def test_a_sparsity_that_cannot_be_had_is_refused() -> None:
    built = attention(9, 9, None)
    with pytest.raises(UsageError, match="of the pairs can be removed"):
        attnc.compile(built.model(), attention="vitcod:sparsity=0.99", calibrate=drawn(built))
