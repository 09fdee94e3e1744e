import ml_dtypes
import numpy as np
import pytest
from xdsl.context import Context

from attnc.dialects.constants import ConstantStore, RefAttr, dense, dense_array, derived_key
from attnc.dialects.context import CompilerContext


def test_derived_constants_are_made_once_and_when_asked_for():
    made = []

    def turn(array):
        made.append(array.shape)
        return array.T

    store = ConstantStore()
    store.add("w", np.arange(6, dtype=np.float32).reshape(2, 3))
    key = store.derive(derived_key("transpose", "w", permutation=(1, 0)), turn, "w", shape=(3, 2), dtype=np.dtype("f4"))
    assert key == "transpose(w; permutation=1,0)"
    assert store.shape(key) == (3, 2)
    assert store.dtype(key) == np.float32
    assert made == []
    assert np.array_equal(store.get(key), store.get("w").T)
    store.get(key)
    assert made == [(2, 3)]


def test_the_same_derivation_is_the_same_constant():
    store = ConstantStore()
    store.add("w", np.zeros(2, np.float32))
    first = store.derive("twice(w)", lambda x: x * 2, "w")
    second = store.derive("twice(w)", lambda x: x * 3, "w")
    assert first == second
    assert len(store) == 2
    assert store.origins("twice(w)") == ("w",)


def test_a_taken_key_and_a_missing_one_are_errors():
    store = ConstantStore()
    store.add("w", np.zeros(2))
    with pytest.raises(ValueError, match="already"):
        store.add("w", np.zeros(2))
    with pytest.raises(KeyError, match="no constant 'v'"):
        store.get("v")
    with pytest.raises(KeyError, match="no constant 'v'"):
        store.derive("f(v)", lambda x: x, "v")


def test_constants_cannot_be_written_to():
    store = ConstantStore()
    source = np.zeros(2)
    store.add("w", source)
    with pytest.raises(ValueError, match="read-only"):
        store.get("w")[0] = 1
    source[0] = 1  # the owner's own view stays as it was


def test_equal_contents_share_an_anonymous_key_and_a_digest():
    store = ConstantStore()
    one = store.anonymous(np.arange(40, dtype=np.int32))
    assert store.anonymous(np.arange(40, dtype=np.int32)) == one
    assert store.anonymous(np.arange(40, dtype=np.float32)) != one
    store.add("named", np.arange(40, dtype=np.int32))
    assert store.digest("named") == store.digest(one)


def test_large_constants_are_referred_to_and_small_ones_stand_in_the_ir():
    store = ConstantStore()
    assert isinstance(store.attribute(np.zeros(17, np.float32)), RefAttr)
    assert not isinstance(store.attribute(np.zeros(16, np.float32)), RefAttr)
    assert len(store) == 1


def test_long_chains_keep_short_keys():
    key = "w"
    for _ in range(50):
        key = derived_key("add", key, key)
    assert len(key) <= 200
    assert key != derived_key("add", "w", "w")


@pytest.mark.parametrize(
    "array",
    [
        np.array([True, False]),
        np.array([-128, 127], np.int8),
        np.array([0, 255], np.uint8),
        np.array([[-(2**31), 2**31 - 1]], np.int32),
        np.array([np.inf, -0.0, np.nan, 1e-45], np.float32),
        np.array([65504, 6e-8], np.float16),
        np.array([1.5, -np.inf], ml_dtypes.bfloat16),
        np.zeros((0, 3), np.float32),
        np.array(2.5, np.float32),
    ],
    ids=lambda array: array.dtype.name,
)
def test_dense_attributes_hold_every_element_type(array):
    back = dense_array(dense(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_a_copied_context_shares_what_belongs_to_the_module():
    context = CompilerContext()
    context.store.add("w", np.zeros(2))
    copy = context.clone()
    assert copy.store is context.store
    assert CompilerContext.of(copy) is copy
    with pytest.raises(TypeError, match="attnc-opt"):
        CompilerContext.of(Context())
    with pytest.raises(TypeError, match="needs a machine"):
        _ = context.target
