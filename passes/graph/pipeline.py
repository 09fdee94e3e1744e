"""The passes that make the graph level out of lowered operations, in order."""

from __future__ import annotations

from xdsl.passes import ModulePass

from .butterflies import MergeButterflies
from .fold_constants import FoldConstants
from .merge_duplicates import MergeDuplicates
from .paths import NamePaths
from .recognize.activations import RecognizeActivations
from .recognize.attention import RecognizeAttention
from .recognize.grouped_heads import RecognizeGroupedHeads
from .recognize.normalization import RecognizeNorms
from .recognize.rotary import SplitRotary
from .recognize.softmax import RecognizeSoftmax
from .recognize.straight_through import DropStraightThrough
from .remove_unused import RemoveUnused
from .simplify_algebra import SimplifyAlgebra
from .simplify_casts import SimplifyCasts
from .simplify_layout import SimplifyLayout


def cleanup() -> tuple[ModulePass, ...]:
    """Exact simplifications, in an order in which each finds what the ones before leave."""
    return (
        SimplifyLayout(),
        # Before folding, which would widen the narrow weights of products that can be narrow.
        SimplifyCasts(),
        FoldConstants(),
        SimplifyAlgebra(),
        MergeDuplicates(),
        RemoveUnused(),
    )


def recognition(butterflies: str | None = None) -> tuple[ModulePass, ...]:
    """From lowered operations to the recognised graph with structural paths. Chains of butterfly stages are merged to
    products of the precision `butterflies`, where one is given."""
    merged = () if butterflies is None else (MergeButterflies(butterflies), *cleanup())
    return (
        *cleanup(),
        DropStraightThrough(),
        RecognizeActivations(),
        RecognizeNorms(),
        RecognizeSoftmax(),
        *cleanup(),
        SplitRotary(),
        RecognizeAttention(),
        *cleanup(),
        RecognizeGroupedHeads(),
        *cleanup(),
        *merged,
        NamePaths(),
    )
