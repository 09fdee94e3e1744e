"""8-bit products at the ends of their ranges, where sums are greatest and rounding in float32 would show."""

import numpy as np
import pytest

from .against_runtime import mismatches
from .model_builder import Builder

ENDS = {"127": (127, np.int8), "-128": (-128, np.int8), "255": (255, np.uint8), "0": (0, np.uint8)}

DEPTHS = (1, 513, 1025, 4099)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("right", ["127", "-128", "255"])
@pytest.mark.parametrize("left", ENDS)
def test_integer_products_of_extreme_values_are_exact(left: str, right: str, depth: int) -> None:
    b = Builder(depth, 17)
    (a, a_type), (w, w_type) = ENDS[left], ENDS[right]
    x = b.input(np.full((3, depth), a, a_type))
    y = np.full((depth, 5), w, w_type)
    y[::7, 2] = 1
    b.output(b("MatMulInteger", x, y))
    b.output(b("MatMulInteger", x, y, np.array(3, a_type), np.array(np.iinfo(w_type).min, w_type)))
    b.output(b("MatMulInteger", x, y, np.array(np.iinfo(a_type).max, a_type)))
    assert not mismatches(b, ("edge", "tiny", "server"))


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("end", ["min", "max"])
def test_quantized_layers_of_extreme_values_are_exact(end: str, kind: type) -> None:
    b = Builder(1, 17)
    limit = int(getattr(np.iinfo(kind), end))
    step, zero = np.float32(2**-6), np.array(np.iinfo(kind).min, kind)
    x = b.input(np.full((2, 500), (limit - int(zero)) * step, np.float32))
    q = b("DequantizeLinear", b("QuantizeLinear", x, step, zero), step, zero)
    for weight in (-128, 127):
        w = b("DequantizeLinear", np.full((500, 3), weight, np.int8), np.float32(2**-7), np.array(0, np.int8))
        # Fewer than 2**24 multiples of 2**-13: exact in float32, whatever the order of the sum.
        b.output(b("MatMul", q, w))
    assert not mismatches(b, ("edge", "tiny", "server"), tolerance=0)
