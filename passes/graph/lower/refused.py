"""Operators that nothing lowers, and why: what `check` says of their nodes."""

from __future__ import annotations

from collections.abc import Mapping

from ....dialects.onnx import OnnxOperation
from ....dialects.onnx_signatures import QONNX_DOMAINS
from ....isa.frozen import frozen
from ...refusal import RefusalError

_FIXED_SHAPES = "the shape of its result depends on values of the run, and shapes are fixed when compiling"
_BRANCH = "the machine has no branches: what runs cannot depend on values of the run"
_SEQUENCE = "values that are no tensors do not exist on the machine"
_TEXT = "texts do not exist on the machine"
_STEPS = "recurrent networks are outside the Transformers that this compiler is for"
_SCATTER = "writing to places that the run decides is not lowered yet"
_SAMPLING = "sampling at interpolated places is not lowered"
_RANDOM = "random numbers have no reference value"
_SPECTRUM = "spectral transforms are not lowered"
_TRAINING = "training is outside this compiler"
_SORT = "sorting by values of the run is not lowered yet"
_DETECTION = "detection post-processing depends on values of the run"

_REMEDIES: Mapping[str, str] = {
    _FIXED_SHAPES: "fix the shapes with --shape, or the inputs that it comes from with --constants, so that it folds",
    _BRANCH: "make the condition or trip count a constant, or unroll it when exporting",
    _SEQUENCE: "export with tensors (Split, Concat, Stack), or take pieces of a tensor split into equal ones",
    _TEXT: "tokenize outside the model",
    _STEPS: "use attention in its place",
    _SCATTER: "write the same with Where, Concat or a mask",
    _SAMPLING: "resample before the model, or use Conv with stride and Expand",
    _RANDOM: "feed the numbers as an input",
    _SPECTRUM: "compute the features before the model",
    _TRAINING: "export the model for inference",
    _SORT: "move it behind the model",
    _DETECTION: "move it behind the model",
}

REASONS: Mapping[str, str] = {
    "NonZero": _FIXED_SHAPES,
    "Unique": _FIXED_SHAPES,
    "Compress": _FIXED_SHAPES,
    "If": _BRANCH,
    "Loop": _BRANCH,
    "Scan": _BRANCH,
    "ConcatFromSequence": _SEQUENCE,
    "Optional": _SEQUENCE,
    "OptionalGetElement": _SEQUENCE,
    "OptionalHasElement": _SEQUENCE,
    "SequenceAt": _SEQUENCE,
    "SequenceConstruct": _SEQUENCE,
    "SequenceEmpty": _SEQUENCE,
    "SequenceErase": _SEQUENCE,
    "SequenceInsert": _SEQUENCE,
    "SequenceLength": _SEQUENCE,
    "SequenceMap": _SEQUENCE,
    "SplitToSequence": _SEQUENCE,
    "RegexFullMatch": _TEXT,
    "StringConcat": _TEXT,
    "StringNormalizer": _TEXT,
    "StringSplit": _TEXT,
    "TfIdfVectorizer": _TEXT,
    "GRU": _STEPS,
    "LSTM": _STEPS,
    "RNN": _STEPS,
    "TensorScatter": _SCATTER,
    "MaxUnpool": _SCATTER,
    "Col2Im": _SCATTER,
    "ConvTranspose": "transposed convolutions are not lowered yet",
    "DeformConv": _SAMPLING,
    "AffineGrid": _SAMPLING,
    "GridSample": _SAMPLING,
    "Resize": _SAMPLING,
    "RoiAlign": _SAMPLING,
    "MaxRoiPool": _SAMPLING,
    "Upsample": _SAMPLING,
    "Bernoulli": _RANDOM,
    "Multinomial": _RANDOM,
    "RandomNormal": _RANDOM,
    "RandomNormalLike": _RANDOM,
    "RandomUniform": _RANDOM,
    "RandomUniformLike": _RANDOM,
    "STFT": _SPECTRUM,
    "MelWeightMatrix": _SPECTRUM,
    "NegativeLogLikelihoodLoss": _TRAINING,
    "SoftmaxCrossEntropyLoss": _TRAINING,
    "TopK": _SORT,
    "NonMaxSuppression": _DETECTION,
    "ReverseSequence": "the order of elements depends on lengths of the run",
    "Det": "determinants are not lowered",
    "ImageDecoder": "decoding images is outside the machine",
}
"""Operators of the default domain and why they are refused."""


@frozen
class Group:
    """Operators refused together."""

    operators: tuple[str, ...]
    reason: str
    remedy: str


FLOAT_QUANT = Group(
    ("FloatQuant",),
    "quantization to floats of few bits has no format on the machine",
    "quantize to integers (Quant, BipolarQuant)",
)
"""Quantizers of QONNX, in whatever domain exporters write them."""

FOUR_BITS = Group(
    ("GatherBlockQuantized", "MatMulBnb4", "QMoE"),
    "tables of less than 8 bits are not lowered",
    "use MatMulNBits, DequantizeLinear in blocks, or 8 bits",
)
"""Operators of com.microsoft on weights packed two or more to a byte."""


def refusal_of(node: OnnxOperation) -> RefusalError:
    """Why a node whose operator has no rule is refused."""
    operator, _, form = node.operator.partition("-")
    if node.domain in QONNX_DOMAINS and operator in FLOAT_QUANT.operators:
        return RefusalError(FLOAT_QUANT.reason, FLOAT_QUANT.remedy)
    if node.domain == "com.microsoft" and operator in FOUR_BITS.operators:
        return RefusalError(FOUR_BITS.reason, FOUR_BITS.remedy)
    if node.domain:
        return RefusalError("no rule lowers this operator", "export it with operators of docs/operators.md")
    if form and operator not in REASONS:
        return RefusalError(
            f"its form of version {form} means something else than the newest one and could not be upgraded",
            "convert the model to a newer opset",
        )
    reason = REASONS.get(operator)
    if reason is None:
        return RefusalError("no rule lowers this operator", "export it with operators of docs/operators.md")
    return RefusalError(reason, remedy_of(reason))


def remedy_of(reason: str) -> str:
    """What helps against one of the reasons of `REASONS`."""
    return _REMEDIES.get(reason, "export the model without it")
