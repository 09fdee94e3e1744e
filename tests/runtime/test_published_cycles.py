"""The plain laws of the matrix engine against the runtimes that SCALE-Sim publishes for its two stationary dataflows.

Samajdar, Joseph, Zhu, Whatmough, Mattina, Krishna, "A Systematic Methodology for Characterizing Scalability of DNN
Accelerators using SCALE-Sim", ISPASS 2020. A product of M x K and K x N is laid out with S_R rows and S_C columns in
space and T steps in time (its table of mappings): output-stationary (M, N, K), weight-stationary (K, N, M). On an array
of R x C it takes (2 R + C + T - 2) * ceil(S_R / R) * ceil(S_C / C) cycles (its runtime of a scaled-up array).
"""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from attnc.isa.assembly import assemble
from attnc.runtime.session import Session

PROGRAM = """
.machine "edge"
.dram bytes=64
mx mx.product mode=i8 acc=acc+0 a=sram+0 b=sram+131072 m={m} n={n} k={k} acc_stride={acc} a_stride={k} b_stride={n}
"""


def published(law: str, m: int, n: int, k: int, rows: int, columns: int) -> int:
    spatial_rows, spatial_columns, time = {"plain_os": (m, n, k), "plain_ws": (k, n, m)}[law]
    folds = -(-spatial_rows // rows) * -(-spatial_columns // columns)
    return (2 * rows + columns + time - 2) * folds


def simulated(law: str, m: int, n: int, k: int, rows: int, columns: int) -> int:
    """Cycles of a program that is this one product."""
    program = assemble(PROGRAM.format(m=m, n=n, k=k, acc=4 * n))
    array = replace(program.machine.matrix, law=law, rows=rows, columns=columns, rates={"i8": Fraction(1)})
    return Session(replace(program, machine=replace(program.machine, matrix=array))).measure().cycles


@pytest.mark.parametrize("law", ["plain_ws", "plain_os"])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 4), (8, 8), (16, 16), (32, 32), (8, 32), (32, 8), (5, 3)])
def test_single_products_take_the_published_cycles(law: str, rows: int, columns: int) -> None:
    whole = [(rows, columns, rows), (2 * rows, 3 * columns, 4 * rows)]
    partial = [(1, 1, 1), (rows + 1, columns + 1, rows + 1)]
    draw = np.random.default_rng(rows * columns)
    random = np.stack([draw.integers(1, high, 40) for high in (128, 128, 512)], axis=1).tolist()
    for shape in (*whole, *partial, *random):
        assert simulated(law, *shape, rows, columns) == published(law, *shape, rows, columns), shape
