"""Rules of a recipe: which product each one names, and what happens to those that name none."""

from fnmatch import fnmatchcase

import numpy as np
import pytest
from xdsl.dialects.builtin import StringAttr, bf16, f16, f32, i8

from attnc.dialects.elements import element_type
from attnc.isa.errors import UsageError
from attnc.passes.precision.layers import layer_precisions
from attnc.passes.precision.pipeline import precision

from .conftest import products

PATHS = ("encoder.0.ffn.up", "encoder.0.ffn.down", "encoder.1.ffn.up", "classifier")


@pytest.fixture
def layers(quantized):
    """Four products one after another, with paths; nodes are called node0, node1, ..."""
    graph = quantized(np.random.default_rng(0).normal(0, 1, (4, 8)).astype(np.float32))
    value = graph.inputs[0]
    for seed, path in enumerate(PATHS):
        weights = np.random.default_rng(seed + 1).normal(0, 1, (8, 8)).astype(np.float32)
        value = graph.matmul(value, graph.typed(weights))
        value.owner.attributes["path"] = StringAttr(path)
    graph.done(value)
    return graph


def formats(layers, default: str, *rules: str) -> list[str]:
    found = products(layers.apply(*precision(default, "fp32", rules)))
    names = {f32: "model", bf16: "bf16", f16: "fp16", i8: "int8"}
    return [names[element_type(product.lhs)] for product in found]


def test_default_goes_to_all(layers) -> None:
    assert formats(layers, "int8") == ["int8"] * 4


def test_first_rule_that_matches_decides(layers) -> None:
    rules = ("encoder.*.up=bf16", "encoder.*=fp16", "classifier=model")
    assert formats(layers, "int8", *rules) == ["bf16", "fp16", "bf16", "model"]


def test_rules_alone_change_what_they_name(layers) -> None:
    assert formats(layers, "model", "encoder.1.*=int8") == ["model", "model", "int8", "model"]


def test_node_names_come_second(layers) -> None:
    assert formats(layers, "model", "node3=int8") == ["model", "model", "model", "int8"]


def test_pattern_that_matches_paths_is_not_tried_on_nodes(layers) -> None:
    """`*e*r*` fits every node's name too (`nn.matmul` nodes are called node0 ...), but paths decide."""
    layers.block.last_op.operands[0].owner.attributes["path"] = StringAttr("head")
    assert not fnmatchcase("head", "*code*")
    assert formats(layers, "model", "*encode*=int8") == ["int8", "int8", "int8", "model"]


@pytest.mark.parametrize("asked", ["int8", "bf16", "model"])
@pytest.mark.parametrize("default", ["model", "fp16", "int8"])
def test_rule_that_names_nothing_is_an_error(layers, default: str, asked: str) -> None:
    rules = ("classifier=bf16", f"decoder.*={asked}", f"nobody={asked}")
    with pytest.raises(UsageError, match=r"'decoder\.\*', 'nobody' matches no product") as raised:
        layers.apply(*precision(default, None, rules))
    assert raised.value.exit_code == 2


def test_pattern_may_hold_an_equals_sign(layers) -> None:
    last = layers.block.last_op.operands[0].owner
    last.attributes["path"] = StringAttr("a=b")
    assert layer_precisions(layers.module, "model", ["a=b=int8"])[last] == "int8"
