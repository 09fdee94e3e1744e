"""Nodes of older operator versions, rewritten to say the same in the newest form.

Most versions only widened the types; `MEANING_SINCE` lists the operators whose nodes changed their form or
meaning, and the table here says how. A node without a rule keeps its old form and is imported as such.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from ...dialects import onnx_types as types
from ...dialects.constants import Array
from ...dialects.onnx_signatures import MEANING_SINCE, Signature
from ...isa.frozen import frozen
from .evaluate import attribute_value
from .prototypes import code_of, shape_of
from .values import Value

OLDEST_OPSET = 7
"""Nodes of forms that were replaced before this version are refused: most broadcast by attributes."""


@frozen
class OldNode:
    """A node in an old form, its inputs, and `constant`.

    A function that makes a constant and returns its name.
    """

    node: NodeProto
    inputs: Sequence[Value | None]
    constant: Callable[[Array], str]

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute, `default` if the node has none."""
        for attribute in self.node.attribute:
            if attribute.name == name:
                return attribute_value(attribute)
        return default

    @property
    def dtype(self) -> types.DType | None:
        """The numpy dtype of the first input; None if it is not known."""
        value = self.inputs[0] if self.inputs else None
        element = types.element_of_code(code_of(None if value is None else value.type))
        return None if isinstance(element, types.UnknownType) else types.dtype_of(element)

    @property
    def rank(self) -> int | None:
        """The rank of the first input; None if it is not known."""
        value = self.inputs[0] if self.inputs else None
        shape = shape_of(None if value is None else value.type)
        return None if shape is None else len(shape)

    def integers(self, name: str) -> str:
        """A constant with the integers of an attribute; no name if the node has none."""
        values = self.attribute(name)
        return "" if values is None else self.constant(np.array(values, np.int64))

    def rewritten(
        self, inputs: Sequence[str], drop: Sequence[str] = (), operator: str | None = None, **attributes: Any
    ) -> NodeProto:
        """The node with other inputs, without some attributes and with others."""
        names = list(inputs)
        while names and not names[-1]:
            names.pop()
        made = helper.make_node(operator or self.node.op_type, names, list(self.node.output), self.node.name)
        made.attribute.extend(a for a in self.node.attribute if a.name not in drop and a.name not in attributes)
        made.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        return made

    def inner(self, operator: str, inputs: Sequence[str], suffix: str, **attributes: Any) -> NodeProto:
        """A further node that stands for a part of this one; its result's name ends in `suffix`."""
        return helper.make_node(operator, inputs, [f"{self.node.output[0]}{suffix}"], self.node.name, **attributes)


def upgrade(old: OldNode, form: Signature) -> list[NodeProto] | None:
    """The nodes, in the newest forms, that say what a node of version `form.since` says.

    None if no rule tells.
    """
    if form.since >= MEANING_SINCE.get(form.operator, 0) and not form.deprecated:
        return [old.node]
    for until, rule in _RULES.get(form.operator, ()):
        if form.since < until:
            return rule(old)
    return None


def _axes_input(old: OldNode) -> list[NodeProto]:
    return [old.rewritten([old.node.input[0], old.integers("axes")], ["axes"])]


def _clip(old: OldNode) -> list[NodeProto] | None:
    if old.dtype is None:
        return None
    bounds = [old.attribute("min"), old.attribute("max")]
    names = ["" if bound is None else old.constant(np.array(bound, old.dtype)) for bound in bounds]
    return [old.rewritten([old.node.input[0], *names], ["min", "max"])]


def _pad(old: OldNode) -> list[NodeProto] | None:
    if old.dtype is None:
        return None
    value = old.constant(np.array(old.attribute("value", 0.0), old.dtype))
    return [old.rewritten([old.node.input[0], old.integers("pads"), value], ["pads", "value"])]


def _slice(old: OldNode) -> list[NodeProto]:
    names = [old.integers(name) for name in ("starts", "ends", "axes")]
    return [old.rewritten([old.node.input[0], *names], ["starts", "ends", "axes"])]


def _split(old: OldNode) -> list[NodeProto]:
    if len(old.node.input) > 1:
        return [old.node]
    sizes = old.integers("split")
    if sizes:
        return [old.rewritten([old.node.input[0], sizes], ["split"])]
    return [old.rewritten(old.node.input, num_outputs=len(old.node.output))]


def _top_k(old: OldNode) -> list[NodeProto]:
    count = old.constant(np.array([old.attribute("k", 1)], np.int64))
    return [old.rewritten([old.node.input[0], count], ["k"])]


def _dropout(old: OldNode) -> list[NodeProto]:
    ratio = old.constant(np.array(old.attribute("ratio", 0.5), np.float32))
    return [old.rewritten([old.node.input[0], ratio], ["ratio"])]


def _batch_normalization(old: OldNode) -> list[NodeProto] | None:
    """Before version 14, a node in training was one with more than one output."""
    if any(old.node.output[1:]) or not old.attribute("spatial", 1):
        return None
    return [old.rewritten(old.node.input, ["spatial"])]


def _flattened(old: OldNode) -> list[NodeProto]:
    """Before version 13, Softmax and its kin worked on rows of the input flattened at `axis` (default 1)."""
    axis, data = old.attribute("axis", 1), old.node.input[0]
    if old.rank is not None and axis in (-1, old.rank - 1):
        return [old.rewritten(old.node.input, axis=-1)]
    shape = old.inner("Shape", [data], "/shape")
    rows = old.inner("Flatten", [data], "/flat", axis=axis)
    inner = old.inner(old.node.op_type, rows.output, "/rows", axis=-1)
    # allowzero: an extent of 0 in the input's own shape means just that.
    reshape = old.rewritten([inner.output[0], shape.output[0]], ["axis"], "Reshape", allowzero=1)
    return [shape, rows, inner, reshape]


def _upsample(old: OldNode) -> list[NodeProto] | None:
    """Upsample, and Resize before 11: output pixel i comes from input pixel floor(i / scale)."""
    if len(old.node.input) != 2 or old.attribute("mode", "nearest") not in ("nearest", "linear"):
        return None
    return [
        old.rewritten(
            [old.node.input[0], "", old.node.input[1]],
            operator="Resize",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    ]


def _resize(old: OldNode) -> list[NodeProto] | None:
    if old.attribute("coordinate_transformation_mode") == "tf_half_pixel_for_nn":
        return None
    names = [*old.node.input, "", ""][:4]
    inputs = [*old.inputs, None, None][:4]
    # Empty tensors stood for inputs that are left out.
    kept = [
        "" if index and value is not None and shape_of(value.type) == (0,) else name
        for index, (name, value) in enumerate(zip(names, inputs, strict=True))
    ]
    return [old.rewritten(kept)]


def _roi_align(old: OldNode) -> list[NodeProto]:
    return [old.rewritten(old.node.input, coordinate_transformation_mode="output_half_pixel")]


def _grid_sample(old: OldNode) -> list[NodeProto]:
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(old.attribute("mode", "bilinear"))
    return [old.rewritten(old.node.input, mode=mode)] if mode else [old.node]


def _dft(old: OldNode) -> list[NodeProto]:
    axis = old.constant(np.array(old.attribute("axis", 1), np.int64))
    length = old.node.input[1] if len(old.node.input) > 1 else ""
    return [old.rewritten([old.node.input[0], length, axis], ["axis"])]


def _scatter(old: OldNode) -> list[NodeProto]:
    return [old.rewritten(old.node.input, operator="ScatterElements")]


def _group_normalization(old: OldNode) -> list[NodeProto] | None:
    """Before version 21, scale and bias had one element per group, not per channel."""
    data = old.inputs[0] if old.inputs else None
    shape = shape_of(None if data is None else data.type)
    groups = old.attribute("num_groups")
    if shape is None or len(shape) < 2 or shape[1] is None or not groups or shape[1] % groups:
        return None
    column = old.constant(np.array([groups, 1], np.int64))
    spread = old.constant(np.array([groups, shape[1] // groups], np.int64))
    flat = old.constant(np.array([shape[1]], np.int64))
    made: list[NodeProto] = []
    for name, suffix in ((old.node.input[1], "/scale"), (old.node.input[2], "/bias")):
        made.append(old.inner("Reshape", [name, column], f"{suffix}/column"))
        made.append(old.inner("Expand", [made[-1].output[0], spread], f"{suffix}/groups"))
        made.append(old.inner("Reshape", [made[-1].output[0], flat], suffix))
    inputs = [old.node.input[0], made[2].output[0], made[5].output[0]]
    return [*made, old.rewritten(inputs)]


Rule = Callable[[OldNode], "list[NodeProto] | None"]

_REDUCTIONS = (
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
)

_RULES: dict[str, Sequence[tuple[int, Rule]]] = {
    "BatchNormalization": ((14, _batch_normalization),),
    "Clip": ((11, _clip),),
    "DFT": ((20, _dft),),
    "Dropout": ((12, _dropout),),
    "GridSample": ((20, _grid_sample),),
    "GroupNormalization": ((21, _group_normalization),),
    "Hardmax": ((13, _flattened),),
    "LogSoftmax": ((13, _flattened),),
    "Pad": ((11, _pad),),
    "Resize": ((11, _upsample), (13, _resize)),
    "RoiAlign": ((16, _roi_align),),
    "Scatter": ((12, _scatter),),
    "Slice": ((10, _slice),),
    "Softmax": ((13, _flattened),),
    "Split": ((18, _split),),
    "Squeeze": ((13, _axes_input),),
    "TopK": ((10, _top_k),),
    "Unsqueeze": ((13, _axes_input),),
    "Upsample": ((11, _upsample),),
    **dict.fromkeys(_REDUCTIONS, ((18, _axes_input),)),
}
"""For each operator, rules by the version up to which (exclusive) they read a node, oldest first."""
