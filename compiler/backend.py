"""attnc as a backend of the onnx package: `onnx.backend.base.Backend` over the compiler and the simulator.

The module itself has the functions that the onnx package looks for in a backend:

```python
import attnc.backend

outputs = attnc.backend.prepare(model).run([input_ids, attention_mask])
```

A model is compiled at its first run, when the shapes of its inputs are known. Inputs that must be known when
compiling (extents, axes, starts, pads) are bound to the values of that run; another shape, or another value
of such an input, compiles the model again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import onnx
from onnx import helper
from onnx.backend.base import Backend, BackendRep

from ..dialects.constants import Array
from ..isa.errors import UsageError
from ..runtime.session import Session
from .on_demand import OnDemand


class SimulatorRep(BackendRep):
    """A model ready to run on the simulator; `options` are keyword arguments of `attnc.compile`."""

    def __init__(self, model: onnx.ModelProto, options: Mapping[str, Any]) -> None:
        self._model = OnDemand(model, options)
        self._names = tuple(value.name for value in self._model.inputs)

    @property
    def session(self) -> Session | None:
        """The compiled program of the last run, None before the first one."""
        return None if self._model.last is None else self._model.last.session

    @property
    def bound(self) -> tuple[str, ...]:
        """The inputs that the program of the last run takes as constants."""
        return () if self._model.last is None else tuple(self._model.last.constants)

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The model's outputs in its order, for inputs in its order or by name.

        `kwargs` go to `Session.run` (`check`, `strict`). Raises what `attnc.compile` and `Session.run` raise,
        and UsageError for another number of inputs.
        """
        given = self._given(inputs)
        compiled = self._model.compiled(given)
        fed = {name: given[name] for name in compiled.shapes}
        outputs = compiled.session.run(fed, mode="values", **kwargs).outputs
        return tuple(outputs[value.name] for value in self._model.outputs)

    def _given(self, inputs: Any) -> dict[str, Array]:
        if isinstance(inputs, Mapping):
            by_name = cast("Mapping[str, Any]", inputs)
            missing = [name for name in self._names if name not in by_name]
            if missing:
                raise UsageError(f"inputs are missing: {', '.join(missing)}")
            return {name: np.asarray(by_name[name]) for name in self._names}
        in_order = cast("Sequence[Any]", inputs) if isinstance(inputs, list | tuple) else [inputs]
        if len(in_order) != len(self._names):
            raise UsageError(
                f"{len(in_order)} inputs are given, and the model has {len(self._names)}: "
                + (", ".join(self._names) or "none")
            )
        return {name: np.asarray(array) for name, array in zip(self._names, in_order, strict=True)}


class SimulatorBackend(Backend):
    """The backend. Keyword arguments beside those of onnx go to `attnc.compile` (`machine`, `precision`)."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> SimulatorRep:
        """A model, checked by the onnx package, to be compiled at its first run.

        Raises UsageError for a device that is not there.
        """
        if not cls.supports_device(device):
            raise UsageError(f"there is no device {device}", "use CPU, on which the simulator runs")
        super().prepare(model, device)
        return SimulatorRep(model, kwargs)

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """Prepare a model and run it once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype[Any], tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Run one node, its inputs in its order; `opset_version` says of which opset it is."""
        version = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        names = [name for name in node.input if name]
        arrays = [np.asarray(array) for array in inputs if array is not None]
        if len(names) != len(arrays):
            raise UsageError(f"{len(arrays)} inputs are given, and the node has {len(names)}")
        given = dict(zip(names, arrays, strict=True))
        graph = helper.make_graph(
            [node],
            "node",
            [_value_info(name, array.dtype, array.shape) for name, array in given.items()],
            _results(node, outputs_info),
        )
        opsets = [helper.make_opsetid("", version)]
        if node.domain:
            opsets.append(helper.make_opsetid(node.domain, 1))
        return SimulatorRep(helper.make_model(graph, opset_imports=opsets), kwargs).run(given)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether a model can run on a device: the simulator runs on the CPU."""
        return device.partition(":")[0] == "CPU"


def _value_info(name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)


def _results(
    node: onnx.NodeProto, info: Sequence[tuple[np.dtype[Any], tuple[int, ...]]] | None
) -> list[onnx.ValueInfoProto]:
    names = [name for name in node.output if name]
    if info is None:
        return [helper.make_empty_tensor_value_info(name) for name in names]
    return [_value_info(name, np.dtype(dtype), shape) for name, (dtype, shape) in zip(names, info, strict=True)]


prepare = SimulatorBackend.prepare
run_model = SimulatorBackend.run_model
run_node = SimulatorBackend.run_node
supports_device = SimulatorBackend.supports_device
is_compatible = SimulatorBackend.is_compatible
