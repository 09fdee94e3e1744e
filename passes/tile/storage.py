"""The buffers of a tile program: inputs and outputs first, then weights, temporaries and resident tensors when used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Block, Operation, SSAValue

from ...dialects import nn
from ...dialects.constants import Array, ConstantStore, derived_key
from ...dialects.elements import element_type, format_of, is_packed, shape_of
from ...dialects.tile import AllocOp, BufferType, KernelOp, TensorOp
from ...isa.formats import narrow
from .view import View


def stored_key(store: ConstantStore, constant: nn.ConstantOp) -> str:
    """The key of a constant's elements as they lie in memory: of a packed type, of its bytes."""
    key = constant.reference or store.anonymous(np.asarray(store.array(constant.data)))
    element = element_type(constant.result)
    if not is_packed(element):
        return key
    form, shape = format_of(element), shape_of(constant.result)

    def packed(values: Array) -> Array:
        # Fields drop what is above their bits: two's complement. Of a bipolar bit, 1 is 1 and -1 is 0.
        return narrow(values > 0 if form.kind == "bool" else values.astype(np.int32), form)

    name = derived_key("packed", key, format=form)
    shape = (*shape[:-1], form.run_bytes(shape[-1]))
    return store.derive(name, packed, key, shape=shape, dtype=form.dtype)


class Buffers(dict[SSAValue, SSAValue]):
    """Storage root to buffer. A buffer is made when it is first asked for, before the kernel that is being built."""

    def __init__(
        self, block: Block, store: ConstantStore, residents: set[SSAValue], views: Mapping[SSAValue, View]
    ) -> None:
        super().__init__()
        self._views = views
        self._block = block
        self._store = store
        self._residents = residents
        self._labels: dict[str, int] = {}
        self._heirs: dict[SSAValue, SSAValue] = {}
        self.kernel: KernelOp | None = None

    def bequeath(self, old: SSAValue, new: SSAValue) -> None:
        """Let root `new`, which has no buffer yet, lie in the buffer of root `old`."""
        self._heirs[new] = old

    def __missing__(self, root: SSAValue) -> SSAValue:
        if root in self._heirs:
            self[root] = self[self._heirs[root]]
            return self[root]
        op = self._make(root)
        if self.kernel is None:
            self._block.add_op(op)
        else:
            self._block.insert_op_before(op, self.kernel)
        self[root] = op.result
        return op.result

    def declare(self, root: SSAValue, label: str, role: str, shape: tuple[int, ...]) -> None:
        """Make the tensor of an input or an output; an input's root need not be read by anything."""
        op = TensorOp(label, role, BufferType("dram", shape, format_of(element_type(root))))
        self._labels[label] = 1
        self._block.add_op(op)
        self[root] = op.result

    def _make(self, root: SSAValue) -> TensorOp | AllocOp:
        form, shape = format_of(element_type(root)), shape_of(root)
        if root in self._residents:
            return AllocOp(BufferType("sram", self._as_it_lies(root), form))
        owner = root.owner
        if isinstance(owner, nn.ConstantOp):
            key = stored_key(self._store, owner)
            return TensorOp(key, "weight", BufferType("dram", shape, form), key)
        return TensorOp(self._label(owner), "temporary", BufferType("dram", self._as_it_lies(root), form))

    def _as_it_lies(self, root: SSAValue) -> tuple[int, ...]:
        """The shape of a root with the axes in the order in which its storage has them."""
        view = self._views.get(root)
        if view is None or is_packed(element_type(root)):
            return shape_of(root)
        return tuple(view.shape[axis] for axis in sorted(range(len(view.shape)), key=lambda axis: -view.strides[axis]))

    def _label(self, owner: Any) -> str:
        """A name for a temporary: the ONNX value it equals, or its place in the model; each name once."""
        name = "value"
        if isinstance(owner, Operation):
            known = owner.attributes.get("value") or owner.attributes.get("path")
            name = known.data if isinstance(known, StringAttr) else owner.name.partition(".")[2]
        count = self._labels.get(name, 0)
        self._labels[name] = count + 1
        return f"{name}.{count}" if count else name
