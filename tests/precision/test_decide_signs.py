"""What becomes of the zero of ONNX's Sign where one bit takes its result."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

import attnc
from attnc.compiler.recipe import Recipe
from attnc.isa.errors import Fault, UsageError

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.choice([-0.5, 0.5], (24, 40)).astype(np.float32)
SHARED = "d = Sign (x)  y = MatMul (d, w)"


def model(body: str = SHARED, result: str = "float[5, 40] y") -> onnx.ModelProto:
    text = f"""<ir_version: 9, opset_import: ["" : 18]> g (float[5, 24] x) => ({result}) {{ {body} }}"""
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(numpy_helper.from_array(WEIGHT, "w"))
    return proto


def values(zeros: int) -> np.ndarray:
    x = RANDOM.normal(size=(5, 24)).astype(np.float32)
    x[3, 2 : 2 + zeros] = 0
    return x


def run(proto: onnx.ModelProto, x: np.ndarray, **options: str) -> np.ndarray:
    program = attnc.compile(proto, **options).program
    assert program is not None
    assert not program.unlowered
    result = attnc.Session(program).run({"x": x})
    assert [node.mode for node in result.report.nodes if node.macs] != ["f32"]
    return result.outputs["y"]


@pytest.mark.parametrize("sign", ["checked", "ternary", "assume-nonzero"])
def test_signs_without_a_zero_are_what_they_are(sign: str) -> None:
    x = values(0)
    np.testing.assert_array_equal(run(model(), x, sign=sign), np.sign(x) @ WEIGHT)


def test_a_zero_faults_naming_the_node_and_the_place() -> None:
    with pytest.raises(
        Fault, match=r"of node 'Sign_0.*': element \[0, 74\] is 0, .*--sign ternary.*--sign assume-nonzero"
    ):
        run(model(), values(1))


def test_a_nan_has_no_sign_either() -> None:
    x = values(0)
    x[0, 0] = np.nan
    with pytest.raises(Fault, match=r"element \[0, 0\] is nan"):
        run(model(), x)


def test_a_zero_is_kept_or_taken_for_one_where_that_is_asked_for() -> None:
    x = values(2)
    np.testing.assert_array_equal(run(model(), x, sign="ternary"), np.sign(x) @ WEIGHT)
    np.testing.assert_array_equal(run(model(), x, sign="assume-nonzero"), np.where(x >= 0, 1, -1) @ WEIGHT)
    np.testing.assert_array_equal(
        run(model(), x, recipe=Recipe.of({"few_bits": {"sign": "ternary"}})), np.sign(x) @ WEIGHT
    )


def test_a_sign_that_no_product_takes_as_bits_keeps_its_zero() -> None:
    x = values(2)
    proto = model("y = Sign (x)", "float[5, 24] y")
    np.testing.assert_array_equal(run(proto, x), np.sign(x))


def test_a_sign_that_a_sum_takes_too_stays_three_valued_there() -> None:
    x = values(0)
    proto = model("d = Sign (x)  e = MatMul (d, w)  f = ReduceMax <keepdims = 1> (d)  y = Add (e, f)")
    np.testing.assert_array_equal(run(proto, x), np.sign(x) @ WEIGHT + 1)


def test_weights_keep_their_zeros_whatever_is_asked_for() -> None:
    proto = model("v = Sign (w)  c = Less (x, zero)  d = Where (c, minus, one)  y = MatMul (d, v)")
    latent = WEIGHT.copy()
    latent[:3] = 0
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(latent, "w"))
    for name, value in (("zero", 0), ("one", 1), ("minus", -1)):
        proto.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    x = values(2)
    np.testing.assert_array_equal(run(proto, x), np.where(x < 0, -1, 1) @ np.sign(latent))


def test_another_word_is_an_error() -> None:
    with pytest.raises(UsageError, match="sign 'positive' is unknown"):
        attnc.compile(model(), sign="positive")
