"""Token pruning by recipe, against an encoder in numpy that drops the same tokens."""

import math

import numpy as np
import onnx
import pytest
from encoders import Encoder, Graph, layers
from onnx import TensorProto, numpy_helper

import attnc
from attnc.compiler.recipe import Recipe
from attnc.dialects.interpret import function
from attnc.isa.errors import InputError, UnsupportedError, UsageError
from attnc.passes.token_rules import TokenRule

SIZE = Encoder(layers=3, width=32, heads=2, tokens=21, hidden=48, pre_norm=True)
HEAD = SIZE.width // SIZE.heads


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """An encoder whose answer is its first token, as a file, with its weights by name."""
    graph = Graph(seed=3)
    x = layers(graph, "hidden", SIZE)
    graph.constant("first", np.array(0, np.int64))
    graph.node("Gather", [x, "first"], "answer", axis=1)
    given = ("hidden", TensorProto.FLOAT, [1, SIZE.tokens, SIZE.width])
    model = graph.model("encoder", given, ("answer", TensorProto.FLOAT, [1, SIZE.width]))
    path = tmp_path_factory.mktemp("tokens") / "encoder.onnx"
    onnx.save(model, path)
    weights = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    return path, weights, np.random.default_rng(0).normal(size=(1, SIZE.tokens, SIZE.width)).astype(np.float32)


def softmax(x):
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def in_numpy(weights, x, rules, mask=0, restored=False, told=None):
    """The answer where `rules` say by layer: how many tokens go on at most, the measure, whether there is a package,
    and perhaps the threshold. `mask` is added to the scores of each key. `restored`: of all tokens, those that are
    dropped as they were. How many go on is appended to `told`."""

    def linear(x, name):
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        return (
            centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weights[f"{name}.scale"]
            + weights[f"{name}.bias"]
        )

    def heads(x):
        return x.reshape(len(x), SIZE.heads, HEAD).transpose(1, 0, 2)

    erf = np.vectorize(math.erf)
    steps = []
    x, attended, cascade = x[0].astype(np.float64), None, np.zeros(x.shape[1])
    for layer in range(SIZE.layers):
        if layer in rules:
            kept, by, package, threshold = (*rules[layer], 0)[:4]
            worth = {"class": attended, "norm": (x**2).sum(-1), "cascade": cascade}[by]
            best = sorted(range(1, len(x)), key=lambda token: (-worth[token], token))[: kept - 1]
            best = [token for token in best if worth[token] >= threshold * worth.mean()]
            told = [] if told is None else told
            told.append(1 + len(best))
            chosen = [0, *sorted(best)]
            dropped = [token for token in range(len(x)) if token not in chosen]
            steps.append((x.copy(), chosen))
            cascade, mask = cascade[chosen], mask[chosen] if np.ndim(mask) else mask
            mean = (worth[dropped, None] * x[dropped]).sum(0) / worth[dropped].sum()
            x = np.concatenate([x[chosen], mean[None]]) if package else x[chosen]
        name = f"layer.{layer}.attention"
        normal = norm(x, f"{name}.norm")
        query, key, value = (heads(linear(normal, f"{name}.{part}")) for part in ("query", "key", "value"))
        probabilities = softmax(query @ key.swapaxes(1, 2) * HEAD**-0.5 + mask)
        attended = probabilities[:, 0].mean(0)
        cascade = np.append(cascade, np.zeros(len(x) - len(cascade))) + probabilities.sum((0, 1))
        x = x + linear((probabilities @ value).transpose(1, 0, 2).reshape(len(x), -1), f"{name}.out")
        name = f"layer.{layer}.feed_forward"
        hidden = linear(norm(x, f"{name}.norm"), f"{name}.up")
        x = x + linear(hidden * (1 + erf(hidden / np.sqrt(2))) / 2, f"{name}.down")
    if not restored:
        return x[:1]
    for before, chosen in reversed(steps):
        before[chosen] = x
        x = before
    return x[None]


@pytest.mark.parametrize("by", ["class", "norm"])
@pytest.mark.parametrize("package", [False, True])
def test_layers_see_the_tokens_that_are_kept(encoder, by, package):
    path, weights, x = encoder
    tables = [
        {"before": "encoder.1", "keep": 0.5, "by": by, "package": package},
        {"before": "encoder.2", "keep": 0.2, "by": by, "package": package},
    ]
    program = attnc.compile(path, recipe=Recipe.of({"tokens": tables})).program
    result = attnc.Session(program).run({"hidden": x}, check=True)
    wanted = in_numpy(weights, x, {1: (11, by, package), 2: (5, by, package)})
    np.testing.assert_allclose(result.outputs["answer"], wanted, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("first", ["class", "norm", "cascade"])
def test_importance_is_carried_over_layers(encoder, first):
    path, weights, x = encoder
    tables = [
        {"before": "encoder.1", "keep": 0.5, "by": first},
        {"before": "encoder.2", "keep": 0.2, "by": "cascade"},
    ]
    program = attnc.compile(path, recipe=Recipe.of({"tokens": tables})).program
    result = attnc.Session(program).run({"hidden": x}, check=True)
    wanted = in_numpy(weights, x, {1: (11, first, False), 2: (5, "cascade", False)})
    np.testing.assert_allclose(result.outputs["answer"], wanted, rtol=2e-4, atol=2e-4)


def test_importance_is_summed_over_heads_of_different_forms(encoder):
    path, weights, x = encoder
    tables = {
        "tokens": [{"before": "encoder.1", "keep": 0.5, "by": "cascade"}],
        # Forms that keep all: the values are those of dense attention.
        "attention": [
            {"match": "*", "form": "topk:21", "heads": [0]},
            {"match": "*", "form": "values:21", "heads": [1]},
        ],
    }
    result = attnc.Session(attnc.compile(path, recipe=Recipe.of(tables)).program).run({"hidden": x})
    wanted = in_numpy(weights, x, {1: (11, "cascade", False)})
    np.testing.assert_allclose(result.outputs["answer"], wanted, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("by", ["class", "cascade"])
def test_to_keep_all_changes_nothing(encoder, by):
    path, weights, x = encoder
    recipe = Recipe.of({"tokens": [{"before": "encoder.1", "keep": 1.0, "by": by}]})
    result = attnc.Session(attnc.compile(path, recipe=recipe).program).run({"hidden": x})
    np.testing.assert_allclose(result.outputs["answer"], in_numpy(weights, x, {}), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("by", ["class", "cascade"])
def test_masks_of_keys_go_with_the_tokens_they_show(tmp_path, by):
    graph = Graph(seed=3)
    x = layers(graph, "hidden", SIZE, "mask")
    graph.node("Gather", [x, graph.constant("first", np.array(0, np.int64))], "answer", axis=1)
    shape = [1, SIZE.tokens, SIZE.width]
    model = graph.model("encoder", ("hidden", TensorProto.FLOAT, shape), ("answer", TensorProto.FLOAT, [1, SIZE.width]))
    model.graph.input.append(onnx.helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1, 1, SIZE.tokens]))
    onnx.save(model, tmp_path / "encoder.onnx")
    weights = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    mask = np.where(np.arange(SIZE.tokens) < 15, 0, -1e9).astype(np.float32)[None, None, None]
    tables = [{"before": f"encoder.{layer}", "keep": keep, "by": by} for layer, keep in ((1, 0.5), (2, 0.2))]
    program = attnc.compile(tmp_path / "encoder.onnx", recipe=Recipe.of({"tokens": tables})).program
    result = attnc.Session(program).run({"hidden": x, "mask": mask}, check=True)
    wanted = in_numpy(weights, x, {1: (11, by, False), 2: (5, by, False)}, mask[0, 0, 0])
    np.testing.assert_allclose(result.outputs["answer"], wanted, rtol=2e-4, atol=2e-4)


def test_shares_are_of_the_models_tokens():
    # DynamicViT at 0.7 of 196 patches: 137, 96 and 67, beside the class token.
    assert [TokenRule("x", 0.7**stage).kept(197) - 1 for stage in (1, 2, 3)] == [137, 96, 67]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"before": "encoder.9", "keep": 0.5}, "matches no layer"),
        ({"before": "encoder.1", "keep": 0}, "a share above 0"),
        ({"before": "encoder.1", "keep": 0.5, "by": "luck"}, "one of class, norm, cascade"),
        ({"before": "encoder.1", "keep": 0.5, "often": 1}, "has no key 'often'"),
        ({"before": "encoder.1"}, "needs `keep`"),
        ({"before": "encoder.1", "keep": 0.5, "by": "cascade", "package": True}, "drops tokens"),
        ({"before": "encoder.1", "keep": 0.5, "always": 0}, "keeps at least one"),
        ({"before": "encoder.1", "keep": 0.5, "threshold": -1}, "a number of 0 or more"),
        ({"before": "encoder.1", "keep": 0.5, "threshold": 1, "by": "norm", "always": 0}, "may drop every token"),
        ({"before": "encoder.1", "keep": 0.5, "threshold": 1, "package": True}, "a fixed number of tokens"),
    ],
)
def test_rules_that_say_nothing_possible_are_refused(encoder, table, reason):
    with pytest.raises(UsageError, match=reason):
        attnc.compile(encoder[0], recipe=Recipe.of({"tokens": [table]}))


def test_a_threshold_alone_may_keep_all():
    assert TokenRule.of({"before": "encoder.1", "threshold": 0.5}).keep == 1.0


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """An encoder that answers for every token."""
    graph = Graph(seed=3)
    graph.node("Identity", [layers(graph, "hidden", SIZE)], "answers")
    shape = [1, SIZE.tokens, SIZE.width]
    path = tmp_path_factory.mktemp("answers") / "answers.onnx"
    onnx.save(graph.model("encoder", ("hidden", TensorProto.FLOAT, shape), ("answers", TensorProto.FLOAT, shape)), path)
    return path


@pytest.mark.parametrize("by", ["norm", "cascade"])
def test_tokens_that_are_dropped_can_answer_as_they_were(answers, encoder, by):
    _, weights, x = encoder
    tables = [
        {"before": f"encoder.{layer}", "keep": keep, "by": by, "restore": True} for layer, keep in ((1, 0.5), (2, 0.2))
    ]
    program = attnc.compile(answers, recipe=Recipe.of({"tokens": tables})).program
    wanted = in_numpy(weights, x, {1: (11, by, False), 2: (5, by, False)}, restored=True)
    got = attnc.Session(program).run({"hidden": x}, check=True).outputs["answers"]
    np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=2e-4)


def thresholds(by, first=0.9, second=0.9, **more):
    return [
        {"before": f"encoder.{layer}", "keep": keep, "by": by, "threshold": least, **more}
        for layer, keep, least in ((1, 0.8, first), (2, 0.5, second))
    ]


@pytest.mark.parametrize("by", ["class", "norm", "cascade"])
def test_a_threshold_lets_the_run_find_how_many_go_on(encoder, by):
    path, weights, x = encoder
    program = attnc.compile(path, recipe=Recipe.of({"tokens": thresholds(by)})).program
    counts, session = set(), attnc.Session(program)
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=x.shape).astype(np.float32)
        result = session.run({"hidden": x}, check=True)
        got = result.outputs["answer"]
        wanted = in_numpy(weights, x, {1: (17, by, False, 0.9), 2: (11, by, False, 0.9)}, told=(told := []))
        counts.add(tuple(told))
        np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=2e-4)
        assert [(row.of, row.least, row.greatest) for row in result.report.chosen] == [
            (before, went, went) for before, went in zip((SIZE.tokens, told[0]), told, strict=True)
        ]
    assert len(counts) > 1


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("by", ["class", "norm", "cascade"])
def test_int8_counts_nothing_behind_the_tokens_that_are_there(encoder, by, calibrated):
    path, _, x = encoder
    # What is quantized of a bf16 residual may or may not be rounded to bf16 before, as it is fused.
    options = {"recipe": Recipe.of({"tokens": thresholds(by), "precision": "int8", "residual": "fp32"})}
    options |= {"calibrate": {"hidden": x}} if calibrated else {}
    defined = attnc.compile(path, stop_after="attention", **options)
    (wanted,) = function.run(defined.module, [x], defined.context.store)
    got = attnc.Session(attnc.compile(path, **options).program).run({"hidden": x}, check=True).outputs["answer"]
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_a_threshold_that_all_reach_is_the_fixed_number_to_the_bit(encoder):
    path, _, x = encoder
    fixed = [{key: value for key, value in table.items() if key != "threshold"} for table in thresholds("norm")]
    wanted, got = (
        attnc.Session(attnc.compile(path, recipe=Recipe.of({"tokens": tables})).program).run({"hidden": x}, check=True)
        for tables in (fixed, thresholds("norm", 1e-9, 1e-9))
    )
    np.testing.assert_array_equal(got.outputs["answer"], wanted.outputs["answer"])


def test_a_fixed_number_behind_a_threshold_is_the_most(encoder):
    path, weights, x = encoder
    tables = [thresholds("norm")[0], {"before": "encoder.2", "keep": 0.2, "by": "class"}]
    program = attnc.compile(path, recipe=Recipe.of({"tokens": tables})).program
    got = attnc.Session(program).run({"hidden": x}, check=True).outputs["answer"]
    wanted = in_numpy(weights, x, {1: (17, "norm", False, 0.9), 2: (5, "class", False)})
    np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=2e-4)


def test_tokens_dropped_by_a_threshold_can_answer_as_they_were(answers, encoder):
    _, weights, x = encoder
    tables = thresholds("norm", restore=True)
    program = attnc.compile(answers, recipe=Recipe.of({"tokens": tables})).program
    got = attnc.Session(program).run({"hidden": x}, check=True).outputs["answers"]
    wanted = in_numpy(weights, x, {1: (17, "norm", False, 0.9), 2: (11, "norm", False, 0.9)}, restored=True)
    np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"attention": [{"match": "*", "form": "topk:4"}]}, "number of tokens is found by the run"),
        ({"attention": [{"match": "encoder.2", "form": "sima"}]}, "number of tokens that the run finds"),
    ],
)
def test_forms_of_attention_do_not_go_with_a_threshold(encoder, more, reason):
    with pytest.raises(UsageError, match=reason):
        attnc.compile(encoder[0], recipe=Recipe.of({"tokens": thresholds("norm"), **more}))


def test_a_mean_over_tokens_that_the_run_counts_is_refused_by_name(encoder):
    recipe = Recipe.of({"tokens": thresholds("norm"), "precision": "ternary"})
    with pytest.raises(UnsupportedError, match=r"tokens 'encoder\.1\..*a mean over tokens whose number the run finds"):
        attnc.compile(encoder[0], recipe=recipe)


def test_timing_of_a_threshold_needs_inputs(encoder):
    program = attnc.compile(encoder[0], recipe=Recipe.of({"tokens": thresholds("norm")})).program
    with pytest.raises(InputError, match="none given"):
        attnc.Session(program).run(None, mode="timing")


def test_a_model_that_answers_for_every_token_is_refused_by_name(answers):
    with pytest.raises(UnsupportedError, match=r"tokens 'encoder\.1': an output of the model has all tokens"):
        attnc.compile(answers, recipe=Recipe.of({"tokens": [{"before": "encoder.1", "keep": 0.5}]}))
