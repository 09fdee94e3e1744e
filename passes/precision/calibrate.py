"""Ranges of activations over calibration data, attached to the products and norms that read them.

The graph is run by its interpreter on each sample; the greatest magnitudes stand in the constant store and are named
on each reader (`lhs_range`, `rhs_range`, `q_range`, `k_range`, `input_range`: one for the tensor; `v_range`: one a
channel of each head). Formats of few bits need the mean magnitudes too (`lhs_mean` and so on).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from ...dialects import nn, sattn
from ...dialects.constants import Array, ConstantStore, RefAttr
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_float
from ...dialects.interpret.function import run_for
from ...dialects.onnx_interface import main_of
from .retype import LAYOUT

NORMS = (nn.LayerNormOp, nn.RmsNormOp)
"""What normalizes its first operand."""

_NAMES: dict[type[Operation], tuple[str, ...]] = {
    nn.MatmulOp: ("lhs_range", "rhs_range"),
    sattn.AttentionOp: ("q_range", "k_range", "v_range"),
    nn.LayerNormOp: ("input_range",),
    nn.RmsNormOp: ("input_range",),
}
"""The ranges that an operation's first operands have."""

_AXES: dict[str, tuple[int, ...]] = {"v_range": (0, 2)}
"""The axes over which a range is taken where it is not one for the tensor."""


@dataclass
class _Watch:
    """One operand to measure: where its range goes, and along which axes it is taken."""

    reader: Operation
    name: str
    axes: tuple[int, ...] | None
    largest: Array | None = None
    total: Array | None = None
    count: int = 0


@dataclass
class Calibration:
    """Measures the float operands of a module's products and norms, sample by sample."""

    module: ModuleOp
    means: bool = False
    _watches: dict[SSAValue, list[_Watch]] = field(default_factory=dict[SSAValue, list[_Watch]], init=False)

    def __post_init__(self) -> None:
        for operation in self.module.walk():
            for value, name in zip(operation.operands, _NAMES.get(type(operation), ()), strict=False):
                if not isinstance(value.owner, nn.ConstantOp) and is_float(element_type(value)):
                    self._watches.setdefault(value, []).append(_Watch(operation, name, _AXES.get(name)))

    def see(self, value: SSAValue, array: Array) -> None:
        """Take a value of a run into account. NaN and infinities are left out of the range."""
        found: dict[tuple[int, ...] | None, Array] = {}
        for watch in self._watches.get(value, ()):
            if watch.axes not in found:
                found[watch.axes] = _greatest(array, watch.axes)
            largest = found[watch.axes]
            watch.largest = largest if watch.largest is None else np.maximum(watch.largest, largest)
            if self.means:
                total = _total(array, watch.axes)
                watch.total = total if watch.total is None else watch.total + total
                watch.count += array.size // max(total.size, 1)

    def observe(self, operation: Operation, results: Sequence[Array]) -> None:
        """See every result of an operation that has run."""
        for value, array in zip(operation.results, results, strict=True):
            self.see(value, array)

    @property
    def watched(self) -> Iterable[SSAValue]:
        """The values that are measured."""
        return self._watches

    def attach(self, context: CompilerContext) -> None:
        """Name every measured range on its reader."""
        for watches in self._watches.values():
            for watch in watches:
                if watch.largest is not None:
                    key = context.store.anonymous(np.asarray(watch.largest, np.float32))
                    watch.reader.attributes[watch.name] = RefAttr(key)
                if watch.total is not None:
                    key = context.store.anonymous((watch.total / max(watch.count, 1)).astype(np.float32))
                    watch.reader.attributes[mean_name(watch.name)] = RefAttr(key)


def mean_name(range_name: str) -> str:
    """The name of the mean magnitudes of the operand whose range is called `range_name`."""
    return range_name.removesuffix("_range") + "_mean"


def calibrate(
    module: ModuleOp, context: CompilerContext, samples: Iterable[Sequence[Array]], means: bool = False
) -> None:
    """Attach to every float product and norm of `module` the ranges its operands take over `samples` (arguments of
    @main), and their mean magnitudes if `means`."""
    calibration = Calibration(module, means)
    for sample in samples:
        for argument, array in zip(main_of(module).body.block.args, sample, strict=True):
            calibration.see(argument, array)
        run_for(module, sample, context.store, calibration.watched, calibration.observe)
    calibration.attach(context)


def known_range(value: SSAValue, store: ConstantStore) -> Array | None:
    """The greatest magnitude of a tensor where a reader of it, perhaps through layout, has it; None where none has."""
    for use in value.uses:
        user = use.operation
        name = _NAMES.get(type(user), ())[use.index : use.index + 1]
        if name and name[0] not in _AXES and name[0] in user.attributes:
            return store.array(user.attributes[name[0]])
        if isinstance(user, LAYOUT) and not isinstance(user, nn.SliceOp):
            found = known_range(user.results[0], store)
            if found is not None:
                return found
    return None


def _greatest(array: Array, axes: tuple[int, ...] | None) -> Array:
    """The greatest finite magnitudes over `axes`, which are kept (None: one of all), float32."""
    largest = _largest(array, axes)
    return largest if np.isfinite(largest).all() else _largest(np.where(np.isfinite(array), array, 0), axes)


def _total(array: Array, axes: tuple[int, ...] | None) -> Array:
    """The sums of finite magnitudes over `axes`, which are kept (None: one of all), float64."""
    size = np.abs(array.astype(np.float32))
    return np.where(np.isfinite(size), size, 0).sum(axis=axes, keepdims=axes is not None, dtype=np.float64)


def _largest(array: Array, axes: tuple[int, ...] | None) -> Array:
    """The greatest magnitudes, NaN where there is one."""
    kept = axes is not None
    highest, lowest = (reduce(array, axis=axes, keepdims=kept, initial=0) for reduce in (np.max, np.min))
    return np.maximum(highest, -lowest).astype(np.float32)
