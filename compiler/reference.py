"""Reference values: every node's output as ONNX Runtime computes it, without its optimizations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dialects.constants import Array
from ..isa.errors import InputError

if TYPE_CHECKING:
    import onnx


def reference_values(model: str | Path | bytes | onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor that a node of the main graph gives, by name, for one run of the model.

    ONNX Runtime with all optimizations off; where it refuses the model (a newer opset), the reference evaluator of the
    onnx package. Raises InputError where neither can run it.
    """
    import onnx

    proto = _loaded(model)
    names = [name for node in proto.graph.node for name in node.output if name]
    known = {item.name for item in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in known)
    try:
        return _by_runtime(proto, inputs, model)
    except RuntimeError as refused:
        try:
            return _by_evaluator(proto, inputs)
        except Exception as error:  # noqa: BLE001 (whatever a third party raises means the same: no reference)
            reason = str(refused).splitlines()[0]
            raise InputError("reference", f"neither reference can run the model: {reason}; {error}") from None


def _loaded(model: str | Path | bytes | onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    if isinstance(model, bytes):
        return onnx.load_model_from_string(model)
    if isinstance(model, str | Path):
        return onnx.load(str(model))
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _by_runtime(proto: onnx.ModelProto, inputs: Mapping[str, Array], _: object) -> dict[str, Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        outputs = session.run(None, dict(inputs))
    except Exception as error:  # noqa: BLE001 (onnxruntime's errors share no base class)
        raise RuntimeError(str(error)) from error
    names = [item.name for item in session.get_outputs()]
    return {name: np.asarray(array) for name, array in zip(names, outputs, strict=True) if array is not None}


def _by_evaluator(proto: onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Any]:
    from onnx.reference import ReferenceEvaluator

    names = [item.name for item in proto.graph.output]
    outputs = ReferenceEvaluator(proto).run(None, dict(inputs))
    return dict(zip(names, outputs, strict=True))
