import math

import ml_dtypes
import numpy as np
import pytest

from attnc.isa.errors import UsageError
from attnc.isa.formats import Format, narrow, widen


def test_floats_truncate_and_saturate_into_integers():
    values = np.array([-300.7, -1.9, -0.0, 1.9, 127.9, 300.0, math.nan, math.inf, -math.inf], np.float32)
    assert narrow(values, Format.I8).tolist() == [-128, -1, 0, 1, 127, 127, 0, 127, -128]
    assert narrow(values, Format.U8).tolist() == [0, 0, 0, 1, 127, 255, 0, 255, 0]


def test_int32_saturation_reaches_its_last_value():
    values = np.array([2147483648.0, 2147483520.0, -2147483648.0, -3e9, 1e30, math.nan], np.float32)
    expected = [2147483647, 2147483520, -2147483648, -2147483648, 2147483647, 0]
    assert narrow(values, Format.I32).tolist() == expected


def test_integers_wrap_into_narrower_integers():
    values = np.array([128, -129, 256, 65535], np.int32)
    assert narrow(values, Format.I8).tolist() == [-128, 127, 0, -1]
    assert narrow(values, Format.U8).tolist() == [128, 127, 0, 255]


def test_half_formats_round_half_to_even():
    # 2049 and 2051 lie halfway between multiples of 2 that float16 has; 257 and 259 likewise in bfloat16.
    assert narrow(np.array([2049, 2051], np.float32), Format.F16).tolist() == [2048.0, 2052.0]
    assert narrow(np.array([257, 259], np.float32), Format.BF16).astype(np.float32).tolist() == [256.0, 260.0]
    assert narrow(np.array([1e6], np.float32), Format.F16).tolist() == [math.inf]


def test_anything_but_zero_is_true():
    assert narrow(np.array([0.0, -0.0, math.nan, 0.1], np.float32), Format.BOOL).tolist() == [
        False,
        False,
        True,
        True,
    ]
    assert widen(np.array([0, 1, 2, 255], np.uint8).view(np.bool_), Format.BOOL).tolist() == [
        False,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize("item", list(Format))
def test_stored_values_survive_the_lanes(item: Format):
    raw = np.arange(256, dtype=np.uint8)
    if item is Format.BOOL:
        raw = raw & 1
    stored = np.repeat(raw, max(item.bytes, 1)).view(item.dtype)
    again = narrow(widen(stored, item), item)
    assert again.dtype == item.dtype
    if item.kind == "float":
        wide, back = stored.astype(np.float64), again.astype(np.float64)
        np.testing.assert_array_equal(wide, back)
    else:
        np.testing.assert_array_equal(stored, again)


def test_formats_are_found_by_name_and_dtype():
    assert Format.parse("bf16") is Format.BF16
    assert Format.of_dtype(ml_dtypes.bfloat16) is Format.BF16
    with pytest.raises(UsageError, match="f64"):
        Format.parse("f64")


@pytest.mark.parametrize("columns", [1, 3, 7, 8, 9, 20])
def test_packed_rows_start_at_a_byte_and_end_in_zeros(columns):
    bits = np.arange(2 * columns).reshape(2, columns) % 3 == 0
    packed = narrow(bits, Format.B1)
    assert packed.shape == (2, Format.B1.run_bytes(columns)) == (2, -(-columns // 8))
    for row, stored in zip(bits, packed, strict=True):
        assert int.from_bytes(stored.tobytes(), "little") == sum(1 << place for place in np.flatnonzero(row))


def test_packed_integers_wrap_and_packed_floats_saturate():
    whole, real = np.array([[-3, -2, 1, 2, 5]], np.int32), np.array([[-3.5, -0.5, 1.9, 7.0]], np.float32)
    assert widen(narrow(whole, Format.I2), Format.I2).tolist() == [[1, -2, 1, -2, 1, 0, 0, 0]]
    assert widen(narrow(whole, Format.U2), Format.U2).tolist() == [[1, 2, 1, 2, 1, 0, 0, 0]]
    assert widen(narrow(real, Format.I2), Format.I2).tolist() == [[-2, 0, 1, 1]]
    assert widen(narrow(real, Format.U4), Format.U4).tolist() == [[0, 0, 1, 7]]
