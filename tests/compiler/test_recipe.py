"""Recipes: what a file may say, and what each wrong one is told."""

from pathlib import Path

import pytest

import attnc
from attnc.compiler.recipe import LayerRule, Recipe
from attnc.isa.errors import InputError, UsageError
from attnc.passes.attention_rules import AttentionRule
from attnc.passes.tile_rules import TileRule

WHOLE = """
precision = "int8"
residual = "fp32"

[[layer]]
match = "encoder.*.ffn.*"
precision = "bf16"

[[layer]]
match = "classifier"
precision = "model"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_everything_a_file_may_say(tmp_path: Path) -> None:
    recipe = Recipe.read(written(tmp_path, WHOLE))
    rules = (LayerRule("encoder.*.ffn.*", "bf16"), LayerRule("classifier", "model"))
    assert recipe == Recipe("int8", "fp32", rules)
    assert recipe.precisions == {"int8", "bf16", "model"}
    assert Recipe.of(recipe.to_dict()) == recipe
    assert Recipe.of({"few_bits": {"sign": "ternary"}}).to_dict()["few_bits"]["sign"] == "ternary"


def test_attention_rules_have_a_text_and_a_table(tmp_path: Path) -> None:
    text = "[[attention]]\nmatch = 'encoder.[01].*'\nform = 'bitmap,window:3'\nheads = [0, 2]\nmasks = 'm.npz'\n"
    recipe = Recipe.read(written(tmp_path, text))
    (rule,) = recipe.attentions
    assert rule.masks == str(tmp_path / "m.npz")
    assert AttentionRule.parse(str(rule)) == rule
    assert Recipe.of(recipe.to_dict()) == recipe
    with pytest.raises(UsageError, match="is no attention rule"):
        AttentionRule.parse("window:3")


def test_passes_run_behind_their_phase_and_are_recorded(path: Path, tmp_path: Path, shapes) -> None:
    text = "[[pass]]\nafter = 'graph'\nrun = 'merge-products{rows=1}'\n"
    recipe = Recipe.read(written(tmp_path, text.replace("{rows=1}", "")))
    made = attnc.compile(path, shapes=shapes, recipe=recipe)
    assert "graph/merge-products" in made.pass_seconds
    assert made.program is not None
    assert Recipe.of(made.program.recipe) == recipe
    for wrong, reason in (
        (text, "merge-products"),
        (text.replace("graph", "link"), "'link' is no phase; choose one of graph"),
        (text.replace("{rows=1}", "{"), "is not understood"),
        (text.replace("merge-products{rows=1}", "lower-onnx"), "run it on imported modules"),
        (text.replace("merge-products{rows=1}", "tile-kernels"), "lowered by it once"),
        ("[[pass]]\nrun = 'merge-products'\n", "needs `after` and `run`"),
    ):
        with pytest.raises((InputError, UsageError), match=reason):
            attnc.compile(path, shapes=shapes, recipe=Recipe.read(written(tmp_path, wrong)))


def test_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert Recipe.read(written(tmp_path, "")) == Recipe()
    assert Recipe().to_dict() == {"precision": "model"}


def test_a_precision_that_is_given_besides_overrides_the_file_before_it_is_checked(tmp_path: Path) -> None:
    path = written(tmp_path, "precision = 'bf16'\nresidual = 'int8'")
    assert Recipe.read(path, precision="int8") == Recipe("int8", "int8")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("precison = 'int8'", "recipe has no key 'precison'; it knows precision, residual, detect_structure, layer"),
        ("precision = 'int7'", "precision 'int7' is unknown; choose one of model, fp16, bf16, int8, int4"),
        ("precision = 8", "`precision` and `residual` are text"),
        ("residual = 'int4'", "residual 'int4' is unknown"),
        ("precision = 'bf16'\nresidual = 'int8'", "residual 'int8' needs int8 products"),
        ("layer = 3", "`layer` must be an array of tables"),
        ("layer = [3]", "`layer` must be an array of tables"),
        ("[layer]\nmatch = 'x'", "`layer` must be an array of tables"),
        ("[[layer]]\nmatch = 'x'", "each [[layer]] needs `match` and `precision`"),
        ("[[layer]]\nmatch = 1\nprecision = 'int8'", "each [[layer]] needs `match` and `precision`"),
        ("[[layer]]\nmatch = 'x'\nprecision = 'w1'", "precision of 'x' 'w1' is unknown"),
        ("[[layer]]\nmatch = 'x'\nprecision = 'int8'\nform = 'window'", "[[layer]] has no key 'form'"),
        ("tile = 3", "`tile` must be an array of tables"),
        ("[[tile]]\nrows = 3", "each [[tile]] needs `match`"),
        ("[[tile]]\nmatch = 'x'", "the tile rule for 'x' forces nothing"),
        ("[[tile]]\nmatch = 'x'\norder = 'ijk'", "'ijk' is no loop order"),
        ("[[tile]]\nmatch = 'x'\norder = 4", "`order` of [[tile]] is text"),
        ("[[tile]]\nmatch = 'x'\nrows = 0", "`rows` of [[tile]] is a number of 1 or more"),
        ("[[tile]]\nmatch = 'x'\nrows = 70000", "a tile cannot have 70000 rows"),
        ("[[tile]]\nmatch = 'x'\nheight = 3", "[[tile]] has no key 'height'"),
        ("[[attention]]\nmatch = 'x'", "each [[attention]] needs `match` and `form`"),
        ("[[attention]]\nmatch = 'x'\nform = 'wimdow:3'", "there is no attention form 'wimdow'; the forms are"),
        ("[[attention]]\nmatch = 'x'\nform = 'window:3'\nlayers = 4", "[[attention]] has no key 'layers'"),
        ("[[attention]]\nmatch = 'x'\nform = 'window:3'\nheads = ['a']", "`heads` of [[attention]] is a list"),
        ("[[attention]]\nmatch = 'x'\nform = 'bitmap'", "the attention rule for 'x' has no masks"),
        ("[[attention]]\nmatch = 'x'\nform = 'dense'\nmasks = 'm.npz'", "'x' has masks that no form takes"),
        ("[[attention]]\nmatch = 'x'\nform = 'dense'\nheads = []", "`heads` of [[attention]] is a list"),
        ("[[attention]]\nmatch = 'x'\nform = 'window:99999999999'", "is a whole number up to 2147483647"),
        ("heads = [{before = 'a', keep = 0.5}, {before = 'a', keep = 0.2}]", "two [[heads]] rules are before 'a'"),
        ("few_bits = 3", "`few_bits` must be a table, written [few_bits]"),
        ("[few_bits]\nsign = true", "'sign' of [few_bits] is a text"),
        ("[few_bits]\nsign = 'positive'", "sign 'positive' is unknown; choose one of checked, ternary, assume-nonzero"),
        ("precision = ", "is not valid TOML"),
        ("\x00", "is not valid TOML"),
    ],
)
def test_wrong_file_is_one_sentence(tmp_path: Path, text: str, reason: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as raised:
        Recipe.read(path)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert reason in message
    assert "\n" not in message


def test_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xff\xfe\x00precision")
    with pytest.raises(InputError, match="is not valid TOML"):
        Recipe.read(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            Recipe.read(path)


def test_recipe_made_in_python_is_checked_too() -> None:
    with pytest.raises(UsageError, match="precision 'fp8' is unknown"):
        Recipe("fp8")


def test_tile_rules_are_text_for_passes() -> None:
    rule = TileRule.of("encoder.*.ffn.up", {"order": "bkij", "rows": 64})
    assert str(rule) == "encoder.*.ffn.up=order=bkij,rows=64"
    assert TileRule.parse(str(rule)) == rule
    with pytest.raises(UsageError, match="is no tile rule"):
        TileRule.parse("encoder.*.ffn.up")
