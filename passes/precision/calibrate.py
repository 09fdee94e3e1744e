"""Ranges of activations over calibration data, attached to the products and norms that read them.

The graph is run by its interpreter on each sample; the greatest magnitudes stand in the constant store and are named
on each reader (`lhs_range`, `rhs_range`, `q_range`, `k_range`, `input_range`: one for the tensor; `v_range`: one a
channel of each head). Formats of few bits need the mean magnitudes too (`lhs_mean` and so on).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from ...dialects import nn, sattn
from ...dialects.constants import Array, ConstantStore, RefAttr
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_float
from ...dialects.interpret.function import run_for
from ...dialects.onnx_interface import main_of
from ...isa.frozen import frozen
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


Axes: TypeAlias = tuple[int, ...] | None

THREADS = 2
"""So many samples run at a time: numpy's work needs no interpreter, but each sample's activations are alive."""


@frozen
class _Watch:
    """One operand to measure: where its range goes, and along which axes it is taken."""

    reader: Operation
    name: str
    axes: Axes


@frozen
class _Seen:
    """What a value was over some axes: the greatest magnitudes, and, if asked for, the sums of magnitudes, and of how
    many elements each."""

    largest: Array
    total: Array | None
    count: int

    def joined(self, other: _Seen) -> _Seen:
        """What both saw."""
        total = None if self.total is None or other.total is None else self.total + other.total
        return _Seen(np.maximum(self.largest, other.largest), total, self.count + other.count)


_Ranges: TypeAlias = dict[tuple[SSAValue, Axes], _Seen]


@dataclass
class Calibration:
    """Measures the float operands of a module's products and norms, sample by sample."""

    module: ModuleOp
    store: ConstantStore
    means: bool = False
    _watches: dict[SSAValue, list[_Watch]] = field(default_factory=dict[SSAValue, list[_Watch]], init=False)

    def __post_init__(self) -> None:
        for operation in self.module.walk():
            for value, name in zip(operation.operands, _NAMES.get(type(operation), ()), strict=False):
                if not isinstance(value.owner, nn.ConstantOp) and is_float(element_type(value)):
                    self._watches.setdefault(value, []).append(_Watch(operation, name, _AXES.get(name)))

    def measure(self, sample: Sequence[Array]) -> _Ranges:
        """The ranges that the module's operands take over one sample: arguments of @main."""
        ranges: _Ranges = {}

        def observe(operation: Operation, _: Sequence[Array], results: Sequence[Array]) -> None:
            for value, array in zip(operation.results, results, strict=True):
                self._see(value, array, ranges)

        for argument, array in zip(main_of(self.module).body.block.args, sample, strict=True):
            self._see(argument, array, ranges)
        run_for(self.module, sample, self.store, self._watches, observe)
        return ranges

    def measure_all(self, samples: Iterable[Sequence[Array]]) -> _Ranges:
        """The ranges over all samples, which are joined in their order."""
        from concurrent.futures import ThreadPoolExecutor

        for operation in self.module.walk():
            if isinstance(operation, nn.ConstantOp):
                # Made here once, and not by every thread that needs it.
                self.store.array(operation.data)
        ranges: _Ranges = {}
        with ThreadPoolExecutor(THREADS) as pool:
            for measured in pool.map(self.measure, samples):
                for place, seen in measured.items():
                    ranges[place] = ranges[place].joined(seen) if place in ranges else seen
        return ranges

    def attach(self, ranges: _Ranges) -> None:
        """Name every measured range on its reader."""
        for value, watches in self._watches.items():
            for watch in watches:
                seen = ranges.get((value, watch.axes))
                if seen is None:
                    continue
                key = self.store.anonymous(np.asarray(seen.largest, np.float32))
                watch.reader.attributes[watch.name] = RefAttr(key)
                if seen.total is not None:
                    key = self.store.anonymous((seen.total / max(seen.count, 1)).astype(np.float32))
                    watch.reader.attributes[mean_name(watch.name)] = RefAttr(key)

    def _see(self, value: SSAValue, array: Array, ranges: _Ranges) -> None:
        """Take a value of a run into account. NaN and infinities are left out of the range."""
        for watch in self._watches.get(value, ()):
            if (value, watch.axes) not in ranges:
                total = _total(array, watch.axes) if self.means else None
                count = 0 if total is None else array.size // max(total.size, 1)
                ranges[value, watch.axes] = _Seen(_greatest(array, watch.axes), total, count)


def mean_name(range_name: str) -> str:
    """The name of the mean magnitudes of the operand whose range is called `range_name`."""
    return range_name.removesuffix("_range") + "_mean"


def calibrate(
    module: ModuleOp, context: CompilerContext, samples: Iterable[Sequence[Array]], means: bool = False
) -> None:
    """Attach to every float product and norm of `module` the ranges its operands take over `samples` (arguments of
    @main), and their mean magnitudes if `means`."""
    calibration = Calibration(module, context.store, means)
    calibration.attach(calibration.measure_all(samples))


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


def _greatest(array: Array, axes: Axes) -> Array:
    """The greatest finite magnitudes over `axes`, which are kept (None: one of all), float32."""
    largest = _largest(array, axes)
    return largest if np.isfinite(largest).all() else _largest(np.where(np.isfinite(array), array, 0), axes)


def _total(array: Array, axes: Axes) -> Array:
    """The sums of finite magnitudes over `axes`, which are kept (None: one of all), float64."""
    size = np.abs(array.astype(np.float32))
    return np.where(np.isfinite(size), size, 0).sum(axis=axes, keepdims=axes is not None, dtype=np.float64)


def _largest(array: Array, axes: Axes) -> Array:
    """The greatest magnitudes, NaN where there is one."""
    kept = axes is not None
    highest, lowest = (reduce(array, axis=axes, keepdims=kept, initial=0) for reduce in (np.max, np.min))
    return np.maximum(highest, -lowest).astype(np.float32)
