import numpy as np
import pytest
from xdsl.utils.test_value import create_ssa_value

from attnc.dialects.constants import ConstantStore
from attnc.dialects.elements import element_of_dtype, tensor
from attnc.dialects.interpret.function import evaluate
from attnc.dialects.nn import EmptyRow
from attnc.dialects.sattn import AttentionOp

GENERATOR = np.random.default_rng(0)
Q = GENERATOR.standard_normal((2, 4, 5, 8)).astype(np.float32)
K = GENERATOR.standard_normal((2, 2, 6, 8)).astype(np.float32)
V = GENERATOR.standard_normal((2, 2, 6, 3)).astype(np.float32)


def run(arrays, **options):
    """The attention of the named arrays."""
    values = {name: create_ssa_value(tensor(element_of_dtype(a.dtype), *a.shape)) for name, a in arrays.items()}
    operation = AttentionOp(values.pop("q"), values.pop("k"), values.pop("v"), **values, **options)
    operation.verify()
    return evaluate(operation, list(arrays.values()), ConstantStore())[0]


def expected(scale, hidden=None, q=Q, k=K, v=V):
    """Attention head by head, in double precision."""
    result = np.zeros((*q.shape[:3], v.shape[3]))
    for b, h, i in np.ndindex(*q.shape[:3]):
        scores = k[b, h // 2].astype(np.float64) @ q[b, h, i] * scale
        if hidden is not None:
            scores = scores + hidden[i]
        weights = np.exp(scores - scores.max())
        result[b, h, i] = weights / weights.sum() @ v[b, h // 2]
    return result


def test_query_heads_share_the_key_heads_of_their_group():
    assert np.allclose(run({"q": Q, "k": K, "v": V}, scale=0.5), expected(0.5), atol=1e-5)


def test_causal_with_an_offset():
    hidden = np.where(np.tri(5, 6, 1) > 0, 0, -np.inf)
    found = run({"q": Q, "k": K, "v": V}, scale=0.5, causal=True, causal_offset=1)
    assert np.allclose(found, expected(0.5, hidden), atol=1e-5)


@pytest.mark.parametrize("boolean", [False, True])
def test_masks(boolean):
    visible = GENERATOR.random((5, 6)) > 0.4
    visible[:, 0] = True
    hidden = np.where(visible, 0, -np.inf).astype(np.float32)
    found = run({"q": Q, "k": K, "v": V, "mask": visible if boolean else hidden}, scale=0.5)
    assert np.allclose(found, expected(0.5, hidden), atol=1e-5)


def test_rows_without_keys():
    arrays = {"q": Q, "k": K, "v": V, "mask": np.zeros((5, 6), np.bool_)}
    assert np.isnan(run(arrays, scale=1.0)).all()
    assert not run(arrays, scale=1.0, empty_row=EmptyRow.ZERO).any()
    uniform = run(arrays, scale=1.0, empty_row=EmptyRow.UNIFORM, fill=-1e9)
    assert np.allclose(uniform, np.repeat(V, 2, axis=1).mean(2, keepdims=True), atol=1e-6)


def test_the_soft_cap_bounds_scores():
    capped = run({"q": Q * 100, "k": K, "v": V}, scale=1.0, softcap=1e-6)
    assert np.allclose(capped, np.repeat(V, 2, axis=1).mean(2, keepdims=True), atol=1e-4)


def levels(array, axis):
    scale = np.abs(array).max(axis=axis, keepdims=True) / 127
    return np.rint(array / scale).astype(np.int8), scale.astype(np.float32)


@pytest.mark.parametrize("static", [False, True])
def test_int8_operands_come_close_to_floats(static):
    (q, q_scale), (k, k_scale), (v, v_scale) = levels(Q, 3), levels(K, 3), levels(V, 2)
    arrays = {"q": q, "k": k, "v": v, "q_scale": q_scale, "k_scale": k_scale, "v_scale": v_scale}
    if static:
        arrays["p_scale"] = np.full((1, 1, 1, 1), 1 / 127, np.float32)
        arrays["v_scale"] = v_scale * arrays["p_scale"]
    found = run(arrays, scale=0.5)
    assert np.abs(found - expected(0.5)).max() < 0.05
