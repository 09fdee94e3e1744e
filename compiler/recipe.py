"""Co-design recipes: what to change in a model on its way to the machine, as TOML or as command-line shorthand.

precision = "int8"              # model, fp16, bf16, int8, or one of few bits: int4, int2, ternary, binary, w1a8 to w1a1
residual = "bf16"               # what passes between kernels: int8, bf16, fp16 or fp32
detect_structure = true         # weights that obey an N:M of the machine's array are multiplied compressed

[few_bits]                      # every field of passes.few_bit_options.FewBitOptions
sign = "ternary"                # the zero of Sign: checked, ternary or assume-nonzero

[schedule]                      # measures of the schedule to leave out or to add
prefetch = false                # every field of passes.schedule_options.ScheduleOptions

[[tile]]                        # the first rule that matches a product decides
match = "encoder.*.ffn.up"
order = "bkij"                  # loops over batch b, rows i, columns j and depth k, outermost first
rows = 64                       # of a tile; columns and depth likewise

[[attention]]                   # the first rule that matches a head decides
match = "encoder.*.attention"   # likewise; query heads with `heads = [0, 2]`
form = "window:64,global:1"     # docs/attention-forms.md tells the forms

[[layer]]                       # the first rule that matches a layer decides
match = "encoder.*.ffn.*"       # a structural path (shown by `attnc check`), else a raw node name
precision = "bf16"

[[prune]]                       # the first rule that matches a product decides
match = "encoder.*.ffn.*"       # likewise
structure = "2:4"               # of four consecutive values along K the two of greatest magnitude stay; or threshold

[[sparsity]]                    # the first rule that matches a product or an attention decides
match = "encoder.*"             # likewise
threshold = 0.02                # what enters it and has no greater magnitude is zero, and is skipped

[[tokens]]                      # in the order of the layers; every field of passes.token_rules.TokenRule
before = "encoder.3"            # fewer tokens go on into this layer,
keep = 0.7                      # this share of the model's, chosen by what the class token attends to

[[heads]]                       # likewise, every field of passes.head_rules.HeadRule
before = "encoder.6"            # fewer attention heads from this layer on,
keep = 0.5                      # this share of the model's, those whose outputs were greatest in the layers before

[[pass]]                        # in their order
after = "graph"                 # a phase
run = "replace-gelu{slope=0.1}"  # as `attnc-opt -p` takes it: ours, or that of a package that extends attnc
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

from ..isa.errors import InputError, UsageError, one_of
from ..isa.frozen import frozen
from ..passes.attention_rules import AttentionRule
from ..passes.few_bit_options import NO_CHANGE, SIGNS, TERNARY, FewBitOptions
from ..passes.head_rules import HeadRule
from ..passes.precisions import PRECISIONS, UNTRAINED
from ..passes.schedule_options import EVERYTHING, ScheduleOptions
from ..passes.sparsity_rules import SparsityRule
from ..passes.structure_rules import PruneRule
from ..passes.tile_rules import TileRule
from ..passes.token_rules import TokenRule

Options = TypeVar("Options", ScheduleOptions, FewBitOptions)

RESIDUALS = ("int8", "bf16", "fp16", "fp32")

RULES = ("layer", "attention", "prune", "sparsity", "tile", "tokens", "heads", "pass")
KEYS = ("precision", "residual", "detect_structure", *RULES, "schedule", "few_bits")
"""What a recipe may say."""


@frozen
class LayerRule:
    """What a recipe says of the layers whose path or node name matches the shell pattern `match`."""

    match: str
    precision: str

    def __str__(self) -> str:
        return f"{self.match}={self.precision}"


@frozen
class PassRule:
    """A pass that runs behind the phase `after`; `run` is its name, with options as `attnc-opt` takes them."""

    after: str
    run: str


@frozen
class Recipe:
    """A parsed recipe; the empty one changes nothing. A `residual` of None is what goes with the precision."""

    precision: str = "model"
    residual: str | None = None
    layers: tuple[LayerRule, ...] = ()
    schedule: ScheduleOptions = EVERYTHING
    tiles: tuple[TileRule, ...] = ()
    few_bits: FewBitOptions = NO_CHANGE
    passes: tuple[PassRule, ...] = ()
    tokens: tuple[TokenRule, ...] = ()
    heads: tuple[HeadRule, ...] = ()
    attentions: tuple[AttentionRule, ...] = ()
    detect_structure: bool = False
    prunings: tuple[PruneRule, ...] = ()
    sparsities: tuple[SparsityRule, ...] = ()

    def __post_init__(self) -> None:
        one_of("precision", self.precision, PRECISIONS)
        if self.residual is not None:
            one_of("residual", self.residual, RESIDUALS)
        if self.residual == "int8" and self.precision != "int8":
            raise UsageError(
                f"residual 'int8' needs int8 products to share its scales, and the precision is {self.precision!r}",
                'add precision = "int8", or choose another residual',
            )
        for name, places in (("tokens", self.tokens), ("heads", self.heads)):
            named = [rule.before for rule in places]
            twice = next((before for before in named if named.count(before) > 1), None)
            if twice is not None:
                raise UsageError(f"two [[{name}]] rules are before {twice!r}", "one of them says how many are left")
        for layer in self.layers:
            one_of(f"precision of {layer.match!r}", layer.precision, PRECISIONS)
        one_of("sign", self.few_bits.sign, SIGNS)
        one_of("ternary", self.few_bits.ternary, TERNARY)

    @property
    def precisions(self) -> frozenset[str]:
        """Every precision that the recipe asks for."""
        return frozenset((self.precision, *(layer.precision for layer in self.layers)))

    @property
    def takes_ranges(self) -> bool:
        """Whether ranges found from samples change anything."""
        return bool({"int8", *UNTRAINED} & self.precisions)

    @property
    def takes_mean_maps(self) -> bool:
        """Whether forms of attention are made of what samples attend to."""
        return any(rule.form.calibrated for rule in self.attentions)

    @property
    def takes_calibration(self) -> bool:
        """Whether samples change anything."""
        return self.takes_ranges or self.takes_mean_maps

    @property
    def finds_structure(self) -> bool:
        """Whether weights are looked at for their structure."""
        return self.detect_structure or any(rule.structure is not None for rule in self.prunings)

    @property
    def few_bit_formats(self) -> tuple[str, ...]:
        """The formats of few bits asked for."""
        return tuple(name for name in UNTRAINED if name in self.precisions)

    @property
    def untrained(self) -> tuple[str, ...]:
        """What is asked for that models need to be trained in, for their answers to mean something."""
        structures = dict.fromkeys(rule.untrained for rule in self.prunings)
        return (*self.few_bit_formats, *structures)

    @staticmethod
    def read(path: Path, precision: str | None = None) -> Recipe:
        """The recipe in a TOML file, of another `precision` than it says if one is given. Raises InputError for a file
        that cannot be read or says something unknown."""
        try:
            with path.open("rb") as file:
                tables = tomllib.load(file)
        except OSError as error:
            raise InputError(str(path), f"cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(str(path), f"is not valid TOML: {error}") from None
        if precision is not None:
            tables["precision"] = precision
        try:
            return Recipe.of(_placed(tables, path.parent))
        except UsageError as error:
            raise InputError(str(path), str(error)) from None

    @staticmethod
    def of(tables: Mapping[str, Any]) -> Recipe:
        """The recipe that TOML tables (or a program file) describe. Raises UsageError for what is unknown."""
        entries = dict(tables)
        layers = entries.pop("layer", [])
        schedule = _options(ScheduleOptions, "schedule", entries.pop("schedule", {}))
        few_bits = _options(FewBitOptions, "few_bits", entries.pop("few_bits", {}))
        tiles = tuple(_tile(table) for table in _tables("tile", entries.pop("tile", [])))
        attentions = tuple(map(AttentionRule.of, _tables("attention", entries.pop("attention", []))))
        passes = tuple(_pass(table) for table in _tables("pass", entries.pop("pass", [])))
        tokens = tuple(TokenRule.of(table) for table in _tables("tokens", entries.pop("tokens", [])))
        heads = tuple(map(HeadRule.of, _tables("heads", entries.pop("heads", []))))
        prunings = tuple(map(PruneRule.of, _tables("prune", entries.pop("prune", []))))
        sparsities = tuple(map(SparsityRule.of, _tables("sparsity", entries.pop("sparsity", []))))
        detect_structure = entries.pop("detect_structure", False)
        if not isinstance(detect_structure, bool):
            raise UsageError("`detect_structure` is true or false")
        _known("recipe", tables, KEYS)
        rules: list[LayerRule] = []
        for layer in _tables("layer", layers):
            _known("[[layer]]", layer, ("match", "precision"))
            if not all(isinstance(layer.get(key), str) for key in ("match", "precision")):
                raise UsageError("each [[layer]] needs `match` and `precision`, both text")
            rules.append(LayerRule(layer["match"], layer["precision"]))
        if not all(isinstance(value, str) for value in entries.values()):
            raise UsageError("`precision` and `residual` are text")
        return Recipe(
            layers=tuple(rules),
            schedule=schedule,
            tiles=tiles,
            few_bits=few_bits,
            passes=passes,
            tokens=tokens,
            heads=heads,
            attentions=attentions,
            detect_structure=detect_structure,
            prunings=prunings,
            sparsities=sparsities,
            **entries,
        )

    def to_dict(self) -> dict[str, Any]:
        """The tables that `of` reads: what the program file records."""
        tables: dict[str, Any] = {"precision": self.precision}
        if self.residual is not None:
            tables["residual"] = self.residual
        if self.detect_structure:
            tables["detect_structure"] = True
        if self.layers:
            tables["layer"] = [{"match": layer.match, "precision": layer.precision} for layer in self.layers]
        if self.attentions:
            tables["attention"] = [rule.table for rule in self.attentions]
        if self.tiles:
            tables["tile"] = [{"match": rule.match, **rule.settings} for rule in self.tiles]
        if self.prunings:
            tables["prune"] = [rule.table for rule in self.prunings]
        if self.sparsities:
            tables["sparsity"] = [rule.table for rule in self.sparsities]
        if self.tokens:
            tables["tokens"] = [rule.to_dict() for rule in self.tokens]
        if self.heads:
            tables["heads"] = [rule.table for rule in self.heads]
        if self.passes:
            tables["pass"] = [{"after": rule.after, "run": rule.run} for rule in self.passes]
        if self.schedule != EVERYTHING:
            tables["schedule"] = asdict(self.schedule)
        if self.few_bits != NO_CHANGE:
            tables["few_bits"] = asdict(self.few_bits)
        return tables


def _placed(tables: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With the files that a recipe names looked for beside it."""
    for table in _tables("attention", tables.get("attention", [])):
        for key in ("masks", "constants"):
            if isinstance(table.get(key), str):
                table[key] = str(folder / table[key])
    return tables


def _tables(name: str, value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in cast("list[object]", value)):
        raise UsageError(f"`{name}` must be an array of tables, written [[{name}]]")
    return cast("list[dict[str, Any]]", value)


def _pass(table: dict[str, Any]) -> PassRule:
    _known("[[pass]]", table, ("after", "run"))
    if not all(isinstance(table.get(key), str) for key in ("after", "run")):
        raise UsageError("each [[pass]] needs `after` and `run`, both text")
    return PassRule(table["after"], table["run"])


def _tile(table: dict[str, Any]) -> TileRule:
    settings = dict(table)
    match = settings.pop("match", None)
    if not isinstance(match, str):
        raise UsageError("each [[tile]] needs `match`, a text")
    return TileRule.of(match, settings)


def _options(record: type[Options], name: str, table: object) -> Options:
    """The options of a table, each true or false, or a text where it is one unless said."""
    if not isinstance(table, dict):
        raise UsageError(f"`{name}` must be a table, written [{name}]")
    entries = cast("dict[str, Any]", table)
    defaults = asdict(record())
    _known(f"[{name}]", entries, tuple(defaults))
    for key, value in entries.items():
        if type(value) is not type(defaults[key]):
            wanted = "true or false" if isinstance(defaults[key], bool) else "a text"
            raise UsageError(f"{key!r} of [{name}] is {wanted}")
    return record(**entries)


def _known(where: str, table: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    unknown = sorted(set(table) - set(keys))
    if unknown:
        raise UsageError(f"{where} has no key {unknown[0]!r}", f"it knows {', '.join(keys)}")
