"""Butterfly matrices that a model writes out as chains of stages (Dao et al., 2019, arXiv 1903.05895) become products,
stages merged to blocks of the radix that costs least on the machine's array.

A stage of stride s mixes pairs of n values that stand s apart, each pair by a 2x2 of its own:

    y[j, o, t] = sum over i of T[j, o, i, t] x[j, i, t],    j < n / 2s, t < s

Stages of strides s, 2s, ... 2^(g-1) s are one of radix b = 2^g, whose pairs are vectors of b values and whose T has n b
numbers. Their product is rounded once from float64: values agree with those of the chain to float32 rounding. All
stages are one of radix n, a matrix as any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.constants import Array, ConstantStore, derived_key
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, shape_of
from ...dialects.provenance import fuse
from ...isa.fields import ACC_BIT
from ...isa.frozen import frozen
from ...isa.instructions import Product
from ...isa.machine import Machine
from ...isa.matrix import MatrixMode
from ..builder import Builder
from ..precision.retype import replace

FEWEST_STAGES = 2
"""A single stage stays what it is written as."""


@frozen
class Stage:
    """A stage over `size` values: its stride, the key of its constant, and the operation that sums up its pairs."""

    size: int
    stride: int
    key: str
    result: nn.ReduceOp
    source: SSAValue
    operations: tuple[Operation, ...]

    @staticmethod
    def of(value: SSAValue, store: ConstantStore) -> Stage | None:
        """The stage that makes a value: sum over i of T[j, o, i, t] * x[j, i, t], written with axes of one element."""
        summed, reshapes = _through_reshapes(value)
        if not isinstance(summed, nn.ReduceOp) or summed.kind.data != "sum" or element_type(summed.result) != f32:
            return None
        multiplied, axes = summed.input.owner, summed.axes.get_values()
        if not isinstance(multiplied, nn.MapOp) or multiplied.function.data != "mul" or len(axes) != 1:
            return None
        for factors, values in (multiplied.inputs, tuple(reversed(multiplied.inputs))):
            if not isinstance(factors.owner, nn.ConstantOp) or element_type(factors) != f32:
                continue
            found = _axes(shape_of(multiplied.result), shape_of(factors), shape_of(values), axes[0])
            if found is not None:
                constant = factors.owner
                key = constant.reference or store.anonymous(store.array(constant.data))
                return Stage(*found, key, summed, values, (*reshapes, summed, multiplied))
        return None

    def matrices(self, store: ConstantStore) -> Array:
        """T, [n / 2 stride, 2, 2, stride]."""
        return store.get(self.key).reshape(self.size // (2 * self.stride), 2, 2, self.stride)


def _through_reshapes(value: SSAValue) -> tuple[Operation | None, tuple[Operation, ...]]:
    """What makes a value that is shown by reshapes, and these; None where something else reads what they show."""
    steps: list[Operation] = []
    while isinstance(value.owner, nn.ReshapeOp):
        steps.append(value.owner)
        value = value.owner.input
        if not value.has_one_use():
            return None, ()
    return (value.owner if isinstance(value.owner, Operation) else None), tuple(steps)


def _axes(whole: Sequence[int], factors: Sequence[int], values: Sequence[int], summed: int) -> tuple[int, int] | None:
    """(size, stride) of a stage by the shapes of a product, its constant and its values, and the axis that is summed
    up; None where they are those of no stage."""
    rank = len(whole)
    factors = (*[1] * (rank - len(factors)), *factors)
    values = (*[1] * (rank - len(values)), *values)
    made = [axis for axis in range(rank) if factors[axis] == 2 and values[axis] == 1]
    if len(made) != 1 or whole[summed] != 2 or values[summed] != 2 or factors[summed] != 2:
        return None
    [output] = made
    blocks, inner = range(output), range(summed + 1, rank)
    # Only axes of one element may stand between the pair that is made and the one that is summed up.
    if output > summed or any(whole[axis] != 1 for axis in range(output + 1, summed)):
        return None
    if any(factors[axis] != values[axis] for axis in inner):
        return None
    # Rows of values have all blocks behind them: the constant has them, and stands for all rows.
    shared = [axis for axis in blocks if factors[axis] == 1 and values[axis] != 1]
    own = [axis for axis in blocks if factors[axis] != 1]
    if any(factors[axis] != values[axis] for axis in own) or (shared and own and max(shared) > min(own)):
        return None
    stride = prod(values[axis] for axis in inner)
    size = 2 * stride * prod(values[axis] for axis in own)
    return (size, stride) if size & (size - 1) == 0 else None


@frozen
class Block:
    """Consecutive stages, merged: `radix` values each, `stride` apart."""

    stages: tuple[Stage, ...]

    @property
    def stride(self) -> int:
        """The least of its stages."""
        return min(stage.stride for stage in self.stages)

    @property
    def radix(self) -> int:
        """How many values it mixes."""
        return int(2 ** len(self.stages))

    def merged(self, *matrices: Array) -> Array:
        """Its matrices [n / (radix stride), stride, made, summed up], of those of its stages."""
        size, radix, stride = self.stages[0].size, self.radix, self.stride
        outer = size // (radix * stride)
        whole = np.zeros((outer, radix, stride, radix))
        whole[:, np.arange(radix), :, np.arange(radix)] = 1
        for stage, matrix in zip(self.stages, matrices, strict=True):
            step = stage.stride // stride
            pairs = whole.reshape(outer, radix // (2 * step), 2, step, stride, radix)
            factors = matrix.reshape(outer, radix // (2 * step), 2, 2, step, stride).astype(np.float64)
            whole = np.einsum("jhoits,jhitsc->jhotsc", factors, pairs).reshape(outer, radix, stride, radix)
        return np.ascontiguousarray(whole.transpose(0, 2, 1, 3).astype(np.float32))


MODES = {"fp16": MatrixMode.F16, "bf16": MatrixMode.BF16, "int8": MatrixMode.I8}
"""In what products of a precision are going to be computed; in float32 unless it stands here."""


@dataclass(frozen=True)
class MergeButterflies(ModulePass):
    """Multiply by chains of butterfly stages on the array, in blocks that cost least where products are going to have a
    `precision`."""

    name = "merge-butterflies"

    precision: str = "model"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; what the products no longer read is left for `remove-unused`."""
        context = CompilerContext.of(ctx)
        store = context.store
        for found in [one for one in op.walk() if isinstance(one, nn.ReduceOp)]:
            if found.parent is None or any(_next_stage(use.operation, store) for use in found.result.uses):
                continue
            chain = _chain(found, store)
            if len(chain) >= FEWEST_STAGES:
                mode = MODES.get(self.precision, MatrixMode.F32)
                _Writer(store, context.target, mode, chain).run()


def _next_stage(reader: Operation, store: ConstantStore) -> bool:
    """Whether what reads the sums of a stage is a stage of as many values."""
    while isinstance(reader, nn.ReshapeOp) and reader.result.has_one_use():
        reader = next(iter(reader.result.uses)).operation
    if not isinstance(reader, nn.MapOp) or not reader.result.has_one_use():
        return False
    summed = next(iter(reader.result.uses)).operation
    return isinstance(summed, nn.ReduceOp) and Stage.of(summed.result, store) is not None


def _chain(last: nn.ReduceOp, store: ConstantStore) -> list[Stage]:
    """The stages that end with `last`, first to last: strides of which each is twice or half the one before."""
    found: list[Stage] = []
    value: SSAValue = last.result
    while (stage := Stage.of(value, store)) is not None:
        if found and (stage.size != found[0].size or not stage.result.result.has_one_use()):
            break
        ratio = (found[0].stride, stage.stride) if found else None
        if ratio is not None and max(ratio) != 2 * min(ratio):
            break
        if len(found) > 1 and (found[1].stride > found[0].stride) != (found[0].stride > stage.stride):
            break
        found.insert(0, stage)
        value = stage.source
    return found


class _Writer:
    """Writes one chain as products."""

    def __init__(self, store: ConstantStore, machine: Machine, mode: MatrixMode, chain: Sequence[Stage]) -> None:
        self._store = store
        self._machine = machine
        self._mode = mode
        self._chain = tuple(chain)
        self._size = chain[0].size
        self._source = chain[0].source
        self._rows = prod(shape_of(self._source)) // self._size

    def run(self) -> None:
        """Put the products in the place of the chain."""
        last = self._chain[-1].result
        build = Builder.before(last, self._store)
        build.location = fuse(*(op.location for stage in self._chain for op in stage.operations))
        value = build.reshape(self._source, (self._rows, self._size))
        blocks = self._blocks()
        if len(blocks) == 1 and blocks[0].radix == self._size:
            matrix = build.reshape(self._matrices(build, blocks[0]), (self._size, self._size))
            value = build.matmul(value, build.swap_last(matrix), element=f32)
        else:
            value = self._by_blocks(build, value, blocks)
        replace(last, build.reshape(value, shape_of(last.result)))

    def _by_blocks(self, build: Builder, value: SSAValue, blocks: Sequence[Block]) -> SSAValue:
        """Between blocks values stand as [values, rows]: whatever the stride of a block, the array reads runs then."""
        value = build.swap_last(value)
        for block in blocks:
            outer = self._size // (block.radix * block.stride)
            split = build.reshape(value, (outer, block.radix, block.stride, self._rows))
            mixed = build.matmul(self._matrices(build, block), build.transpose(split, (0, 2, 1, 3)), element=f32)
            value = build.reshape(build.transpose(mixed, (0, 2, 1, 3)), (self._size, self._rows))
        return build.swap_last(value)

    def _matrices(self, build: Builder, block: Block) -> SSAValue:
        keys = [stage.key for stage in block.stages]
        shape = (self._size // (block.radix * block.stride), block.stride, block.radix, block.radix)
        strides = tuple(stage.stride for stage in block.stages)
        name = derived_key("butterfly", *keys, strides=strides)
        matrices = [stage.matrices for stage in block.stages]

        def merged(*_: Array) -> Array:
            return block.merged(*(matrix(self._store) for matrix in matrices))

        self._store.derive(name, merged, *keys, shape=shape, dtype=np.dtype(np.float32))
        return build.named_constant(name)

    def _blocks(self) -> tuple[Block, ...]:
        """The cut of the chain that costs least: the whole, or what is best of blocks with values turned before and
        behind them."""
        count, whole = len(self._chain), Block(self._chain)
        best: list[tuple[float, tuple[Block, ...]]] = [(0.0, ())]
        for end in range(1, count + 1):
            ways = (
                (best[start][0] + self._cycles(block), (*best[start][1], block))
                for start in range(end)
                for block in (Block(self._chain[start:end]),)
            )
            best.append(min(ways, key=lambda way: way[0]))
        cycles, blocks = best[count]
        if whole.radix < self._size:
            return blocks
        dram = self._machine.dram
        # A turned value goes to DRAM one by one.
        turning = self._size * self._rows * dram.burst_bytes / dram.bytes_per_cycle
        alone = self._product_cycles(self._rows, self._size, self._size) + self._moving_cycles(whole)
        return (whole,) if alone <= cycles + turning else blocks

    def _cycles(self, block: Block) -> float:
        """Of one block: its products, and values to DRAM and back."""
        products = self._size // block.radix
        return products * self._product_cycles(block.radix, self._rows, block.radix) + self._moving_cycles(block)

    def _moving_cycles(self, block: Block) -> float:
        elements = 2 * self._size * self._rows + self._size * block.radix
        return elements * self._mode.operand.width / self._machine.dram.bytes_per_cycle

    def _product_cycles(self, m: int, n: int, k: int) -> int:
        return int(Product(mode=self._mode.code, acc=ACC_BIT, m=m, n=n, k=k).cost(self._machine).busy)
