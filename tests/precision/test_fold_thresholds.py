"""Scales, biases and norms between integer sums and one bit become thresholds: equal at every sum, ties and all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import f32, i8
from xdsl.ir import SSAValue

from attnc.dialects import nn
from attnc.dialects.elements import ui8
from attnc.isa.errors import Fault
from attnc.passes.precision.fold_thresholds import FoldThresholds

from .conftest import Quantized

COLUMNS = 5
RANGE = np.arange(-1500, 1501, dtype=np.int32)
EXTREMES = np.array([-(2**31), -(2**31) + 1, -(2**24) - 1, 2**24 + 1, 2**31 - 2, 2**31 - 1], np.int32)
SUMS = np.repeat(np.concatenate([EXTREMES, RANGE])[:, None], COLUMNS, 1)


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def graph(make: Callable[[Quantized, SSAValue], SSAValue], sums: np.ndarray = SUMS) -> Quantized:
    """A graph of what `make` makes of float sums."""
    made = Quantized(sums)
    made.done(make(made, made.add(nn.CastOp(made.inputs[0], f32))))
    return made


def functions(made: Quantized) -> list[str]:
    """Fold, and tell the functions that are left."""
    return [op.function.data for op in made.apply(FoldThresholds()) if isinstance(op, nn.MapOp)]


CONSTANTS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, -1e-30, 3e7]),
    st.floats(-1e4, 1e4, width=32, allow_subnormal=False),
    st.integers(-64, 64).map(lambda n: n / 16),
)
ROWS = st.one_of(
    st.lists(CONSTANTS, min_size=COLUMNS, max_size=COLUMNS).map(lambda values: row(*values)),
    CONSTANTS.map(np.float32),
)
STEPS = st.tuples(st.sampled_from(["add", "sub", "from", "mul", "div", "min", "max", "neg", "rint", "floor"]), ROWS)
COMPARISONS = st.sampled_from(["ge", "gt", "le", "lt"])


@given(st.lists(STEPS, max_size=6), COMPARISONS, ROWS, st.booleans())
@settings(deadline=None, max_examples=100)
def test_folded_is_equal_at_every_sum(
    steps: list[tuple[str, np.ndarray]], comparison: str, bound: np.ndarray, swapped: bool
) -> None:
    def make(made: Quantized, value: SSAValue) -> SSAValue:
        for function, constant in steps:
            if function in ("neg", "rint", "floor"):
                value = made.map(function, value)
            elif function == "from":
                value = made.map("sub", made.typed(constant), value)
            else:
                value = made.map(function, value, made.typed(constant))
        operands = (made.typed(bound), value) if swapped else (value, made.typed(bound))
        return made.map(comparison, *operands)

    made = graph(make)
    before = made.result()
    left = functions(made)
    np.testing.assert_array_equal(made.result(), before)
    divisors = [constant for function, constant in steps if function == "div"]
    if all((np.abs(divisor) > 1e-3).all() for divisor in divisors) and len(steps) < 3:
        assert set(left) <= {"ge", "lt", "xor"}


def test_ties_are_decided_as_the_expression_decides_them() -> None:
    for comparison, bits in (("ge", [0, 1, 1]), ("gt", [0, 0, 1]), ("le", [1, 1, 0]), ("lt", [1, 0, 0])):
        sums = np.repeat(np.array([[4], [5], [6]], np.int32), 2, 1)

        def make(made: Quantized, value: SSAValue, comparison: str = comparison) -> SSAValue:
            scaled = made.map("mul", value, made.typed(row(0.5, 0.25)))
            return made.map(comparison, scaled, made.typed(row(2.5, 1.25)))

        made = graph(make, sums)
        assert len(functions(made)) == 1
        assert made.result().astype(int).T.tolist() == [bits, bits]


def test_rounding_of_the_expression_is_kept() -> None:
    # In float32, 16777216 + 1 is 16777216: algebra would place the threshold elsewhere.
    made = graph(lambda g, x: g.map("gt", g.map("add", x, g.typed(row(16777216))), g.typed(row(16777216))))
    before = made.result()
    assert functions(made) == ["ge"]
    np.testing.assert_array_equal(made.result(), before)
    assert not before[SUMS == 1].any()
    assert before[SUMS == 2].all()


def test_columns_that_fall_turn_their_bit_over() -> None:
    made = graph(lambda g, x: g.map("ge", g.map("mul", x, g.typed(row(1, -2, 0, 3, -1))), g.typed(np.float32(7))))
    before = made.result()
    assert functions(made) == ["ge", "xor"]
    np.testing.assert_array_equal(made.result(), before)


def test_columns_that_all_fall_need_one_comparison() -> None:
    made = graph(lambda g, x: g.map("ge", g.map("mul", x, g.typed(np.float32(-0.3))), g.typed(row(1, 2, 3, 4, 5))))
    assert functions(made) == ["lt"]


@pytest.mark.parametrize("constant", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["scale", "bound"])
def test_constants_that_are_not_finite_are_left_alone(constant: float, place: str) -> None:
    numbers = {"scale": 0.5, "bound": 1.0, place: constant}

    def make(made: Quantized, value: SSAValue) -> SSAValue:
        scaled = made.map("mul", value, made.typed(row(*[numbers["scale"]] * COLUMNS)))
        return made.map("ge", scaled, made.typed(row(*[numbers["bound"]] * COLUMNS)))

    assert functions(graph(make)) == ["mul", "ge"]


def test_overflow_is_left_alone() -> None:
    assert functions(graph(lambda g, x: g.map("ge", g.map("mul", x, g.typed(row(1e35))), g.typed(row(1))))) == [
        "mul",
        "ge",
    ]


@pytest.mark.parametrize("function", ["abs", "gelu", "tanh"])
def test_steps_that_may_turn_round_are_left_alone(function: str) -> None:
    assert functions(graph(lambda g, x: g.map("ge", g.map(function, x), g.typed(row(1))))) == [function, "ge"]


def test_a_value_that_something_else_reads_is_still_computed() -> None:
    made = Quantized(SUMS)
    value = made.map("mul", made.add(nn.CastOp(made.inputs[0], f32)), made.typed(row(0.5)))
    made.done(made.map("ge", value, made.typed(row(1))), value)
    assert functions(made) == ["mul", "ge"]


@pytest.mark.parametrize(("element", "low"), [(i8, 0.0), (ui8, 0.0), (i8, -1.0), (i8, 6.0), (i8, -8.0)])
@pytest.mark.parametrize("rounded_first", [True, False])
def test_two_levels_of_rounding_and_clamping_are_a_threshold(element, low: float, rounded_first: bool) -> None:
    def make(made: Quantized, value: SSAValue) -> SSAValue:
        relu = made.map(
            "max",
            made.map(
                "add",
                made.map("mul", value, made.typed(row(0.1, 0.3, -0.2, 0, 1))),
                made.typed(row(0, -3, 2.5, 1, 0.5)),
            ),
            made.typed(row(-10)),
        )
        value = made.map("div", relu, made.typed(row(0.7)))
        if rounded_first:
            value = made.map("rint", value)
        value = made.map("max", made.map("min", value, made.typed(row(low + 1))), made.typed(row(low)))
        return made.add(nn.CastOp(value if rounded_first else made.map("rint", value), element))

    made = graph(make)
    before = made.result()
    assert set(np.unique(before)) == {low, low + 1}
    left = functions(made)
    assert left == (["ge", "xor"] if low == 0 else ["ge", "xor", "select"])
    np.testing.assert_array_equal(made.result(), before)


def test_more_levels_stay_as_they_are() -> None:
    left = functions(
        graph(lambda g, x: g.add(nn.CastOp(g.map("min", g.map("max", x, g.typed(row(0))), g.typed(row(3))), i8)))
    )
    assert left == ["max", "min"]


def test_layout_between_sums_and_bit_is_seen_through() -> None:
    sums = np.random.default_rng(0).integers(-50, 50, (1, 6, 8)).astype(np.int32)
    made = Quantized(sums)
    bias = made.typed(np.linspace(-3, 3, 8, dtype=np.float32))
    value = made.map("add", made.map("mul", made.add(nn.CastOp(made.inputs[0], f32)), made.typed(row(0.25))), bias)
    heads = made.add(nn.TransposeOp(made.add(nn.ReshapeOp(value, (1, 6, 2, 4))), (0, 2, 1, 3)))
    shifted = made.map("sub", heads, made.typed(np.arange(8, dtype=np.float32).reshape(1, 2, 1, 4)))
    bit = made.map(
        "select",
        made.map("ge", shifted, made.typed(np.float32(0))),
        made.typed(np.float32(1)),
        made.typed(np.float32(-1)),
    )
    made.done(made.add(nn.CastOp(bit, i8)))
    before = made.result()
    left = made.apply(FoldThresholds())
    assert [op.name for op in left] == ["nn.map", "nn.map", "nn.cast", "nn.reshape", "nn.transpose"]
    np.testing.assert_array_equal(made.result(), before)


def test_sums_with_zero_points_are_compared_before_them() -> None:
    made = Quantized(SUMS)
    moved = made.map("sub", made.inputs[0], made.typed(np.arange(COLUMNS, dtype=np.int32)))
    made.done(made.map("ge", made.add(nn.CastOp(moved, f32)), made.typed(row(3))))
    # At the ends of int32 the difference wraps.
    assert functions(made) == ["sub", "ge"]
    lhs, rhs = np.zeros((3, 8), np.int8), np.ones((8, COLUMNS), np.int8)
    lhs[:] = np.arange(8)
    lhs[1] -= 7
    made = Quantized(lhs)
    total = made.add(nn.MatmulOp(made.inputs[0], made.typed(rhs)))
    moved = made.map("sub", total, made.typed(np.array([0, 28, 29, -27, -29], np.int32)))
    made.done(made.map("ge", made.add(nn.CastOp(moved, f32)), made.typed(row(0))))
    before = made.result()
    assert functions(made) == ["ge"]
    np.testing.assert_array_equal(made.result(), before)


def sign(made: Quantized, value: SSAValue, *shift: float) -> SSAValue:
    return made.map(
        "above",
        made.map("sub", made.map("mul", value, made.typed(row(-0.5))), made.typed(row(*shift))),
        made.typed(np.float32(0)),
    )


def test_a_sign_that_no_sum_takes_to_zero_needs_no_check() -> None:
    made = graph(lambda g, x: sign(g, x, 0.25), RANGE[:, None])
    before = made.result()
    assert functions(made) == ["lt"]
    np.testing.assert_array_equal(made.result(), before)


@pytest.mark.parametrize(("shifts", "sums"), [((1.0, 2.0), [[-1, 7], [-3, -5]]), ((1.0, 0.25), [[-3, 7], [-1, 0]])])
def test_a_sign_that_a_sum_takes_to_zero_faults_there_only(shifts: tuple[float, ...], sums: list[list[int]]) -> None:
    lhs = np.array(sums, np.int8)

    def products(array: np.ndarray) -> Quantized:
        made = Quantized(array)
        total = made.add(nn.MatmulOp(made.inputs[0], made.typed(np.eye(2, dtype=np.int8))))
        made.done(sign(made, made.add(nn.CastOp(total, f32)), *shifts))
        return made

    made = products(lhs)
    before = made.result()
    assert functions(made) == ["above"]
    np.testing.assert_array_equal(made.result(), before)
    np.testing.assert_array_equal(made.simulated(), before)
    lhs[0, 0] = -2
    made = products(lhs)
    made.apply(FoldThresholds())
    with pytest.raises(Fault, match="neither above nor below"):
        made.simulated()


def test_bits_of_a_product_are_the_same_on_the_simulator() -> None:
    random = np.random.default_rng(1)
    lhs, rhs = random.choice([-1, 1], (9, 40)).astype(np.int8), random.choice([-1, 1], (40, 24)).astype(np.int8)
    made = Quantized(lhs)
    total = made.add(nn.CastOp(made.add(nn.MatmulOp(made.inputs[0], made.typed(rhs))), f32))
    value = made.map(
        "add",
        made.map("mul", total, made.typed(random.normal(size=24).astype(np.float32))),
        made.typed(random.normal(size=24).astype(np.float32)),
    )
    made.done(made.map("ge", value, made.typed(np.float32(0))))
    before = made.result()
    functions(made)
    np.testing.assert_array_equal(made.simulated(), before)
