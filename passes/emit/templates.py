"""The instruction templates of a module with the loops around them, and the buffers with their instances."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, SSAValue

from ...dialects.affine_form import AffineForm
from ...dialects.isa import InstructionOperation
from ...dialects.provenance import Node, nodes_of
from ...dialects.tile import AllocOp, ForOp, KernelOp, RetypeOp, TensorOp, buffer_type, stage_of
from ...isa.blocks import Space
from ...isa.frozen import frozen
from .stream import Buffer, Origin

SPACES = {"dram": Space.DRAM, "sram": Space.SRAM, "acc": Space.ACC}


@frozen
class Level:
    """One level of the order: a constant position in a block, or the time slot of loop `depth`."""

    value: int
    depth: int = -1


@frozen
class _Kernel:
    """A kernel and the ONNX nodes that it is located at."""

    op: KernelOp
    nodes: tuple[Node, ...]


@frozen
class Template:
    """An instruction operation with its loops: trip counts, order levels, section (top-level operation),
    origin."""

    op: InstructionOperation
    counts: tuple[int, ...]
    levels: tuple[Level, ...]
    section: int
    origin: int

    @property
    def rows(self) -> int:
        """How many instructions it stands for."""
        return prod(self.counts)


@dataclass
class Storage:
    """Buffers and the instances they have while the loops run."""

    buffers: list[Buffer] = field(default_factory=list[Buffer])
    counts: list[tuple[int, ...]] = field(default_factory=list[tuple[int, ...]])
    first: list[int] = field(default_factory=lambda: [0])
    index: dict[SSAValue, int] = field(default_factory=dict[SSAValue, int])

    def add(self, value: SSAValue, buffer: Buffer, counts: tuple[int, ...]) -> None:
        """Number a buffer whose allocation stands in loops of `counts` trips."""
        self.index[value] = len(self.buffers)
        self.buffers.append(buffer)
        self.counts.append(counts)
        self.first.append(self.first[-1] + prod(counts))

    def instance_form(self, value: SSAValue) -> AffineForm:
        """The number of the instance that `value` names, as a form over the loops around its allocation."""
        number = self.index[value]
        factors: list[int] = []
        step = 1
        for count in reversed(self.counts[number]):
            factors.append(step)
            step *= count
        return AffineForm(tuple(reversed(factors)), self.first[number])


class Walk:
    """The templates, in the order of the module, the buffers, and where templates come from, numbered."""

    def __init__(self) -> None:
        self.storage = Storage()
        self.templates: list[Template] = []
        self.origins: dict[Origin, int] = {}
        # Instructions of a kernel share few locations: each of these objects is read once.
        self._known: dict[tuple[KernelOp | None, int], int] = {}

    def block(
        self,
        block: Block,
        counts: tuple[int, ...],
        levels: tuple[Level, ...],
        section: int,
        kernel: _Kernel | None,
    ) -> None:
        """Collect what stands in a block, inside loops of `counts` trips and at `levels` of the order."""
        for position, op in enumerate(block.ops):
            here = section if levels else position
            match op:
                case InstructionOperation():
                    place = (*levels, *_slot(op, counts, position))
                    self.templates.append(Template(op, counts, place, here, self._origin(op, kernel)))
                case TensorOp():
                    self.storage.add(op.result, _tensor(op), ())
                case AllocOp():
                    label = f"{kernel.op.label.data}.{_hint(op, position)}" if kernel else _hint(op, position)
                    self.storage.add(op.result, _on_chip(op, label, kernel is None and not counts), counts)
                case RetypeOp():
                    self.storage.index[op.result] = self.storage.index[op.buffer]
                case KernelOp():
                    place = (*levels, *_slot(op, counts, position))
                    self.block(op.body.block, counts, place, here, _Kernel(op, nodes_of(op)))
                case ForOp():
                    inner = (*levels, *_slot(op, counts, position))
                    self.block(op.body.block, (*counts, op.trips), inner, here, kernel)
                case ReturnOp():
                    pass
                case _:
                    raise TypeError(f"{op.name} cannot be emitted: only instructions, loops and buffers are left here")

    def _origin(self, op: Operation, kernel: _Kernel | None) -> int:
        source = (None if kernel is None else kernel.op, id(op.location))
        if source not in self._known:
            nodes = nodes_of(op)
            if kernel is None:
                origin = Origin("", "", nodes)
            else:
                origin = Origin(kernel.op.label.data, kernel.op.path.data, nodes or kernel.nodes)
            self._known[source] = self.origins.setdefault(origin, len(self.origins))
        return self._known[source]


def collect(module: ModuleOp) -> Walk:
    """Everything in a module's functions. Raises TypeError for an operation that cannot be emitted."""
    walk = Walk()
    for function in module.walk():
        if isinstance(function, FuncOp):
            walk.block(function.body.block, (), (), 0, None)
    return walk


def _tensor(op: TensorOp) -> Buffer:
    kind = buffer_type(op.result)
    key = "" if op.key is None else op.key.data
    return Buffer(op.label.data, Space.DRAM, kind.bytes, kind.extents, kind.format, op.role.data, key)


def _on_chip(op: AllocOp, label: str, resident: bool) -> Buffer:
    kind = buffer_type(op.result)
    return Buffer(label, SPACES[kind.space.data], kind.bytes, kind.extents, kind.format, resident=resident)


def _hint(op: AllocOp, position: int) -> str:
    return op.result.name_hint or f"buffer{position}"


def _slot(op: Operation, counts: tuple[int, ...], position: int) -> tuple[Level, ...]:
    """The order levels of an operation in a block: the time slot in a loop's block, and the position."""
    if not isinstance(op.parent_op(), ForOp):
        return (Level(position),)
    return (Level(stage_of(op), len(counts) - 1), Level(position))
