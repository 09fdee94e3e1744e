"""Reference values: every node's output as ONNX Runtime computes it, without its optimizations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dialects.constants import Array
from ..isa.errors import InputError

if TYPE_CHECKING:
    import onnx

NUMBERS = "biuf"
"""Kinds of numpy dtypes that are compared; what is no tensor of these (sequences, text) is left out."""


def reference_values(model: str | Path | bytes | onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor of numbers that a node of the main graph gives, by name, for one run of the model.

    ONNX Runtime with all optimizations off; where it refuses the model (a newer operator set, the quantizers of QONNX),
    the reference evaluator of the onnx package. Raises InputError where neither can run it.
    """
    proto = _loaded(model)
    names = list(dict.fromkeys(name for node in proto.graph.node for name in node.output if name))
    _ask_for(proto, names)
    try:
        values = _by_runtime(proto, names, inputs)
    except Exception as refused:
        values = _by_evaluator(proto, names, inputs, refused)
    arrays: dict[str, Array] = {name: np.asarray(value) for name, value in values.items() if hasattr(value, "dtype")}
    return {name: array for name, array in arrays.items() if array.dtype.kind in NUMBERS}


def _loaded(model: str | Path | bytes | onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    if isinstance(model, bytes):
        return onnx.load_model_from_string(model)
    if isinstance(model, str | Path):
        # Annotated in part only.
        load: Any = import_module("onnx").load
        return load(str(model))
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _ask_for(proto: onnx.ModelProto, names: Sequence[str]) -> None:
    """Make graph outputs of the values that are none yet."""
    import onnx

    known = {item.name for item in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)


def _by_runtime(proto: onnx.ModelProto, names: Sequence[str], inputs: Mapping[str, Array]) -> dict[str, Any]:
    # It has no annotations.
    onnxruntime: Any = import_module("onnxruntime")
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(list(names), dict(inputs)), strict=True))


def _by_evaluator(
    proto: onnx.ModelProto, names: Sequence[str], inputs: Mapping[str, Array], refused: Exception
) -> dict[str, Any]:
    from onnx.reference import ReferenceEvaluator

    from .qonnx_reference import quantizers

    try:
        evaluator: Any = ReferenceEvaluator(proto, new_ops=quantizers())
        return dict(zip(names, evaluator.run(list(names), dict(inputs)), strict=True))
    except Exception as error:
        reasons = f"ONNX Runtime says {_first_line(refused)}, the onnx package says {_first_line(error)}"
        raise InputError("reference", f"nothing here can run the model: {reasons}") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
