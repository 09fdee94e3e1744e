"""Every dialect and pass by name, loaded when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from xdsl.passes import ModulePass

from ..dialects.context import CompilerContext
from ..isa.errors import UsageError
from ..isa.extensions import PASSES as EXTENSION_GROUP
from ..isa.extensions import Extension, extensions

DIALECTS = {
    "bnn": "attnc.dialects.bnn:Bnn",
    "builtin": "xdsl.dialects.builtin:Builtin",
    "func": "xdsl.dialects.func:Func",
    "nn": "attnc.dialects.nn:Nn",
    "sattn": "attnc.dialects.sattn:Sattn",
    "tile": "attnc.dialects.tile:Tile",
}
"""Where each dialect is."""

MADE_DIALECTS = {
    "onnx": "attnc.dialects.onnx:load_onnx",
    "isa": "attnc.dialects.isa:load_isa",
}
"""Where the functions are that make dialects of the official schemas and of the instruction records."""

PASSES = {
    "bound-scores": "precision.bound_scores:BoundScores",
    "choose-forms": "attention.choose:ChooseForms",
    "decide-signs": "precision.decide_signs:DecideSigns",
    "detect-structure": "precision.detect_structure:DetectStructure",
    "drop-straight-through": "graph.recognize.straight_through:DropStraightThrough",
    "fold-constants": "graph.fold_constants:FoldConstants",
    "fold-norms": "precision.fold_norms:FoldNorms",
    "fold-softmaxes": "precision.fold_softmaxes:FoldSoftmaxes",
    "fold-thresholds": "precision.fold_thresholds:FoldThresholds",
    "follow-counts": "tile.follow_counts:FollowCounts",
    "integer-attention": "precision.integer_attention:IntegerAttention",
    "integer-products": "precision.integer_products:IntegerProducts",
    "keep-heads": "graph.keep_heads:KeepHeads",
    "keep-tokens": "graph.keep_tokens:KeepTokens",
    "lower-linear": "attention.linear:LowerLinear",
    "lower-onnx": "graph.lower.lower_onnx:LowerOnnx",
    "lower-tile": "schedule.lower_tile:LowerTile",
    "merge-butterflies": "graph.butterflies:MergeButterflies",
    "merge-duplicates": "graph.merge_duplicates:MergeDuplicates",
    "merge-products": "graph.merge_products:MergeProducts",
    "name-paths": "graph.paths:NamePaths",
    "narrow-products": "precision.narrow_floats:NarrowProducts",
    "narrow-residuals": "precision.residuals:NarrowResiduals",
    "narrow-tables": "precision.narrow_tables:NarrowTables",
    "order-tokens": "attention.order_tokens:OrderTokens",
    "pack-operands": "precision.pack_operands:PackOperands",
    "prune-activations": "precision.sparsify:PruneActivations",
    "prune-weights": "graph.prune_weights:PruneWeights",
    "quantize-products": "precision.quantize_products:QuantizeProducts",
    "quantize-residuals": "precision.residuals:QuantizeResiduals",
    "recognize-activations": "graph.recognize.activations:RecognizeActivations",
    "recognize-attention": "graph.recognize.attention:RecognizeAttention",
    "recognize-grouped-heads": "graph.recognize.grouped_heads:RecognizeGroupedHeads",
    "recognize-levels": "precision.recognize_levels:RecognizeLevels",
    "recognize-norms": "graph.recognize.normalization:RecognizeNorms",
    "recognize-patterns": "attention.recognize:RecognizePatterns",
    "recognize-softmax": "graph.recognize.softmax:RecognizeSoftmax",
    "remove-unused": "graph.remove_unused:RemoveUnused",
    "repeat-dequantization": "precision.repeat_dequantization:RepeatDequantization",
    "simplify-algebra": "graph.simplify_algebra:SimplifyAlgebra",
    "simplify-casts": "graph.simplify_casts:SimplifyCasts",
    "simplify-layout": "graph.simplify_layout:SimplifyLayout",
    "skip-zeros": "precision.sparsify:SkipZeros",
    "split-forms": "attention.split_forms:SplitForms",
    "split-keys": "attention.split_keys:SplitKeys",
    "split-products": "attention.split_products:SplitProducts",
    "split-rotary": "graph.recognize.rotary:SplitRotary",
    "split-ternary": "precision.split_ternary:SplitTernary",
    "tile-kernels": "tile.tile:TileKernels",
    "turn-operands": "attention.turn_operands:TurnOperands",
    "unfuse-attention": "attention.unfuse:UnfuseAttention",
}
"""Where each pass is, in the package of passes."""


def new_context() -> CompilerContext:
    """A context that can read the text of every phase."""
    context = CompilerContext()
    for name, place in DIALECTS.items():
        context.register_dialect(name, lambda place=place: _found(place))
    for name, place in MADE_DIALECTS.items():
        context.register_dialect(name, lambda place=place: _found(place)())
    return context


def further_passes() -> dict[str, Extension]:
    """The passes of packages that extend attnc, by name. Raises ExtensionError where one has a name of ours."""
    found = {extension.name: extension for extension in extensions(EXTENSION_GROUP)}
    for name in set(found) & set(PASSES):
        raise found[name].wrong("attnc has a pass of that name")
    return found


def pass_names() -> tuple[str, ...]:
    """The names of all passes, ours and those of packages that extend attnc."""
    return (*PASSES, *further_passes())


def pass_class(name: str) -> type[ModulePass]:
    """The class of the pass called `name`. Raises UsageError where there is none, ExtensionError for a package that
    cannot be loaded or gives something else."""
    extension = further_passes().get(name)
    if name in PASSES:
        return _found(f"attnc.passes.{PASSES[name]}")
    if extension is None:
        raise UsageError(f"there is no pass {name!r}", f"there are {', '.join(sorted(pass_names()))}")
    found = extension.load()
    if not (isinstance(found, type) and issubclass(found, ModulePass)):
        raise extension.wrong("is not a pass")
    if getattr(found, "name", None) != name:
        raise extension.wrong(f"is the pass {getattr(found, 'name', '?')!r}: name the entry point so")
    return found


def pass_loader(name: str) -> Callable[[], type[ModulePass]]:
    """What gives the class of the pass called `name`."""
    return lambda: pass_class(name)


def _found(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
