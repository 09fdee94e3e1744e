"""A model's inputs and outputs as the model itself declares them, kept as attributes of `main`.

Lowering may change the types of arguments and results (int64 becomes int32); these attributes stay:

```mlir
func.func @main(%x: tensor<1x8xf32> {onnx.name = "x", onnx.element = "FLOAT", onnx.dims = ["N", "8"]})
    -> (tensor<1x10xf32> {onnx.name = "logits", onnx.element = "FLOAT", onnx.dims = ["N", "10"]})
```
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute

from ..isa.frozen import frozen

NAME, ELEMENT, DIMENSIONS = "onnx.name", "onnx.element", "onnx.dims"

UNKNOWN = "UNKNOWN"
"""The element type of an input or output that was not described."""


@frozen
class Interface:
    """One input or output: its ONNX name, its ONNX element type (`INT64`), and its type in the IR now.

    `dimensions` are as the model declares them: a number, a name, or `?`; None where it declares none.
    """

    name: str
    element: str
    dimensions: tuple[int | str, ...] | None
    type: Attribute


def describe(name: str, element: str, dimensions: Sequence[int | str] | None) -> DictionaryAttr:
    """The attributes of the argument or result that is the graph's input or output `name`."""
    entries: dict[str, Attribute] = {NAME: StringAttr(name), ELEMENT: StringAttr(element)}
    if dimensions is not None:
        entries[DIMENSIONS] = ArrayAttr([StringAttr(str(dimension)) for dimension in dimensions])
    return DictionaryAttr(entries)


def main_of(module: ModuleOp) -> FuncOp:
    """The function `main`. Raises ValueError for a module without one."""
    for operation in module.ops:
        if isinstance(operation, FuncOp) and operation.sym_name.data == "main":
            return operation
    raise ValueError("the module has no function main")


def inputs_of(function: FuncOp) -> tuple[Interface, ...]:
    """The inputs, in order; one that was not described is called by its position."""
    return _interfaces(function.arg_attrs, function.function_type.inputs.data, "input")


def outputs_of(function: FuncOp) -> tuple[Interface, ...]:
    """The outputs, in order; one that was not described is called by its position."""
    return _interfaces(function.res_attrs, function.function_type.outputs.data, "output")


def _interfaces(
    described: ArrayAttr[DictionaryAttr] | None, types: Sequence[Attribute], kind: str
) -> tuple[Interface, ...]:
    entries = [DictionaryAttr({})] * len(types) if described is None else list(described.data)
    return tuple(
        Interface(
            _text(entry, NAME) or f"{kind}_{index}",
            _text(entry, ELEMENT) or UNKNOWN,
            _dimensions(entry),
            type_,
        )
        for index, (entry, type_) in enumerate(zip(entries, types, strict=True))
    )


def _text(entry: DictionaryAttr, key: str) -> str:
    value = entry.data.get(key)
    return value.data if isinstance(value, StringAttr) else ""


def _dimensions(entry: DictionaryAttr) -> tuple[int | str, ...] | None:
    value = entry.data.get(DIMENSIONS)
    if not isinstance(value, ArrayAttr):
        return None
    entries = cast("ArrayAttr[Attribute]", value).data
    texts = [item.data for item in entries if isinstance(item, StringAttr)]
    return tuple(int(text) if text.isdigit() else text for text in texts)
