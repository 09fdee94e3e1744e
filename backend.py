"""attnc as a backend of the onnx package: `attnc.backend.prepare(model).run(inputs)`."""

from .compiler.backend import (
    SimulatorBackend,
    SimulatorRep,
    is_compatible,
    prepare,
    run_model,
    run_node,
    supports_device,
)

__all__ = [
    "SimulatorBackend",
    "SimulatorRep",
    "is_compatible",
    "prepare",
    "run_model",
    "run_node",
    "supports_device",
]
