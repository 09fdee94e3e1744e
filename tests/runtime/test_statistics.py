"""What products met: zeros, set bits and sums, where statistics are asked for."""

import numpy as np
import pytest

import attnc
from attnc.runtime.session import Session
from attnc.runtime.summary import summary_text

from ..end_to_end.test_binary_models import EXAMPLES
from .conftest import WEIGHT


def test_zeros_and_sums_of_a_product_are_counted(linear, x):
    x[:8] = 0
    result = Session(linear).run({"x": x}, statistics=True)
    (row,) = result.report.operands
    sums = x.astype(np.int32) @ WEIGHT.astype(np.int32)
    assert (row.nodes, row.mode, row.kept) == (("n0", "n1"), "i8", 1.0)
    assert row.left_zeros == pytest.approx((x == 0).mean())
    assert row.right_zeros == pytest.approx((WEIGHT == 0).mean())
    assert (row.left_ones, row.right_ones) == (None, None)
    assert (row.least_sum, row.greatest_sum) == (sums.min(), sums.max())
    assert "zeros left" in summary_text(result.report)


def test_values_stay_the_same_and_nothing_is_counted_unasked(linear, x):
    session = Session(linear)
    counted, plain = session.run({"x": x}, statistics=True), session.run({"x": x})
    np.testing.assert_array_equal(counted.outputs["y"], plain.outputs["y"])
    assert plain.report.operands == ()
    assert session.run(mode="timing", statistics=True).report.operands == ()


def test_set_bits_of_packed_operands_and_the_share_of_work_that_is_no_repetition():
    program = attnc.compile(EXAMPLES / "digits_bivit" / "model_plain.onnx").program
    session = Session(program)
    result = session.run(session.random_inputs(0), statistics=True)
    bits = [row for row in result.report.operands if row.mode == "binary"]
    assert all(0 < row.right_ones < 1 for row in bits)
    # Hidden activations are 0 and 1, all others of linear layers -1 and 1.
    hidden = [row for row in bits if row.path.endswith("activation")]
    assert len(hidden) == 4
    assert all(row.left_zeros == pytest.approx(1 - row.left_ones) for row in hidden)
    performance = result.report.performance
    assert performance.recomputed_macs < 0.01 * performance.macs
