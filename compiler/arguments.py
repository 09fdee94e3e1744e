"""The arguments of @main as the model's user knows them: by name, in the model's own element types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..dialects.constants import Array
from ..dialects.elements import dtype_of, element_type, shape_of
from ..dialects.onnx_interface import Interface, inputs_of, main_of
from ..isa.errors import InputError
from ..isa.frozen import frozen
from ..runtime.inputs import ELEMENT_DTYPES


@frozen
class Argument:
    """One input of a graph-level module: what the model declares of it, and the value that stands for it."""

    interface: Interface
    value: SSAValue

    @property
    def name(self) -> str:
        """The ONNX name of the input."""
        return self.interface.name

    def runs_in(self, array: Array, subject: str) -> int:
        """How many runs `array` is enough for, its axis 0 being as many times the input's.

        Raises InputError naming `subject` where shape or element type are not the input's.
        """
        shape = shape_of(self.value)
        whole = array.ndim == len(shape) and array.shape[1:] == shape[1:]
        if not whole or (shape and array.shape[0] != shape[0] and (shape[0] == 0 or array.shape[0] % shape[0])):
            expected, given = _shape(shape), _shape(array.shape)
            raise InputError(subject, f"array {self.name!r} is {given}, the input is {expected}")
        dtype = ELEMENT_DTYPES.get(self.interface.element.lower(), array.dtype)
        if array.dtype != dtype:
            remedy = f"convert it with .astype({dtype.name!r})"
            raise InputError(subject, f"array {self.name!r} is {array.dtype}, the input is {dtype}", remedy)
        return array.shape[0] // shape[0] if shape and shape[0] else 1

    def part(self, array: Array, run: int, subject: str) -> Array:
        """The rows of `array` that are this input in run number `run`, as the graph level holds them.

        Raises InputError naming `subject` for an integer that the graph level cannot hold.
        """
        shape, dtype = shape_of(self.value), dtype_of(element_type(self.value))
        rows = array[run * shape[0] : (run + 1) * shape[0]] if shape else array
        held = np.ascontiguousarray(rows).astype(dtype)
        if rows.dtype.kind in "iu" and (held != rows).any():
            raise InputError(subject, f"array {self.name!r} holds values outside {dtype}")
        return held


def arguments_of(module: ModuleOp) -> tuple[Argument, ...]:
    """The arguments of @main, in order."""
    function = main_of(module)
    return tuple(map(Argument, inputs_of(function), function.body.block.args))


def check_names(arguments: Sequence[Argument], arrays: Mapping[str, Array], subject: str) -> None:
    """Raises InputError unless there is exactly one array for each argument."""
    names = [argument.name for argument in arguments]
    expected = f"the model takes {', '.join(map(repr, names)) or 'no inputs'}"
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InputError(subject, f"has no array {', '.join(map(repr, missing))}", expected)
    unknown = sorted(set(arrays).difference(names))
    if unknown:
        raise InputError(subject, f"has {', '.join(map(repr, unknown))}, which is no input", expected)


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
