"""Ranges of activations over calibration data, attached to the products that will be quantized with them.

The graph is run by its interpreter on each sample; the greatest magnitudes stand in the constant store and
are named on each product (`lhs_range`, `q_range`, `k_range`: one for the tensor; `v_range`: one a channel of
each head).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from ...dialects import nn, sattn
from ...dialects.constants import Array, RefAttr
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_float
from ...dialects.interpret.function import run_for
from ...dialects.onnx_interface import main_of


@dataclass
class _Watch:
    """One operand to measure: where its range goes, and along which axes it is taken."""

    product: Operation
    name: str
    axes: tuple[int, ...] | None
    largest: Array | None = None


@dataclass
class Calibration:
    """Measures the operands of a module's float products, sample by sample."""

    module: ModuleOp
    _watches: dict[SSAValue, list[_Watch]] = field(default_factory=dict[SSAValue, list[_Watch]], init=False)

    def __post_init__(self) -> None:
        for operation in self.module.walk():
            if isinstance(operation, nn.MatmulOp) and is_float(element_type(operation.lhs)):
                self._watch(operation.lhs, operation, "lhs_range", None)
                self._watch(operation.rhs, operation, "rhs_range", None)
            elif isinstance(operation, sattn.AttentionOp) and is_float(element_type(operation.q)):
                self._watch(operation.q, operation, "q_range", None)
                self._watch(operation.k, operation, "k_range", None)
                self._watch(operation.v, operation, "v_range", (0, 2))

    def _watch(self, value: SSAValue, product: Operation, name: str, axes: tuple[int, ...] | None) -> None:
        if not isinstance(value.owner, nn.ConstantOp):
            self._watches.setdefault(value, []).append(_Watch(product, name, axes))

    def see(self, value: SSAValue, array: Array) -> None:
        """Take a value of a run into account. NaN and infinities are left out of the range."""
        for watch in self._watches.get(value, ()):
            largest = _largest(array, watch.axes)
            if not np.isfinite(largest).all():
                largest = _largest(np.where(np.isfinite(array), array, 0), watch.axes)
            watch.largest = largest if watch.largest is None else np.maximum(watch.largest, largest)

    def observe(self, operation: Operation, results: Sequence[Array]) -> None:
        """See every result of an operation that has run."""
        for value, array in zip(operation.results, results, strict=True):
            self.see(value, array)

    @property
    def watched(self) -> Iterable[SSAValue]:
        """The values that are measured."""
        return self._watches

    def attach(self, context: CompilerContext) -> None:
        """Name every measured range on its product."""
        for watches in self._watches.values():
            for watch in watches:
                if watch.largest is not None:
                    key = context.store.anonymous(np.asarray(watch.largest, np.float32))
                    watch.product.attributes[watch.name] = RefAttr(key)


def calibrate(module: ModuleOp, context: CompilerContext, samples: Iterable[Sequence[Array]]) -> None:
    """Attach to every float product of `module` the ranges its operands take over `samples` (arguments of
    @main)."""
    calibration = Calibration(module)
    for sample in samples:
        for argument, array in zip(main_of(module).body.block.args, sample, strict=True):
            calibration.see(argument, array)
        run_for(module, sample, context.store, calibration.watched, calibration.observe)
    calibration.attach(context)


def _largest(array: Array, axes: tuple[int, ...] | None) -> Array:
    """The greatest magnitudes over `axes`, which are kept (None: one of all), float32; NaN where there is one."""
    kept = axes is not None
    highest, lowest = (reduce(array, axis=axes, keepdims=kept, initial=0) for reduce in (np.max, np.min))
    return np.maximum(highest, -lowest).astype(np.float32)
