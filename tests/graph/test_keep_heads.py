"""Heads pruned by recipe, against an encoder in numpy that leaves the same heads out."""

import itertools
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from encoders import Encoder, Graph, layers
from onnx import TensorProto, numpy_helper

import attnc
from attnc.compiler.recipe import Recipe
from attnc.isa.errors import UnsupportedError, UsageError
from attnc.passes.head_rules import HeadRule

SIZE = Encoder(layers=4, width=32, heads=4, tokens=19, hidden=48, pre_norm=True)
HEAD = SIZE.width // SIZE.heads


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """An encoder as a file, with its weights by name and an input."""
    graph = Graph(seed=5)
    graph.node("Identity", [layers(graph, "hidden", SIZE)], "answers")
    shape = [1, SIZE.tokens, SIZE.width]
    model = graph.model("encoder", ("hidden", TensorProto.FLOAT, shape), ("answers", TensorProto.FLOAT, shape))
    path = tmp_path_factory.mktemp("heads") / "encoder.onnx"
    onnx.save(model, path)
    weights = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    return path, weights, np.random.default_rng(0).normal(size=shape).astype(np.float32)


def softmax(x):
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def in_numpy(weights, x, kept):
    """The answers where so many heads are `kept` from a layer on, and the heads of each layer."""

    def linear(x, name):
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return centred / deviation * weights[f"{name}.scale"] + weights[f"{name}.bias"]

    def heads(x):
        return x.reshape(len(x), SIZE.heads, HEAD).transpose(1, 0, 2)

    erf = np.vectorize(math.erf)
    x, left, worth, chosen = x[0].astype(np.float64), np.arange(SIZE.heads), np.zeros(SIZE.heads), []
    for layer in range(SIZE.layers):
        if layer in kept:
            left = np.sort(sorted(left, key=lambda head: (-worth[head], head))[: kept[layer]])
        chosen.append(list(left))
        name = f"layer.{layer}.attention"
        normal = norm(x, f"{name}.norm")
        query, key, value = (heads(linear(normal, f"{name}.{part}"))[left] for part in ("query", "key", "value"))
        output = softmax(query @ key.swapaxes(1, 2) * HEAD**-0.5) @ value
        worth[left] += np.abs(output).sum((1, 2))
        joined = output.transpose(1, 0, 2).reshape(len(x), -1)
        rows = weights[f"{name}.out.weight"].reshape(SIZE.heads, HEAD, -1)[left].reshape(-1, SIZE.width)
        x = x + joined @ rows + weights[f"{name}.out.bias"]
        name = f"layer.{layer}.feed_forward"
        hidden = linear(norm(x, f"{name}.norm"), f"{name}.up")
        x = x + linear(hidden * (1 + erf(hidden / np.sqrt(2))) / 2, f"{name}.down")
    return x[None], chosen


def run(encoder, rules, **more):
    path, _, x = encoder
    recipe = Recipe.of({"heads": [{"before": f"encoder.{layer}", "keep": keep} for layer, keep in rules], **more})
    return attnc.Session(attnc.compile(path, recipe=recipe).program).run({"hidden": x}, check=True)


def test_layers_have_the_heads_that_are_kept(encoder):
    _, weights, x = encoder
    wanted, chosen = in_numpy(weights, x, {1: 3, 3: 1})
    assert [len(heads) for heads in chosen] == [4, 3, 3, 1]
    got = run(encoder, [(1, 0.75), (3, 0.25)]).outputs["answers"]
    np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=2e-4)


def test_other_inputs_keep_other_heads(encoder):
    path, weights, _ = encoder
    recipe = Recipe.of({"heads": [{"before": "encoder.1", "keep": 0.5}]})
    session = attnc.Session(attnc.compile(path, recipe=recipe).program)
    found = set()
    for seed in range(8):
        x = np.random.default_rng(seed).normal(size=(1, SIZE.tokens, SIZE.width)).astype(np.float32)
        wanted, chosen = in_numpy(weights, x, {1: 2})
        np.testing.assert_allclose(session.run({"hidden": x}).outputs["answers"], wanted, rtol=2e-4, atol=2e-4)
        found.add(tuple(map(int, chosen[1])))
    assert len(found) > 1


def test_to_keep_all_is_the_model(encoder):
    dense, all_heads = run(encoder, []), run(encoder, [(1, 1.0)])
    np.testing.assert_array_equal(all_heads.outputs["answers"], dense.outputs["answers"])
    assert all_heads.report.performance.cycles == dense.report.performance.cycles


@pytest.mark.parametrize(("precision", "tolerance"), [("int8", 0.05), ("bf16", 0.02), ("fp16", 0.004)])
def test_weights_are_gathered_in_the_format_of_their_products(encoder, precision, tolerance):
    _, weights, x = encoder
    wanted, _ = in_numpy(weights, x, {1: 2})
    dense, pruned = (run(encoder, rules, precision=precision) for rules in ([], [(1, 0.5)]))
    np.testing.assert_allclose(pruned.outputs["answers"], wanted, atol=tolerance * np.abs(wanted).max())
    assert pruned.report.performance.macs < dense.report.performance.macs


def test_tokens_and_heads_are_pruned_together(tmp_path):
    graph = Graph(seed=5)
    x = layers(graph, "hidden", SIZE)
    graph.node("Gather", [x, graph.constant("first", np.array(0, np.int64))], "answer", axis=1)
    given = ("hidden", TensorProto.FLOAT, [1, SIZE.tokens, SIZE.width])
    path = tmp_path / "encoder.onnx"
    onnx.save(graph.model("encoder", given, ("answer", TensorProto.FLOAT, [1, SIZE.width])), path)
    tables = {
        "tokens": [{"before": "encoder.2", "keep": 0.5, "by": "cascade"}],
        "heads": [{"before": "encoder.1", "keep": 0.5}],
        "attention": [{"match": "*", "form": "values:4"}],
    }
    x = np.random.default_rng(1).normal(size=(1, SIZE.tokens, SIZE.width)).astype(np.float32)
    made = attnc.compile(path, recipe=Recipe.of(tables), stop_after="attention")
    from attnc.dialects.interpret import function

    wanted = function.run(made.module, [x], made.context.store)[0]
    got = attnc.Session(attnc.compile(path, recipe=Recipe.of(tables)).program).run({"hidden": x}, check=True)
    np.testing.assert_allclose(got.outputs["answer"], wanted, rtol=2e-4, atol=2e-4)


def test_shares_are_of_the_models_heads():
    assert [HeadRule("x", keep).kept(12) for keep in (1.0, 0.75, 0.5, 0.01)] == [12, 9, 6, 1]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"before": "encoder.9", "keep": 0.5}, "matches no layer"),
        ({"before": "encoder.1", "keep": 0}, "a share above 0"),
        ({"before": "encoder.1", "keep": 0.5, "by": "luck"}, "has no key 'by'"),
        ({"before": "encoder.1"}, "needs `before`"),
    ],
)
def test_rules_that_say_nothing_possible_are_refused(encoder, table, reason):
    with pytest.raises(UsageError, match=reason):
        attnc.compile(encoder[0], recipe=Recipe.of({"heads": [table]}))


def test_a_first_layer_has_no_heads_to_choose_by(encoder):
    with pytest.raises(UnsupportedError, match=r"heads 'encoder\.0': no attention precedes this layer"):
        run(encoder, [(0, 0.5)])


def test_queries_keys_and_values_may_be_one_product(tmp_path):
    # GPT-2: to prune heads is to multiply what they give by zeros.
    model = Path(__file__).parents[1] / "models" / "gpt2_dynamo"
    with np.load(model.with_suffix(".npz")) as archive:
        inputs = {name.removeprefix("in."): archive[name] for name in archive.files if name.startswith("in.")}

    def answer(path, **more):
        return attnc.Session(attnc.compile(path, **more).program).run(inputs).outputs["output"]

    recipe = Recipe.of({"heads": [{"before": "decoder.1", "keep": 0.5}]})
    pruned, found = answer(model.with_suffix(".onnx"), recipe=recipe), []
    graph = onnx.load(model.with_suffix(".onnx"))
    (weight,) = (item for item in graph.graph.initializer if item.name.endswith("h.1.attn.c_proj.weight"))
    whole = numpy_helper.to_array(weight)
    for kept in itertools.combinations(range(4), 2):
        rows = np.isin(np.arange(len(whole)) * 4 // len(whole), kept)
        weight.CopyFrom(numpy_helper.from_array(np.where(rows[:, None], whole, 0), weight.name))
        onnx.save(graph, tmp_path / "zeros.onnx")
        found.append(np.abs(answer(tmp_path / "zeros.onnx") - pruned).max() / np.abs(pruned).max())
    assert min(found) < 1e-5
    assert sorted(found)[1] > 1e-3
