"""What the importer knows of each ONNX value while it walks the nodes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import TypeAlias

from onnx import TypeProto
from xdsl.ir import SSAValue

from ...dialects import onnx_types as types
from ...dialects.constants import Array, ConstantStore
from ...isa.frozen import frozen
from .prototypes import tensor_proto_type

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_]+")


@frozen
class Known:
    """A value known at compile time: `key` is its name in the store, `array` its value if it was made
    already.

    `trained` marks float weights and what was computed from them, `stored` weights that are kept in a narrow
    format (integers, 8-bit floats) and their rearrangements: neither may be folded into something wider.
    """

    key: str
    shape: tuple[int, ...]
    dtype: types.DType
    array: Array | None = None
    trained: bool = False
    stored: bool = False

    @property
    def elements(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @property
    def type(self) -> TypeProto:
        """The value's ONNX type."""
        return tensor_proto_type(types.code_of(types.element_of_dtype(self.dtype)), self.shape)


@frozen
class Live:
    """A value that the run computes; its type may have unknown extents."""

    value: SSAValue
    type: TypeProto


Value: TypeAlias = Known | Live


@dataclass
class Scope:
    """The values by name that nodes of a graph can read: its own, then those of the graphs around it."""

    outer: Scope | None = None
    values: dict[str, Value] = field(default_factory=dict[str, Value])

    def find(self, name: str) -> Value | None:
        """The value called `name`; None if nothing makes it."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.outer
        return None

    def __contains__(self, name: str) -> bool:
        return self.find(name) is not None


@dataclass
class Constants:
    """The importer's way to the store: unique keys, and arrays that are made only when asked for."""

    store: ConstantStore
    placed: dict[str, Array] = field(default_factory=dict[str, Array])

    def array(self, known: Known) -> Array:
        """The value, made now if it was not yet."""
        return self.store.get(known.key) if known.array is None else known.array

    def key(self, known: Known) -> str:
        """The name under which the store holds the value, put there now if it was not."""
        if known.array is None:
            return known.key
        key, count = known.key, 1
        while key in self.store:
            if self.placed.get(key) is known.array:
                return key
            key, count = f"{known.key}#{count}", count + 1
        self.placed[key] = known.array
        return self.store.add(key, known.array)

    def derive(self, name: str, function: Callable[..., Array], sources: tuple[Known, ...], like: Known) -> Known:
        """Make known what `function` makes of `sources` when first needed.

        `like` says shape, dtype and marks.
        """
        key, count = name, 1
        while key in self.store:
            key, count = f"{name}#{count}", count + 1
        keys = tuple(self.key(source) for source in sources)
        self.store.derive(key, function, *keys, shape=like.shape, dtype=like.dtype)
        return Known(key, like.shape, like.dtype, None, like.trained, like.stored)


def name_hint(name: str) -> str | None:
    """An ONNX name as the IR may print it; None if nothing of it is left."""
    text = _NOT_IN_A_NAME.sub("_", name).strip("_")
    if not text:
        return None
    # A name that starts with a digit could be mistaken for a number that the printer gave, and of `_12` xdsl
    # takes all away.
    return f"v{text}" if text[0].isdigit() else text
