"""Reading from sequences without having them: what takes a piece that a tensor was split into takes it from the
tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from onnx import NodeProto, helper

from ...dialects.constants import Array

Constant = Callable[[Array], str]
"""Makes a constant, and gives the name of its value."""


def taken(
    node: NodeProto, splits: Mapping[str, NodeProto], array: Callable[[str], Array | None], made: Constant
) -> list[NodeProto] | None:
    """The nodes that do what a `SequenceAt` does to the result of a `SplitToSequence`; None where that is not known.

    Pieces of one element are gathered, at any position; wider ones of equal size are cut out, at a known one. `splits`
    are the nodes that make sequences, by their results; `array` gives what a name stands for if it is constant.
    """
    split = splits.get(node.input[0]) if node.op_type == "SequenceAt" and len(node.input) == 2 else None
    if split is None:
        return None
    attributes = {attribute.name: attribute.i for attribute in split.attribute}
    axis, keeps = attributes.get("axis", 0), bool(attributes.get("keepdims", 1))
    source, position, (result,) = split.input[0], node.input[1], node.output
    size = 1
    if len(split.input) > 1 and split.input[1]:
        given = array(split.input[1])
        if given is None or given.ndim:
            return None
        # The standard keeps the axis where a size is given; ONNX Runtime, and PyTorch's exporter with it, drops one of
        # single elements where asked. Models come from there.
        size = int(given)
        keeps = keeps or size != 1
    if size == 1:
        if not keeps:
            return [helper.make_node("Gather", [source, position], [result], axis=axis)]
        piece = f"{result}/piece"
        return [
            helper.make_node("Gather", [source, position], [piece], axis=axis),
            helper.make_node("Unsqueeze", [piece, made(np.array([axis]))], [result]),
        ]
    index = array(position)
    if index is None or int(index) < 0:
        return None
    first = int(index) * size
    bounds = [made(np.array([value])) for value in (first, first + size, axis)]
    return [helper.make_node("Slice", [source, *bounds], [result])]
