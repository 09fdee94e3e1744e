"""Pieces of a tensor that was split into a sequence are taken from the tensor itself."""

import numpy as np
import pytest

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def model(build, attributes, position, split=None, constant=False):
    constants = {"at": np.array(position)} | ({} if split is None else {"size": np.array(split)})
    given = ["x"] if split is None else ["x", "size"]
    nodes = [
        build.node("SplitToSequence", given, ["pieces"], "split", **attributes),
        build.node("SequenceAt", ["pieces", "at"], ["y"], "take"),
    ]
    inputs = [] if constant else [build.value("x", 2, 3, 4)]
    return build.model(nodes, inputs, ["y"], constants | ({"x": X} if constant else {}))


@pytest.mark.parametrize(
    ("attributes", "split", "position", "expected"),
    [
        ({"axis": 1, "keepdims": 0}, None, 2, X[:, 2]),
        ({"axis": 1, "keepdims": 0}, None, -1, X[:, 2]),
        ({"axis": 1}, None, 1, X[:, 1:2]),
        ({"axis": 1, "keepdims": 0}, 1, 1, X[:, 1]),
        ({"axis": 1}, 1, 1, X[:, 1:2]),
        ({"axis": 2}, 3, 0, X[..., :3]),
        ({"axis": 2}, 3, 1, X[..., 3:]),
    ],
)
def test_a_piece_of_a_known_tensor_is_known(build, attributes, split, position, expected):
    imported = build.imported(model(build, attributes, position, split, constant=True))
    np.testing.assert_array_equal(imported.outputs()[0], expected)


def test_a_piece_of_an_input_is_gathered_from_it(build):
    imported = build.imported(model(build, {"axis": 1, "keepdims": 0}, 2))
    assert "SequenceAt" not in imported.operators
    assert imported.outputs() == ["tensor<2x4xf32>"]


def test_pieces_of_sizes_of_their_own_stay_a_sequence(build):
    imported = build.imported(model(build, {"axis": 1}, 1, [1, 2]))
    assert "SequenceAt" in imported.operators
