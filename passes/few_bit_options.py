"""What a recipe may say of binary, ternary and few-bit layers: the zero of Sign, and which folds are done."""

from __future__ import annotations

from ..isa.frozen import frozen

TERNARY = ("auto", "whole", "bipolar", "unipolar")
SIGNS = ("checked", "ternary", "assume-nonzero")


@frozen
class FewBitOptions:
    """How layers of few bits run, as it is unless a recipe's `[few_bits]` table says otherwise.

    sign: what the zero of ONNX's Sign becomes where its result is an operand of an integer product. `"checked"`: the
    result is one bit, and an exact zero (or NaN) is a fault when the program runs. `"ternary"`: -1, 0 and 1.
    `"assume-nonzero"`: one bit, and a zero is taken for +1. thresholds: what
    stands between the integer sums of a product and one bit (scales, biases, norms, a comparison) is one comparison of
    the integers with a threshold for each column, exactly.
    bounded_scores: a softmax whose weights are quantized, and whose scores are known to be small, takes no maximum off
    its rows: as precise, one pass less.
    norm_thresholds: a LayerNorm that is compared with a threshold is not made: its argument is compared with mean +
    deviation * (threshold - bias) / scale. Reassociates floats: a value within rounding of a tie may fall to the other
    side. softmax_thresholds: a softmax that is compared with thresholds is not made: scores are compared with the
    logarithm of the row's sum plus that of the threshold. Reassociates floats likewise.
    ternary: whether a ternary matrix is multiplied as two planes of bits, exactly. `"auto"`: where the machine has a
    mode for bits and none for ternary values. `"whole"`: never. `"bipolar"`: as half the sum of two planes of -1 and 1;
    so is a matrix of two magnitudes, with a weight for each plane. `"unipolar"`: as what is positive less what is
    negative.
    """

    sign: str = "checked"
    thresholds: bool = True
    bounded_scores: bool = True
    norm_thresholds: bool = False
    softmax_thresholds: bool = False
    ternary: str = "auto"


NO_CHANGE = FewBitOptions()
"""What holds without a `[few_bits]` table."""
