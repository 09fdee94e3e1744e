"""The passes that decide every tensor's number format, from what the recipe asks for."""

from __future__ import annotations

from xdsl.passes import ModulePass

from ..few_bit_options import NO_CHANGE, FewBitOptions
from ..graph.merge_products import MergeProducts
from ..graph.pipeline import cleanup
from ..graph.remove_unused import RemoveUnused
from .bound_scores import BoundScores
from .decide_signs import DecideSigns
from .detect_structure import DetectStructure
from .fold_norms import FoldNorms
from .fold_softmaxes import FoldSoftmaxes
from .fold_thresholds import FoldThresholds
from .integer_attention import IntegerAttention
from .integer_products import IntegerProducts
from .narrow_floats import NARROW, NarrowProducts
from .narrow_tables import NarrowTables
from .pack_operands import PackOperands
from .quantize_products import QUANTIZED, QuantizeProducts
from .recognize_levels import RecognizeLevels
from .repeat_dequantization import RepeatDequantization
from .residuals import NarrowResiduals, QuantizeResiduals
from .sparsify import PruneActivations, SkipZeros
from .split_ternary import SplitTernary


def precision(
    default: str,
    residual: str | None,
    layers: tuple[str, ...],
    few_bits: FewBitOptions = NO_CHANGE,
    merge_products: bool = False,
    detect_structure: bool = False,
    sparsity: tuple[str, ...] = (),
) -> tuple[ModulePass, ...]:
    """The model's own formats first; then those of a recipe: `default`, overridden by `layers` (`pattern=precision`).

    What passes between kernels is kept as `residual` (int8, bf16, fp16, fp32); None is bf16 with int8 and fewer bits,
    the default precision with bf16 and fp16, and the model's own otherwise.
    `few_bits` says how layers of few bits run. `merge_products` makes one product of those that share their left
    operand, once their formats are known. `detect_structure` finds weights with a structure, as they are then.
    `sparsity` are rules (`pattern=threshold`) of what counts as zero in front of products, which skip it.
    """
    asked = {default, *(rule.rpartition("=")[2] for rule in layers)}
    passes: list[ModulePass] = [RecognizeLevels(), RemoveUnused(), NarrowTables()]
    passes += (IntegerAttention(), IntegerProducts(), DecideSigns(few_bits.sign))
    stream = residual or ("bf16" if default in QUANTIZED else default)
    if stream == "int8":
        passes.append(QuantizeResiduals(default, layers))
    elif stream in NARROW:
        passes.append(NarrowResiduals(stream))
    if sparsity:
        passes.append(PruneActivations(sparsity, default, layers))
    if layers or default in NARROW:
        # Also where no rule asks for a narrow format: it refuses rules that match nothing.
        passes.append(NarrowProducts(default, layers))
    if asked.intersection(QUANTIZED):
        passes.append(QuantizeProducts(default, layers))
    passes += cleanup()
    if few_bits.thresholds:
        passes += (FoldThresholds(), RemoveUnused())
    if few_bits.norm_thresholds:
        passes += (FoldNorms(), RemoveUnused())
    if few_bits.softmax_thresholds:
        passes.append(FoldSoftmaxes())
    passes += (SplitTernary(few_bits.ternary), RemoveUnused())
    if merge_products:
        passes += (MergeProducts(), RemoveUnused())
    passes += (PackOperands(), RemoveUnused(), RepeatDequantization())
    if few_bits.bounded_scores:
        passes.append(BoundScores())
    if sparsity:
        passes.append(SkipZeros(sparsity))
    if detect_structure:
        passes.append(DetectStructure())
    return tuple(passes)
