"""Kernels: the fused pieces that a function is cut into, what they know of their operands, and how they are lowered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from xdsl.ir import Operation, SSAValue

from ...dialects import nn
from ...dialects.affine_form import AffineForm
from ...dialects.constants import ConstantStore
from ...dialects.elements import element_type, format_of
from ...dialects.tile import Place
from ...isa.formats import Format
from ...isa.frozen import frozen
from ..schedule_options import EVERYTHING, ScheduleOptions
from ..tile_rules import TileChoice
from .build import Size, TileBuilder
from .rates import Rates
from .view import View

if TYPE_CHECKING:
    from ...isa.machine import Machine
    from .seams import Ends


@frozen(eq=False)
class Kernel:
    """Operations that run as one. `kind` is the key of the lowering table; every nn operation is in one kernel.

    `anchor` is the operation that the kernel is built around (the matrix product, the attention; else the first).
    `operands` are the values read from outside, `results` those that others or the function's outputs need stored.
    """

    kind: str
    anchor: Operation
    operations: tuple[Operation, ...]
    operands: tuple[SSAValue, ...]
    results: tuple[SSAValue, ...]

    @property
    def path(self) -> str:
        """The structural path in the model of the anchor, or of the first operation that has one."""
        for operation in (self.anchor, *self.operations):
            path = operation.attributes.get("path")
            if isinstance(path, nn.StringAttr):
                return path.data
        return ""


@frozen
class Budget:
    """On-chip bytes that a kernel may use for its own tiles, resident tensors already taken off."""

    sram: int
    acc: int


@frozen
class Plan:
    """How a kernel will be tiled: peak on-chip bytes (with room for two instances of streamed tiles), the predicted
    cycles, and what the plan dictionary of the kernel says. Lowerings subclass it to carry their tile sizes.

    `burden` is what counts beside the cycles where plans are compared: DRAM cycles that hide, and instructions.
    """

    sram_bytes: int
    acc_bytes: int
    cycles: float
    details: Mapping[str, int | float | str]
    burden: float = field(default=0.0, kw_only=True)


@dataclass(eq=False)
class Handover:
    """The columns of a result from `first` on, which stay on chip for the next product: `pieces` of so many `columns`,
    a buffer of [rows, columns] each, which fill up as the first product is emitted."""

    first: int
    columns: int
    pieces: list[SSAValue] = field(default_factory=list[SSAValue])


@dataclass(eq=False)
class Scope:
    """What kernels know of the values of the function: views of storage, formats, constants, and where storage lies.

    `views` holds a view for every tensor value; `residents` the storage roots that stay in SRAM (decided before
    kernels are emitted; lowerings may be planned again as it changes); `buffers` fills up as buffers are made.
    `ends` has what goes row by row before and after products, `tile_choices` what a recipe forces of their tilings;
    beside products that are `crowded` the vector engine is as busy as the array; `handovers` are of storage roots in
    DRAM of which part stays on chip.
    """

    machine: Machine
    store: ConstantStore
    views: Mapping[SSAValue, View]
    residents: set[SSAValue] = field(default_factory=set[SSAValue])
    buffers: dict[SSAValue, SSAValue] = field(default_factory=dict[SSAValue, SSAValue])
    options: ScheduleOptions = EVERYTHING
    ends: Mapping[Kernel, Ends] = field(default_factory=dict["Kernel", "Ends"])
    tile_choices: Mapping[Kernel, TileChoice] = field(default_factory=dict["Kernel", TileChoice])
    crowded: frozenset[Operation] = frozenset()
    handovers: dict[SSAValue, Handover] = field(default_factory=dict[SSAValue, Handover])

    @cached_property
    def rates(self) -> Rates:
        """What the machine's instructions cost."""
        return Rates(self.machine)

    def view(self, value: SSAValue) -> View:
        """Where the value's elements lie in the storage of its root."""
        return self.views[value]

    def form(self, value: SSAValue) -> Format:
        """The stored format of the value."""
        return format_of(element_type(value))

    def resident(self, value: SSAValue) -> bool:
        """Whether the value's storage is an SRAM buffer rather than a DRAM tensor."""
        return self.views[value].root in self.residents

    def scalar(self, value: SSAValue) -> int | float | None:
        """The one value of a constant whose elements are all the same, as the lanes hold it; None for others."""
        return self.number(self.views[value], self.form(value))

    def number(self, view: View, form: Format) -> int | float | None:
        """As `scalar`, of a view of a constant of a format."""
        owner = view.root.owner
        if not isinstance(owner, nn.ConstantOp):
            return None
        # Only constants that stand in the IR are small enough to look at.
        if owner.reference is not None and owner.result.type.get_shape() != ():
            return None
        array = self.store.array(owner.data)
        if view.elements == 0:
            return None
        flat = array.reshape(-1)
        shown = np.lib.stride_tricks.as_strided(
            flat[view.offset :], view.shape, [stride * flat.itemsize for stride in view.strides], writeable=False
        )
        first = shown.reshape(-1)[0]
        if not (shown == first).all():
            return None
        return float(first) if form.kind == "float" else int(first)

    def place(self, value: SSAValue, starts: Sequence[AffineForm | int], sizes: Sequence[Size]) -> Place:
        """The block of a value from `starts`, of `sizes`, an axis of the value each. Emit time only."""
        return self.place_view(self.views[value], starts, sizes)

    def place_view(self, view: View, starts: Sequence[AffineForm | int], sizes: Sequence[Size]) -> Place:
        """As `place`, for a view derived from a value's (a transposition of it, say)."""
        return Place(self.buffers[view.root], view.access(starts, sizes))


class Lowering(ABC):
    """How kernels of one kind become tile operations. Made once a kernel; planned as often as need be; emitted once.

    Plans must be right for any shape; a plan that cannot be made within the budget is a CapacityError with numbers.
    `fill` is the part of the SRAM that residents and tiles may fill together: the rest lets the next kernel's loads
    come early.
    """

    fill: ClassVar[float] = 0.9

    def __init__(self, kernel: Kernel, scope: Scope) -> None:
        self.kernel = kernel
        self.scope = scope

    @property
    def shape(self) -> Hashable:
        """Equal for kernels whose plans cost the same in equal rooms, where operands and results of the same places
        are resident. Asked before any is."""
        return self

    @abstractmethod
    def plan(self, budget: Budget) -> Plan:
        """The best plan within the budget, given which operands are resident now. Raises CapacityError."""

    @abstractmethod
    def emit(self, plan: Plan, builder: TileBuilder) -> None:
        """Append the tile operations of a plan that `plan` gave, inside the kernel's region."""

    def accepts_resident(self, value: SSAValue) -> bool:
        """Whether `value`, an operand or a result, may lie in SRAM and be used there in place."""
        return False

    def may_overwrite(self, operand: SSAValue, result: SSAValue) -> bool:
        """Whether `result` may lie where `operand` does, which nothing else reads: each element is read before, or
        as, what the same tile gives is written there."""
        return False

    def place_of(self, root: SSAValue) -> int:
        """The place of a storage among those of operands and results; -1 for one of the kernel's own."""
        return self._places.get(root, -1)

    @cached_property
    def _places(self) -> Mapping[SSAValue, int]:
        values = (*self.kernel.operands, *self.kernel.results)
        return {root: place for place, root in enumerate(dict.fromkeys(self.scope.view(v).root for v in values))}


LoweringTable = Mapping[str, type[Lowering]]
"""Kernel kind to lowering: `matmul`, `attention`, `rowwise`, `copy`, `gather`, ..."""
