"""Random chains of tiled kernels: any tile sizes, loop orders and pipeline stages give the interpreter's
values."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import FunctionType, ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import SSAValue

from attnc.dialects.affine_form import Access
from attnc.dialects.constants import ConstantStore
from attnc.dialects.interpret import tile as interpreter
from attnc.dialects.provenance import node_location
from attnc.dialects.tile import KernelOp, Place
from attnc.isa.formats import Format
from attnc.isa.lanes import LaneProgram
from attnc.passes.tile.build import Span, TileBuilder

SIDE = 24


@dataclass(frozen=True)
class Step:
    """One kernel on a SIDE x SIDE tensor: what it does, its tile, whether columns run outside, its stages."""

    kind: str
    rows: int
    columns: int
    columns_outside: bool
    stages: tuple[int, int, int]


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["scale", "transpose", "square", "normalize"]),
        st.integers(7, SIDE),
        st.integers(7, SIDE),
        st.booleans(),
        st.tuples(st.just(0), st.integers(0, 1), st.integers(1, 2)),
    ),
    min_size=1,
    max_size=4,
)


def block(buffer: SSAValue, rows: Span, columns: Span, pitch: int = SIDE, transposed: bool = False) -> Place:
    """Rows x columns of a tensor, or of its transpose."""
    if transposed:
        return Place(buffer, Access.of(columns.start * pitch + rows.start, (rows.size, columns.size), (1, pitch)))
    return Place(buffer, Access.of(rows.start * pitch + columns.start, (rows.size, columns.size), (pitch, 1)))


def tile(buffer: SSAValue, rows: Span, columns: Span) -> Place:
    return Place(buffer, Access.of(0, (rows.size, columns.size), (columns.limit, 1)))


def elementwise(builder: TileBuilder, step: Step, source: SSAValue, target: SSAValue) -> None:
    program = LaneProgram.parse("r0 = mul(a, 0.5); out r0")

    def body(rows: Span, columns: Span) -> None:
        buffer = builder.alloc("sram", (rows.limit, columns.limit), Format.F32)
        result = builder.alloc("sram", (rows.limit, columns.limit), Format.F32)
        load, work, store = step.stages
        builder.copy(
            block(source, rows, columns, transposed=step.kind == "transpose"),
            tile(buffer, rows, columns),
            load,
        )
        places = [tile(buffer, rows, columns)]
        builder.lane_pass(program, rows.size, columns.size, places, out=tile(result, rows, columns), stage=work)
        builder.copy(tile(result, rows, columns), block(target, rows, columns), max(work, store))

    if step.columns_outside:
        with builder.tiles(SIDE, step.columns) as columns, builder.tiles(SIDE, step.rows) as rows:
            body(rows, columns)
    else:
        with builder.tiles(SIDE, step.rows) as rows, builder.tiles(SIDE, step.columns) as columns:
            body(rows, columns)


def square(builder: TileBuilder, step: Step, source: SSAValue, target: SSAValue) -> None:
    """target = source @ source, in tiles of rows and of the contracted axis."""
    whole = Span.of(0, SIDE)
    with builder.tiles(SIDE, step.rows) as rows:
        acc = builder.alloc("acc", (rows.limit, SIDE), Format.F32)
        with builder.loop(-(-SIDE // step.columns)) as index:
            inner = Span(
                index * step.columns,
                Span.of(0, SIDE).size.at_most(step.columns).at_most(SIDE - index * step.columns),
            )
            a = builder.alloc("sram", (rows.limit, inner.limit), Format.F32)
            b = builder.alloc("sram", (inner.limit, SIDE), Format.F32)
            builder.copy(block(source, rows, inner), tile(a, rows, inner))
            builder.copy(block(source, inner, whole), tile(b, inner, whole))
            places = (tile(a, rows, inner), tile(b, inner, whole), tile(acc, rows, whole))
            # Without a loop of its own the product would run late in the loop over rows, after what reads it.
            stage = step.stages[1] if step.columns < SIDE else 0
            builder.product(*places, "f32", accumulate=index, stage=stage)
        out = builder.alloc("sram", (rows.limit, SIDE), Format.F32)
        program = LaneProgram.parse("out a")
        builder.lane_pass(program, rows.size, SIDE, [tile(acc, rows, whole)], out=tile(out, rows, whole))
        builder.copy(tile(out, rows, whole), block(target, rows, whole), step.stages[2])


def normalize(builder: TileBuilder, step: Step, source: SSAValue, target: SSAValue) -> None:
    """target = source / (1 + the largest absolute value of each column): two sweeps with a resident row."""
    whole = Span.of(0, SIDE)
    peak = builder.alloc("sram", (SIDE,), Format.F32)
    row = Place(peak, Access.of(0, (SIDE,), (1,)))
    first = LaneProgram.parse("r0 = abs(a); reduce max(r0)")
    second = LaneProgram.parse("r0 = add(c0, 1.0); r1 = div(a, r0); out r1")
    with builder.loop(-(-SIDE // step.rows)) as index:
        rows = Span(index * step.rows, Span.of(0, SIDE).size.at_most(step.rows).at_most(SIDE - index * step.rows))
        buffer = builder.alloc("sram", (rows.limit, SIDE), Format.F32)
        builder.copy(block(source, rows, whole), tile(buffer, rows, whole))
        places = [tile(buffer, rows, whole)]
        builder.lane_pass(first, rows.size, SIDE, places, reductions=[("rows", row)], accumulate=index, stage=1)
    with builder.tiles(SIDE, step.columns) as rows:
        buffer = builder.alloc("sram", (rows.limit, SIDE), Format.F32)
        builder.copy(block(source, rows, whole), tile(buffer, rows, whole))
        place = tile(buffer, rows, whole)
        builder.lane_pass(second, rows.size, SIDE, [place], [("row", row)], out=place, stage=step.stages[1])
        builder.copy(place, block(target, rows, whole), step.stages[2])


def program(steps: list[Step]) -> ModuleOp:
    function = FuncOp("main", FunctionType.from_lists([], []))
    builder = TileBuilder(function.body.block)
    value = builder.tensor("x", "input", (SIDE, SIDE), Format.F32)
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        target = builder.tensor(
            "y" if last else f"t{number}", "output" if last else "temporary", (SIDE, SIDE), Format.F32
        )
        with builder.kernel(KernelOp(f"{step.kind}{number}", outputs=[target]), node_location(f"n{number}", step.kind)):
            make: Callable = {"square": square, "normalize": normalize}.get(step.kind, elementwise)
            make(builder, step, value, target)
        value = target
    function.body.block.add_op(ReturnOp())
    return ModuleOp([function])


@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(STEPS, st.integers(0, 1000))
def test_random_nests_compute_what_the_interpreter_does(emission, shuffled, steps: list[Step], seed: int) -> None:
    tensors = {"x": np.random.default_rng(seed).standard_normal((SIDE, SIDE), dtype=np.float32)}
    module = program(steps)
    module.verify()
    expected = interpreter.run(module, tensors, ConstantStore())["y"]
    target = emission("tiny")
    assembled = target.table(module)
    assert np.array_equal(target.run(assembled, tensors)["y"], expected)
    assert np.array_equal(target.run(assembled, tensors, shuffled(assembled.table, seed))["y"], expected)
