"""Runs a model on the simulator and in ONNX Runtime without optimizations, and compares."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotInRuntimeError

import attnc

from .model_builder import Builder

TOLERANCE: Mapping[str, float] = {"float32": 2e-4, "float16": 2e-2, "bfloat16": 1e-1}
"""Greatest error allowed, of an output's greatest magnitude, by the model's float type."""


def reference(model: onnx.ModelProto, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of ONNX Runtime, unoptimized; where it cannot, of the onnx package's evaluator."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except NotInRuntimeError:
        # A type that ONNX Runtime lacks for an operator.
        outputs = ReferenceEvaluator(model).run(None, dict(feed))
    else:
        outputs = session.run(None, dict(feed))
    return dict(zip([item.name for item in model.graph.output], outputs, strict=True))


def simulated(model: onnx.ModelProto, feed: Mapping[str, np.ndarray], **options: Any) -> Mapping[str, np.ndarray]:
    """The outputs of the simulator, races and memory checked."""
    program = attnc.compile(model, **options).program
    assert program is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return attnc.Session(program).run(feed, check=True).outputs


def difference(given: np.ndarray, expected: np.ndarray, tolerance: float) -> str | None:
    """What tells two arrays apart beyond a tolerance (of the greatest finite magnitude); None if nothing."""
    if given.shape != expected.shape or given.dtype != expected.dtype:
        return f"{given.dtype}{given.shape} for {expected.dtype}{expected.shape}"
    if expected.dtype.kind in "biu":
        wrong = given != expected
        if wrong.any():
            return f"{int(wrong.sum())} of {wrong.size} differ, first {given[wrong][0]} for {expected[wrong][0]}"
        return None
    a, b = given.astype(np.float64), expected.astype(np.float64)
    if (np.isnan(a) != np.isnan(b)).any():
        return f"{int(np.isnan(a).sum())} NaN for {int(np.isnan(b).sum())} of {b.size}"
    finite = np.isfinite(b)
    if (a[~finite & ~np.isnan(b)] != b[~finite & ~np.isnan(b)]).any() or not np.isfinite(a[finite]).all():
        return "infinities differ"
    if not finite.any():
        return None
    error, most = np.abs(a - b)[finite].max(), np.abs(b[finite]).max()
    return f"error {error:.3g} of {most:.3g}" if error > tolerance * most else None


def mismatches(built: Builder, machines: tuple[str, ...] = ("edge",), tolerance: float | None = None) -> dict[str, str]:
    """What differs between simulator and reference, by machine and output; empty if nothing does."""
    model = built.model()
    expected = reference(model, built.feed)
    allowed = TOLERANCE[built.dtype.name] if tolerance is None else tolerance
    found: dict[str, str] = {}
    for machine in machines:
        outputs = simulated(model, built.feed, machine=machine)
        assert list(outputs) == list(expected)
        for name, wanted in expected.items():
            told = difference(outputs[name], wanted, allowed)
            if told is not None:
                found[f"{machine}:{name}"] = told
    return found
