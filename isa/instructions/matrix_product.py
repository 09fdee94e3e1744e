"""The matrix product of the MX engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..blocks import Block
from ..columns import Column, both, choose, either, larger, lookup
from ..engines import Engine
from ..fields import on_chip_offset, on_chip_space
from ..kernels import Kernel, Operand
from ..matrix import (
    MODE_NAMES,
    MODES_BY_CODE,
    OPERAND_BITS,
    OWN_BITS,
    RIGHT_VALUES,
    VALUES_BY_CODE,
    MatrixMode,
    operand_values,
    product,
)
from ..matrix_laws import LAWS, Law, ProductTraffic
from ..packed import packed_bytes
from ..packed_product import packed_product
from ..record import (
    Condition,
    Cost,
    Instruction,
    extent,
    flag,
    instruction,
    named,
    on_chip_address,
    on_chip_stride,
    rows_overlap,
)

if TYPE_CHECKING:
    from ..machine import Machine
    from ..state import State


_BYTE = np.dtype(np.uint8)
PACKED_MODES = np.array([code in MODES_BY_CODE and MODES_BY_CODE[code].packed for code in range(16)], dtype=np.int64)
_RIGHT = np.array(
    [
        code == 0 or (mode in MODES_BY_CODE and VALUES_BY_CODE.get(code) in RIGHT_VALUES.get(MODES_BY_CODE[mode], ()))
        for mode in range(16)
        for code in range(16)
    ],
    dtype=np.int64,
)
_VALUES = {code: values.label for code, values in VALUES_BY_CODE.items()}


@instruction("mx.product", engine=Engine.MX, opcode=0x20)
class Product(Instruction):
    """acc[m, n] (+)= sum over k of a[m, k] * b[k, n], in the arithmetic of `mode`.

    a and b stand in SRAM in the mode's format, acc in ACC as fp32 or int32. With `transpose_b`, b stands as
    [n, k]. With `accumulate` the old acc is added. f32, f16, bf16: float32 products and sums in any order.
    i8: exact; the int32 accumulator wraps. i4, ternary, binary: exact as i8; a and b stand packed along k (b
    with `transpose_b`), each row from the lowest bit of a byte, with the values of `a_values` and `b_values`;
    what lies behind the k values of a row does not count.
    """

    mode: Column = named("arithmetic", 4, {code: mode.label for code, mode in MODES_BY_CODE.items()})
    acc: Column = on_chip_address("acc[0, 0], in ACC")
    a: Column = on_chip_address("a[0, 0], in SRAM")
    b: Column = on_chip_address("b[0, 0], in SRAM")
    m: Column = extent("rows of a and of acc")
    n: Column = extent("columns of b and of acc")
    k: Column = extent("columns of a, rows of b")
    acc_stride: Column = on_chip_stride("distance between rows of acc")
    a_stride: Column = on_chip_stride("distance between rows of a")
    b_stride: Column = on_chip_stride("distance between rows of b as it stands")
    accumulate: Column = flag("add to the old acc")
    transpose_b: Column = flag("b stands as [n, k]")
    a_values: Column = named("what a holds in a packed mode", 4, _VALUES, 0)
    b_values: Column = named("what b holds in a packed mode", 4, _VALUES, 0)

    def _bits(self, name: str) -> Column:
        return lookup(OPERAND_BITS, 16 * self.mode + self.__dict__[f"{name}_values"])

    @property
    def _b_rows(self) -> Column:
        """Rows of b as it stands."""
        return choose(self.transpose_b, self.n, self.k)

    @property
    def _acc_block(self) -> Block:
        run = choose(self.k > 0, 4 * self.n, 0)
        return Block(on_chip_space(self.acc), on_chip_offset(self.acc), (self.m,), (self.acc_stride,), run).merged()

    def reads(self) -> tuple[Block, ...]:
        """a, b, and acc when it accumulates."""
        columns = choose(self.transpose_b, self.k, self.n)
        a = Block(
            on_chip_space(self.a),
            on_chip_offset(self.a),
            (self.m,),
            (self.a_stride,),
            choose(self.n > 0, packed_bytes(self.k, self._bits("a")), 0),
        )
        b = Block(
            on_chip_space(self.b),
            on_chip_offset(self.b),
            (self._b_rows,),
            (self.b_stride,),
            choose(self.m > 0, packed_bytes(columns, self._bits("b")), 0),
        )
        acc = self._acc_block
        old = Block(acc.space, acc.address, acc.extents, acc.strides, acc.run * self.accumulate)
        return (a.merged(), b.merged(), old)

    def writes(self) -> tuple[Block, ...]:
        """acc."""
        return (self._acc_block,)

    def cost(self, machine: Machine) -> Cost:
        """By the machine's law of its array; padding to the array is paid, energy is of useful products: in a packed
        mode of as many as there are turns."""
        engine = machine.matrix
        # A mode that the machine lacks is a fault; the cost only must not divide by zero before it is seen.
        own = larger(lookup(OWN_BITS, self.mode), 1)
        # An A of more bits than the mode's own passes in as many turns; one of fewer gains nothing.
        turns = larger(self._bits("a") // own, 1)
        depth = larger(lookup(engine.depths, self.mode) // turns, 1)
        traffic = self._traffic(machine, LAWS[engine.law], depth)
        works = self.m * self.n * self.k > 0
        macs = self._macs(turns)
        events: dict[str, Column] = {
            f"mac.{mode.label}": choose(both(works, self.mode == code), macs, 0) for code, mode in MODES_BY_CODE.items()
        }
        events["sram.read"] = packed_bytes(traffic.a_elements, self._bits("a")) + packed_bytes(
            traffic.b_elements, self._bits("b")
        )
        events["acc.read"] = choose(works, traffic.acc_reads * 4, 0)
        events["acc.write"] = choose(works, traffic.acc_writes * 4, 0)
        return Cost(busy=choose(works, traffic.busy, 0), fill=choose(works, traffic.fill, 0), events=events)

    def _macs(self, turns: Column) -> Column:
        """Useful multiply-accumulates."""
        return self.m * self.n * self.k * turns

    def _traffic(self, machine: Machine, law: Law, depth: Column) -> ProductTraffic:
        return law(machine.matrix, self.m, self.n, self.k, depth, self.accumulate)

    def faults(self, machine: Machine) -> tuple[Condition, ...]:
        """Operands in the wrong memory, unaligned, values that the mode has not, or a mode that the machine lacks."""
        packed = lookup(PACKED_MODES, self.mode) == 1
        width = larger(self._bits("a") // 8, 1)
        b_width = larger(self._bits("b") // 8, 1)
        lacking = ", ".join(sorted(set(MODE_NAMES) - set(machine.matrix.rates)))
        return (
            (self.acc >> 31 == 0, "acc stands in SRAM, it must stand in ACC"),
            (self.a >> 31 == 1, "a stands in ACC, it must stand in SRAM"),
            (self.b >> 31 == 1, "b stands in ACC, it must stand in SRAM"),
            rows_overlap("rows of acc", self.m, self.acc_stride, 4 * self.n),
            ((self.acc | self.acc_stride) % 4 != 0, "acc or its stride is not a multiple of 4 bytes"),
            ((self.a | self.a_stride) % width != 0, "a or its stride is not a multiple of the element"),
            ((self.b | self.b_stride) % b_width != 0, "b or its stride is not a multiple of the element"),
            (
                both(either(self.a_values > 0, self.b_values > 0), lookup(PACKED_MODES, self.mode) == 0),
                "operands of this mode have values of their own only",
            ),
            (
                lookup(_RIGHT, 16 * self.mode + self.b_values) == 0,
                "b holds values that the mode does not take on that side",
            ),
            (both(packed, self.transpose_b == 0), "b of a packed mode must stand as [n, k]"),
            (
                lookup(machine.matrix.depths, self.mode) == 0,
                f"the machine's matrix engine lacks the mode (it lacks {lacking})",
            ),
        )

    def execute(self, state: State) -> Kernel:
        """Multiply into acc."""
        mode = MODES_BY_CODE[self.mode]
        operand, result = mode.operand.dtype, mode.accumulator.dtype
        if mode.packed:
            return self._packed(state, mode)
        width = operand.itemsize
        b_strides = (width, self.b_stride) if self.transpose_b else (self.b_stride, width)
        return Kernel(
            product(self.m, self.n, self.k, mode, bool(self.accumulate), bool(self.transpose_b), state.working),
            (
                Operand.on_chip("a", self.a, (self.m, self.k), (self.a_stride, width), operand),
                Operand.on_chip("b", self.b, (self.k, self.n), b_strides, operand),
                Operand.on_chip("acc", self.acc, (self.m, self.n), (self.acc_stride, 4), result),
            ),
        )

    def _packed(self, state: State, mode: MatrixMode) -> Kernel:
        values = (operand_values(mode, self.a_values), operand_values(mode, self.b_values))
        result = mode.accumulator.dtype
        return Kernel(
            packed_product(self.m, self.n, self.k, values, bool(self.accumulate), state.working, state.compiled),
            (
                self._packed_rows("a", self.m),
                self._packed_rows("b", self.n),
                Operand.on_chip("acc", self.acc, (self.m, self.n), (self.acc_stride, 4), result),
            ),
        )

    def _packed_rows(self, name: str, rows: int) -> Operand:
        values = self.__dict__
        shape, strides = (rows, packed_bytes(self.k, self._bits(name))), (values[f"{name}_stride"], 1)
        return Operand.on_chip(name, values[name], shape, strides, _BYTE)
