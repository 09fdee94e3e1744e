import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.isa.errors import Fault, UsageError
from attnc.isa.lanes import LANE_FUNCTIONS, REDUCTIONS, LaneProgram, Source

FLOATS = np.array([-30.0, -2.5, -1.0, -0.5, -0.0, 0.0, 0.25, 0.5, 1.0, 1.5, 2.5, 30.0], np.float32)
UNARY = {
    "neg": lambda x: -x,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "rint": round,
    "trunc": math.trunc,
    "exp": math.exp,
    "erf": math.erf,
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "softplus": lambda x: math.log1p(math.exp(-abs(x))) + max(x, 0),
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "atan": math.atan,
    "sinh": math.sinh,
    "cosh": math.cosh,
    "asinh": math.asinh,
}
UNIT = {"asin": math.asin, "acos": math.acos, "atanh": math.atanh}
POSITIVE = {
    "sqrt": math.sqrt,
    "rsqrt": lambda x: 1 / math.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "log": math.log,
    "acosh": lambda x: math.acosh(x) if x >= 1 else math.nan,
}


@pytest.mark.parametrize(
    ("table", "values"),
    [(UNARY, FLOATS), (UNIT, FLOATS[np.abs(FLOATS) < 1]), (POSITIVE, FLOATS[FLOATS > 0])],
)
def test_float_functions_are_within_rounding_of_the_mathematics(table, values):
    for name, reference in table.items():
        got = LANE_FUNCTIONS[name].evaluate(values)
        wanted = np.array([reference(float(x)) for x in values])
        np.testing.assert_allclose(got, wanted, rtol=3e-6, atol=3e-7, err_msg=name)


def test_erf_is_within_two_units_in_the_last_place():
    x = np.linspace(-5, 5, 20001).astype(np.float32)
    wanted = np.array([math.erf(v) for v in x.tolist()])
    units = np.abs(LANE_FUNCTIONS["erf"].evaluate(x) - wanted) / np.spacing(np.abs(wanted).astype(np.float32))
    assert units.max() < 2
    special = LANE_FUNCTIONS["erf"].evaluate(np.array([math.inf, -math.inf, math.nan], np.float32))
    assert special[:2].tolist() == [1.0, -1.0]
    assert np.isnan(special[2])


def ints(*values):
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("name", "operands", "wanted"),
    [
        ("div", (ints(7, -7, 7, 5, -(2**31)), ints(2, 2, -2, 0, -1)), [3, -3, -3, 0, -(2**31)]),
        ("mod", (ints(7, -7, 7, 5), ints(3, 3, -3, 0)), [1, 2, -2, 0]),
        ("fmod", (ints(7, -7, 7, 5), ints(3, 3, -3, 0)), [1, -1, 1, 0]),
        ("pow", (ints(2, 2, -1, 0, 3), ints(10, -1, -3, -1, 0)), [1024, 0, -1, 0, 1]),
        ("add", (ints(2**31 - 1), ints(1)), [-(2**31)]),
        ("shift_left", (ints(1, 1, 1, -1), ints(31, 32, -1, 4)), [-(2**31), 0, 0, -16]),
        ("shift_right", (ints(-16, 16, 1, 5), ints(2, 2, 40, -1)), [-4, 4, 0, 0]),
        ("to_int", (np.array([1.9, -1.9, math.nan, 1e10], np.float32),), [1, -1, 0, 2**31 - 1]),
        ("bit_not", (ints(0, 5),), [-1, -6]),
        ("prune", (np.array([0.5, -0.5, 0.75, -math.inf], np.float32), np.float32(0.5)), [0, 0, 0.75, -math.inf]),
        ("sign", (np.array([-3.0, 0.0, 2.0], np.float32),), [-1, 0, 1]),
        ("select", (np.array([True, False]), ints(1, 2), ints(3, 4)), [1, 4]),
        ("is_inf", (np.array([math.inf, 1, math.nan], np.float32),), [True, False, False]),
    ],
)
def test_edges_of_functions(name, operands, wanted):
    assert LANE_FUNCTIONS[name].evaluate(*operands).tolist() == wanted


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_above_tells_the_sign_of_what_is_not_zero_and_faults_at_zero(kind):
    above = LANE_FUNCTIONS["above"]
    values = np.array([[-3, 1], [5, 0]], kind)
    assert above.evaluate(values[:1], np.zeros((), kind)).tolist() == [[False, True]]
    with pytest.raises(Fault, match=r"element \[1, 1\] is 0, neither above nor below 0"):
        above.evaluate(values, np.zeros((), kind))


def test_above_faults_at_nan():
    with pytest.raises(Fault, match="is nan"):
        LANE_FUNCTIONS["above"].evaluate(np.array([1, math.nan], np.float32), np.zeros((), np.float32))


def test_minimum_and_maximum_keep_nan():
    nan = np.array([math.nan], np.float32)
    one = np.array([1.0], np.float32)
    for name in ("min", "max"):
        assert np.isnan(LANE_FUNCTIONS[name].evaluate(nan, one))
        assert np.isnan(LANE_FUNCTIONS[name].evaluate(one, nan))


def test_every_form_gives_the_kind_it_declares():
    samples = {"float": FLOATS[:4], "int": ints(3, -2, 1, 7), "bool": np.array([True, False, True, True])}
    dtypes = {"float": np.float32, "int": np.int32, "bool": np.bool_}
    for function in LANE_FUNCTIONS.values():
        for kinds, result in function.signatures.items():
            # Operands that differ everywhere: `above` faults where they are equal.
            operands = (np.roll(samples[kind], place) for place, kind in enumerate(kinds))
            assert function.evaluate(*operands).dtype == dtypes[result], function.name


def test_codes_are_unique():
    assert len({item.code for item in LANE_FUNCTIONS.values()}) == len(LANE_FUNCTIONS)
    assert all(0 < item.code < 128 for item in LANE_FUNCTIONS.values())
    assert len({item.code for item in REDUCTIONS.values()}) == len(REDUCTIONS)


def test_variance_is_that_of_the_two_pass_formula():
    x = (np.arange(8, dtype=np.float32) + 30000.0)[None, :]
    # The one-pass formula gives 0 or noise here: the squares' spacing is 64.
    got = LaneProgram.parse("reduce mean(a); reduce variance(a)").run([x], (), 1, 8, [1, 1]).reductions
    assert got[0].tolist() == [30003.5]
    assert got[1].tolist() == [5.25]


def test_a_program_runs_as_written():
    program = LaneProgram.parse(
        "r0 = add(a, c0); r1 = mul(r0, 0.5); r2 = ge(col, row); r3 = select(r2, r1, b); "
        "out r3; reduce max(r1); reduce sum(r2)"
    )
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 7)).astype(np.float32)
    c0 = rng.normal(size=(5, 1)).astype(np.float32)
    result = program.run([a, b], [c0], 5, 7, [1, 0])
    half = (a + c0) * np.float32(0.5)
    upper = np.arange(7)[None, :] >= np.arange(5)[:, None]
    np.testing.assert_array_equal(result.output, np.where(upper, half, b))
    np.testing.assert_array_equal(result.reductions[0], half.max(1))
    np.testing.assert_array_equal(result.reductions[1], upper.sum(0))
    assert program.kinds(["float", "float"], ["float"]) == ("float", ("float", "int"))


def test_constants_fill_the_pass():
    output, _ = LaneProgram.parse("out 2.0").run([None, None], (), 2, 3)
    assert output is not None
    assert output.tolist() == [[2.0] * 3] * 2


def test_int_and_float_immediates_are_different_programs():
    one, real = LaneProgram.parse("out 1"), LaneProgram.parse("out 1.0")
    assert one != real
    assert {one: 1, real: 2}[LaneProgram.parse("out 1")] == 1
    assert LaneProgram.parse("out 0.0") != LaneProgram.parse("out -0.0")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("r0 = exp(a); r1 = div(r0, b); out r1", "at most one transcendental"),
        ("r0 = add(a, r0); out r0", "before it is computed"),
        ("r0 = add(a, b)", "no output"),
        ("r1 = add(a, b); out r1", "r0 should follow"),
        ("r0 = plus(a, b); out r0", "no lane function"),
        ("r0 = add(a); out r0", "takes 2 operands"),
        ("r0 = add(a, x); out r0", "neither a source nor a number"),
        ("out a; out b", "two outputs"),
        ("reduce median(a)", "no reduction"),
        ("out 1e39", "does not fit float32"),
        ("out 3000000000", "does not fit int32"),
        ("; ".join(f"r{i} = add(a, b)" for i in range(8)) + "; r8 = add(a, b); out r0", "9 operations"),
        ("r0 = add(1, 2); r1 = add(3, 4); r2 = add(r0, 5); out r2", "more than 4 different numbers"),
        ("nonsense", "not understood"),
    ],
)
def test_wrong_programs_say_why(text, reason):
    with pytest.raises(UsageError, match=reason):
        LaneProgram.parse(text)


def test_kinds_that_do_not_fit_say_why():
    program = LaneProgram.parse("r0 = add(a, b); out r0")
    with pytest.raises(UsageError, match="no form"):
        program.kinds(["float", "int"])
    with pytest.raises(UsageError, match="uses b"):
        program.kinds(["float", None])


@st.composite
def programs(draw):
    count = draw(st.integers(0, 8))
    numbers = st.one_of(
        st.integers(-(2**31), 2**31 - 1).map(str), st.floats(width=32).map(lambda x: str(np.float32(x)))
    )
    chosen = [
        text if "." in text or "e" in text or "n" in text or text.lstrip("-").isdigit() else f"{text}.0"
        for text in draw(st.lists(numbers, max_size=4, unique=True))
    ]
    base = ["a", "b", "c0", "c1", "c2", "c3", "row", "col", *chosen]
    names = sorted(name for name, item in LANE_FUNCTIONS.items() if not item.transcendental)
    parts = []
    for index in range(count):
        sources = base + [f"r{i}" for i in range(index)]
        name = draw(st.sampled_from(names))
        operands = [draw(st.sampled_from(sources)) for _ in range(LANE_FUNCTIONS[name].arity)]
        parts.append(f"r{index} = {name}({', '.join(operands)})")
    sources = base + [f"r{i}" for i in range(count)]
    parts.append(f"out {draw(st.sampled_from(sources))}")
    reductions = st.tuples(st.sampled_from(sorted(REDUCTIONS)), st.sampled_from(sources))
    parts.extend(f"reduce {name}({source})" for name, source in draw(st.lists(reductions, max_size=2)))
    return "; ".join(parts)


@given(programs())
@settings(deadline=None)
def test_text_reads_back_as_the_same_program(text):
    program = LaneProgram.parse(text)
    again = LaneProgram.parse(str(program))
    assert again == program
    assert again.operations == program.operations
    assert str(again.immediates) == str(program.immediates)
    assert all(isinstance(source, Source) for source in program.used)
