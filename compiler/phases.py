"""The phases of compilation, in order, and the passes of each: data made from a recipe."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.passes import ModulePass

from ..isa.errors import UsageError
from ..isa.frozen import frozen
from .recipe import Recipe

IMPORT = "import"
EMIT = "emit"
"""The first phase reads a file and the last writes one; between them every phase is passes over a module."""


@frozen
class Phase:
    """A named phase and what makes its passes."""

    name: str
    passes: Callable[[Recipe], tuple[ModulePass, ...]]


def _graph(recipe: Recipe) -> tuple[ModulePass, ...]:
    from ..passes.graph.lower.lower_onnx import LowerOnnx
    from ..passes.graph.pipeline import cleanup, recognition

    passes = (LowerOnnx(), *recognition(recipe.precision if recipe.detect_structure else None))
    if recipe.tokens:
        from ..passes.graph.keep_tokens import KeepTokens

        passes += (KeepTokens(tuple(map(str, recipe.tokens))), *cleanup())
    if recipe.heads:
        from ..passes.attention.split_products import SplitProducts
        from ..passes.graph.keep_heads import KeepHeads

        passes += (SplitProducts(), KeepHeads(tuple(map(str, recipe.heads))), *cleanup())
    if recipe.attentions:
        from ..passes.attention.pipeline import linear_attention

        passes += linear_attention(recipe.attentions)
    if recipe.prunings:
        from ..passes.graph.prune_weights import PruneWeights
        from ..passes.graph.remove_unused import RemoveUnused

        # Before ranges are calibrated: they are those of the pruned model.
        passes += (PruneWeights(tuple(map(str, recipe.prunings))), RemoveUnused())
    return passes


def _precision(recipe: Recipe) -> tuple[ModulePass, ...]:
    from ..passes.precision.pipeline import precision

    layers = tuple(map(str, recipe.layers))
    return precision(
        recipe.precision,
        recipe.residual,
        layers,
        recipe.few_bits,
        recipe.schedule.merge_products,
        recipe.finds_structure,
        tuple(map(str, recipe.sparsities)),
    )


def _attention(recipe: Recipe) -> tuple[ModulePass, ...]:
    from ..passes.attention.pipeline import attention

    return attention(recipe.attentions, recipe.schedule.order_tokens, recipe.schedule.fuse_attention)


def _tile(recipe: Recipe) -> tuple[ModulePass, ...]:
    from ..passes.tile.follow_counts import FollowCounts
    from ..passes.tile.tile import TileKernels

    kernels = TileKernels(**recipe.schedule.fields_of(TileKernels), tiles=tuple(map(str, recipe.tiles)))
    return (kernels, FollowCounts()) if recipe.tokens else (kernels,)


def _schedule(_: Recipe) -> tuple[ModulePass, ...]:
    from ..passes.schedule.lower_tile import LowerTile

    return (LowerTile(),)


PHASES = (
    Phase("graph", _graph),
    Phase("precision", _precision),
    Phase("attention", _attention),
    Phase("tile", _tile),
    Phase("schedule", _schedule),
)
PHASE_NAMES = (IMPORT, *(phase.name for phase in PHASES), EMIT)


def checked_phase(name: str) -> str:
    """The name itself. Raises UsageError for one that is no phase."""
    if name not in PHASE_NAMES:
        raise UsageError(f"there is no phase {name!r}", f"the phases are {', '.join(PHASE_NAMES)}")
    return name
