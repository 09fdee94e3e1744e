"""A small model with what matters to the compiler's front door: ids, a mask, float products and an attention."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

WIDTH, TOKENS, VOCABULARY = 16, 6, 10

Inputs = dict[str, np.ndarray]


def small_model() -> onnx.ModelProto:
    """Embedding, attention with a mask, residual, norm, feed-forward with GELU: `ids` and `mask` [1, 6] to `y`."""
    random = np.random.default_rng(0)
    arrays = {
        "table": random.normal(0, 1, (VOCABULARY, WIDTH)),
        "q": random.normal(0, 0.3, (WIDTH, WIDTH)),
        "k": random.normal(0, 0.3, (WIDTH, WIDTH)),
        "v": random.normal(0, 0.3, (WIDTH, WIDTH)),
        "up": random.normal(0, 0.3, (WIDTH, 2 * WIDTH)),
        "down": random.normal(0, 0.3, (2 * WIDTH, WIDTH)),
        "scale": np.ones(WIDTH),
        "one": np.ones(()),
        "low": np.full((), -1e4),
    }
    initializers = [numpy_helper.from_array(np.asarray(a, np.float32), name) for name, a in arrays.items()]
    heads = numpy_helper.from_array(np.int64([1, TOKENS, 2, WIDTH // 2]), "heads")
    joined = numpy_helper.from_array(np.int64([1, TOKENS, WIDTH]), "joined")
    axes = numpy_helper.from_array(np.int64([1, 2]), "axes")
    node = helper.make_node

    def head(name: str, permutation: list[int]) -> list[onnx.NodeProto]:
        return [
            node("MatMul", ["embedded", name], [f"{name}_all"], f"{name}_product"),
            node("Reshape", [f"{name}_all", "heads"], [f"{name}_split"], f"{name}_split"),
            node("Transpose", [f"{name}_split"], [f"{name}_head"], f"{name}_turn", perm=permutation),
        ]

    nodes = [
        node("Gather", ["table", "ids"], ["embedded"], "embedding"),
        node("Cast", ["mask"], ["mask_float"], "mask_cast", to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask_float", "axes"], ["mask_wide"], "mask_wide"),
        node("Sub", ["one", "mask_wide"], ["hidden"], "mask_hidden"),
        node("Mul", ["hidden", "low"], ["added"], "mask_added"),
        *head("q", [0, 2, 1, 3]),
        *head("k", [0, 2, 3, 1]),
        *head("v", [0, 2, 1, 3]),
        node("MatMul", ["q_head", "k_head"], ["scores"], "score_product"),
        node("Add", ["scores", "added"], ["masked"], "score_mask"),
        node("Softmax", ["masked"], ["weights"], "softmax", axis=-1),
        node("MatMul", ["weights", "v_head"], ["context"], "value_product"),
        node("Transpose", ["context"], ["context_turned"], "context_turn", perm=[0, 2, 1, 3]),
        node("Reshape", ["context_turned", "joined"], ["attended"], "context_join"),
        node("Add", ["embedded", "attended"], ["stream"], "residual"),
        node("LayerNormalization", ["stream", "scale"], ["normed"], "norm"),
        node("MatMul", ["normed", "up"], ["wide"], "up_product"),
        node("Gelu", ["wide"], ["bent"], "activation"),
        node("MatMul", ["bent", "down"], ["narrow"], "down_product"),
        node("Add", ["stream", "narrow"], ["y"], "last_residual"),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", TOKENS]) for name in ("ids", "mask")]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", TOKENS, WIDTH])]
    graph = helper.make_graph(nodes, "small", inputs, outputs, [*initializers, heads, joined, axes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


SHAPES = {"ids": (1, TOKENS), "mask": (1, TOKENS)}


@pytest.fixture(scope="session")
def model() -> onnx.ModelProto:
    return small_model()


@pytest.fixture(scope="session")
def shapes() -> dict[str, tuple[int, ...]]:
    return dict(SHAPES)


@pytest.fixture
def path(model: onnx.ModelProto, tmp_path: Path) -> Path:
    """The model as a file."""
    place = tmp_path / "model.onnx"
    onnx.save(model, place)
    return place


@pytest.fixture
def inputs() -> Inputs:
    random = np.random.default_rng(1)
    mask = np.int64([[1, 1, 1, 1, 0, 0]])
    return {"ids": random.integers(0, VOCABULARY, (1, TOKENS)), "mask": mask}


@pytest.fixture
def samples() -> Inputs:
    """Four samples along axis 0, as calibration wants them."""
    random = np.random.default_rng(2)
    return {"ids": random.integers(0, VOCABULARY, (4, TOKENS)), "mask": np.ones((4, TOKENS), np.int64)}
