"""docs/recipes.md tells every key of a recipe, and nothing that a recipe does not know."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from attnc.compiler.recipe import RESIDUALS, LayerRule, PassRule, Recipe
from attnc.passes.attention_rules import KEYS
from attnc.passes.few_bit_options import FewBitOptions
from attnc.passes.precisions import PRECISIONS
from attnc.passes.schedule_options import ScheduleOptions
from attnc.passes.sparsity_rules import SparsityRule
from attnc.passes.structure_rules import PruneRule
from attnc.passes.tile_rules import TileChoice
from attnc.passes.token_rules import TokenRule

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()


def keys(heading: str) -> list[str]:
    """The first column of the table under a heading."""
    section = PAGE.partition(f"## {heading}")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def names(record: type) -> list[str]:
    return [field.name for field in fields(record)]


def table(options: type) -> str:
    """The rows of a table of options, from the sentences of the class itself."""
    told = " ".join((options.__doc__ or "").partition("\n\n")[2].split())
    starts = [(told.index(f"{name}: "), name) for name in names(options)]
    ends = [start for start, _ in sorted(starts)[1:]] + [len(told)]
    defaults = {field.name: field.default for field in fields(options)}
    rows = [
        f"| `{name}` | {shown(defaults[name])} | {told[start + len(name) + 2 : end].strip().removesuffix('.')} |"
        for (start, name), end in zip(sorted(starts), ends, strict=True)
    ]
    return "\n".join(rows)


def shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else f'`"{default}"`'


def test_options_are_told_as_they_tell_themselves() -> None:
    assert table(ScheduleOptions) in PAGE
    assert table(FewBitOptions) in PAGE


def test_every_key_is_told() -> None:
    assert keys("At the top") == ["precision", "residual", "detect_structure"]
    assert keys("[few_bits]") == names(FewBitOptions)
    assert keys("[[layer]]") == names(LayerRule)
    assert keys("[[pass]]") == names(PassRule)
    assert keys("[[tokens]]") == names(TokenRule)
    assert keys("[[attention]]") == list(KEYS)
    assert keys("[[prune]]") == names(PruneRule)
    assert keys("[[sparsity]]") == names(SparsityRule)
    assert keys("[[tile]]") == ["match", *names(TileChoice)]


def test_every_value_is_told() -> None:
    for values in (PRECISIONS, RESIDUALS):
        assert ", ".join(f'`"{value}"`' for value in values) in PAGE


def test_examples_are_recipes() -> None:
    for example in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL):
        Recipe.of(tomllib.loads(example))
