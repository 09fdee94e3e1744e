"""What a lowered module asks of a machine, read from its operations: products by mode, vector work, memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import ceil, prod

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import ReturnOp
from xdsl.ir import Block, Operation, SSAValue

from ..dialects import bnn, nn, sattn
from ..dialects.elements import element_type, format_of, shape_of
from ..dialects.onnx_interface import main_of
from ..isa.engines import Engine
from ..isa.frozen import frozen
from ..isa.machine import Machine
from ..isa.structures import Structure
from ..passes.constant_operand import ConstantOperand
from .layers import Layer, structured_bytes

VIEWS = (nn.TransposeOp, nn.ReshapeOp, nn.BroadcastOp, nn.SliceOp, nn.WindowsOp)
"""Operations that compute nothing and keep nothing: they show a tensor that is there."""

MOVES = (nn.ConcatOp, nn.PadOp)
"""Operations that only move data."""

PRODUCTS = (nn.MatmulOp, bnn.MatmulOp, sattn.AttentionOp)
"""Operations of the matrix engine."""


@frozen
class EngineWork:
    """What one engine does, for the matrix engine in one mode: `amount` in `unit` by so many operations.

    `least_cycles` is the amount at the engine's peak rate, which no schedule can beat; None where that depends on what
    the schedule fuses.
    """

    engine: str
    mode: str
    operations: int
    amount: int
    unit: str
    least_cycles: int | None


@frozen
class MemoryNeed:
    """Bytes that a module needs, and what the machine has.

    weights: constants as stored, by format. activations: the most that all values between operations are at once, were
    each kept: fused ones never are, so that a program needs no more than this.
    """

    weights: Mapping[str, int]
    input_bytes: int
    output_bytes: int
    activation_bytes: int
    dram_bytes: int
    sram_bytes: int
    acc_bytes: int

    @property
    def compulsory_bytes(self) -> int:
        """Weights, inputs and outputs: what must lie in DRAM, and move once."""
        return sum(self.weights.values()) + self.input_bytes + self.output_bytes

    @property
    def fits(self) -> bool:
        """Whether what must lie in DRAM fits there."""
        return self.compulsory_bytes <= self.dram_bytes


def engine_work(
    module: ModuleOp, layers: Iterable[Layer], need: MemoryNeed, machine: Machine
) -> tuple[EngineWork, ...]:
    """What each engine does: the matrix engine by mode, then vector work, moves and DRAM."""
    return (*_matrix_work(layers, machine), *_other_work(module), _dram_work(module, need, machine))


def _matrix_work(layers: Iterable[Layer], machine: Machine) -> Iterator[EngineWork]:
    counts: Counter[str] = Counter()
    macs: Counter[str] = Counter()
    for layer in layers:
        for mode, amount in zip(layer.modes, layer.mode_macs, strict=True):
            counts[mode] += 1
            macs[mode] += amount
    for mode, count in counts.most_common():
        peak = machine.matrix.depth(mode) * machine.matrix.columns * machine.engines.mx
        least = ceil(macs[mode] / peak) if peak else None
        yield EngineWork(Engine.MX.value, mode, count, macs[mode], "multiply-accumulates", least)


def _other_work(module: ModuleOp) -> Iterator[EngineWork]:
    vector: list[Operation] = []
    moved: list[Operation] = []
    gathered: list[Operation] = []
    for operation in _block(module).ops:
        if isinstance(operation, nn.GatherRowsOp):
            gathered.append(operation)
        elif isinstance(operation, MOVES):
            moved.append(operation)
        elif not isinstance(operation, (*VIEWS, *PRODUCTS, nn.ConstantOp, ReturnOp)):
            vector.append(operation)
    loads, stores = Engine.LD.value, Engine.ST.value
    for engine, mode, found in (
        (Engine.VX.value, "", vector),
        (loads, "gather", gathered),
        (f"{loads}, {stores}", "move", moved),
    ):
        if found:
            yield EngineWork(engine, mode, len(found), _elements(found), "elements", None)


def _elements(operations: Iterable[Operation]) -> int:
    """Elements that operations work on: of the largest of their operands and results."""
    return sum(
        max((prod(shape_of(value)) for value in (*operation.operands, *operation.results)), default=0)
        for operation in operations
    )


def _dram_work(module: ModuleOp, need: MemoryNeed, machine: Machine) -> EngineWork:
    """Weights, inputs and outputs once, but of a table that is only gathered from no more rows than are asked for."""
    left = sum(map(_rows_left, _constants(module)))
    moved = need.compulsory_bytes - left
    return EngineWork("dram", "", 0, moved, "bytes", ceil(moved / machine.dram.bytes_per_cycle))


def _rows_left(constant: nn.ConstantOp) -> int:
    """Bytes of a table that no gather can ask for; 0 where anything else reads it."""
    users = [use.operation for use in constant.result.uses]
    gathers = [user for user in users if isinstance(user, nn.GatherRowsOp) and user.table is constant.result]
    if not users or len(gathers) < len(users):
        return 0
    rows = shape_of(constant.result)[0]
    asked = sum(prod(shape_of(gather.ids)) for gather in gathers)
    return _bytes(constant.result) * max(rows - asked, 0) // rows if rows else 0


def _constants(module: ModuleOp) -> Iterator[nn.ConstantOp]:
    """The constants that lie in memory: one number is an immediate of the instructions that use it."""
    for operation in _block(module).ops:
        if isinstance(operation, nn.ConstantOp) and prod(shape_of(operation.result)) != 1:
            yield operation


def memory_need(module: ModuleOp, machine: Machine) -> MemoryNeed:
    """What of memory a module needs."""
    block = _block(module)
    weights: Counter[str] = Counter()
    compressed = _compressed_bytes(module)
    for constant in _constants(module):
        label = format_of(element_type(constant.result)).label
        weights[label] += compressed.get(constant, _bytes(constant.result))
    returned = block.last_op
    return MemoryNeed(
        dict(weights.most_common()),
        sum(map(_bytes, block.args)),
        0 if returned is None else sum(map(_bytes, returned.operands)),
        _most_alive(block),
        machine.dram.bytes,
        machine.sram.bytes,
        machine.acc.bytes,
    )


def _compressed_bytes(module: ModuleOp) -> dict[nn.ConstantOp, int]:
    """Bytes of the constants that only products by their structure read: what is kept of them, and its indices."""
    found: dict[nn.ConstantOp, int] = {}
    readers: Counter[nn.ConstantOp] = Counter()
    for product in _block(module).ops:
        if not isinstance(product, nn.MatmulOp) or product.structure is None:
            continue
        operand, structure = ConstantOperand.of(product.rhs), Structure.parse(product.structure.data)
        if operand is None:
            continue
        readers[operand.constant] += 1
        found[operand.constant] = structured_bytes(product, structure, prod(operand.shape))
    return {one: size for one, size in found.items() if readers[one] == sum(1 for _ in one.result.uses)}


def _block(module: ModuleOp) -> Block:
    return main_of(module).body.block


def _bytes(value: SSAValue) -> int:
    return (prod(shape_of(value)) * format_of(element_type(value)).bits + 7) // 8


def _most_alive(block: Block) -> int:
    """The most bytes that the values between operations take at any time, each from where it is made to its last use;
    what a view shows lives as long as the view."""
    shown: dict[SSAValue, SSAValue] = {}
    last_use: dict[SSAValue, int] = {}
    made: dict[int, list[SSAValue]] = {}
    for place, operation in enumerate(block.ops):
        for operand in operation.operands:
            last_use[shown.get(operand, operand)] = place
        if isinstance(operation, VIEWS):
            source = operation.operands[0]
            shown[operation.results[0]] = shown.get(source, source)
        elif not isinstance(operation, nn.ConstantOp):
            made[place] = list(operation.results)
    ends: dict[int, int] = {}
    alive = most = 0
    for place, values in made.items():
        for value in values:
            ends[last_use.get(value, place)] = ends.get(last_use.get(value, place), 0) + _bytes(value)
    for place, _ in enumerate(block.ops):
        alive += sum(map(_bytes, made.get(place, ())))
        most = max(most, alive)
        alive -= ends.get(place, 0)
    return most
