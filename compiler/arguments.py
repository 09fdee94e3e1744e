"""The arguments of @main as the model's user knows them: by name, in the model's own element types."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import DictionaryAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue

from ..dialects.constants import Array
from ..dialects.elements import dtype_of, element_type, shape_of
from ..isa.errors import InputError


@dataclass(frozen=True)
class Argument:
    """One input of a graph-level module: the ONNX input `name`, and the value that stands for it."""

    name: str
    value: SSAValue

    def runs_in(self, array: Array, subject: str) -> int:
        """How many runs `array` is enough for, its axis 0 being as many times the input's. Raises InputError."""
        shape = shape_of(self.value)
        whole = array.ndim == len(shape) and array.shape[1:] == shape[1:]
        if not whole or (shape and (shape[0] == 0 or array.shape[0] % shape[0])):
            expected = "x".join(map(str, shape)) or "scalar"
            given = "x".join(map(str, array.shape)) or "scalar"
            raise InputError(subject, f"array {self.name!r} is {given}, the input is {expected}")
        return array.shape[0] // shape[0] if shape else 1

    def part(self, array: Array, run: int) -> Array:
        """The rows of `array` that are this input in run number `run`, as the graph level holds them."""
        shape = shape_of(self.value)
        rows = array[run * shape[0] : (run + 1) * shape[0]] if shape else array
        return np.ascontiguousarray(rows).astype(dtype_of(element_type(self.value)))


def main_function(module: ModuleOp) -> FuncOp:
    """The function @main of a module. Raises InputError where there is none."""
    for operation in module.ops:
        if isinstance(operation, FuncOp) and operation.sym_name.data == "main":
            return operation
    raise InputError("the module", "has no function @main")


def arguments_of(module: ModuleOp) -> tuple[Argument, ...]:
    """The arguments of @main, in order."""
    function = main_function(module)
    names = _names(function.arg_attrs.data if function.arg_attrs is not None else ())
    return tuple(
        Argument(names[index] if index < len(names) else f"argument_{index}", value)
        for index, value in enumerate(function.body.block.args)
    )


def result_names(module: ModuleOp) -> tuple[str, ...]:
    """The ONNX names of what @main returns, in order."""
    function = main_function(module)
    return _names(function.res_attrs.data if function.res_attrs is not None else ())


def _names(dictionaries: tuple[DictionaryAttr, ...]) -> tuple[str, ...]:
    names: list[str] = []
    for index, dictionary in enumerate(dictionaries):
        name = dictionary.data.get("onnx.name")
        names.append(name.data if isinstance(name, StringAttr) else f"value_{index}")
    return tuple(names)
