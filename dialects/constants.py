"""Constants by reference: the IR names a constant, its bytes live in a store beside the module.

A constant's identity is its source and the chain of transformations applied to it, spelled out in its key.
Bytes are made once, when first asked for, and hashed only then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import numpy as np
from xdsl.dialects.builtin import BytesAttr, DenseIntOrFPElementsAttr, StringAttr, TensorType
from xdsl.ir import Attribute, ParametrizedAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer

from .elements import dtype_of, element_of_dtype, is_bool

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

INLINE_ELEMENTS = 16
"""Constants of up to so many elements stand in the IR itself."""

KEPT_BYTES = 1 << 16
"""A value of so many bytes at most is kept although only others were made of it."""

LONGEST_KEY = 200
"""Characters of a key; longer ones are hashed."""


@irdl_attr_definition
class RefAttr(ParametrizedAttribute):
    """The name of a stored constant: `#nn.ref<"encoder.0.query.weight">`. Its operation gives it its type."""

    name = "nn.ref"
    key: StringAttr

    def __init__(self, key: str | StringAttr):
        super().__init__(StringAttr(key) if isinstance(key, str) else key)

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse `<"key">`."""
        with parser.in_angle_brackets():
            return (StringAttr(parser.parse_str_literal()),)

    def print_parameters(self, printer: Printer) -> None:
        """Print `<"key">`."""
        with printer.in_angle_brackets():
            printer.print_string_literal(self.key.data)


@dataclass
class _Entry:
    """One constant: how to make it, what is known of it, and its bytes once made."""

    make: Callable[[], Array]
    sources: tuple[str, ...]
    shape: tuple[int, ...] | None
    dtype: np.dtype[Any] | None
    array: Array | None = None
    digest: str | None = None


@dataclass
class ConstantStore:
    """The constants of one module, by key. Keys are never rebound: the same key is the same value for ever.

    Arrays given out are read-only. A missing key raises KeyError.
    """

    _entries: dict[str, _Entry] = field(default_factory=dict[str, _Entry])

    def add(
        self,
        key: str,
        array: Array | Callable[[], Array],
        *,
        shape: tuple[int, ...] | None = None,
        dtype: np.dtype[Any] | None = None,
    ) -> str:
        """Name an array, or a function that makes one later (then say its shape and dtype if known). Returns
        `key`.

        Raises ValueError if the key is taken.
        """
        if key in self._entries:
            raise ValueError(f"constant {key!r} is already in the store")
        if callable(array):
            self._entries[key] = _Entry(array, (), shape, dtype)
        else:
            entry = _Entry(lambda: array, (), array.shape, array.dtype)
            entry.array = _read_only(array)
            self._entries[key] = entry
        return key

    def derive(
        self,
        key: str,
        function: Callable[..., Array],
        *sources: str,
        shape: tuple[int, ...] | None = None,
        dtype: np.dtype[Any] | None = None,
    ) -> str:
        """Name what `function` makes of the arrays of `sources`, without making it. Returns `key`.

        The key must spell the transformation (`derived_key` does), since a key that is present already is
        taken to name the same value.
        """
        if key not in self._entries:
            for source in sources:
                self._entry(source)
            self._entries[key] = _Entry(
                lambda: function(*(self._compute(source) for source in sources)), sources, shape, dtype
            )
        return key

    def anonymous(self, array: Array) -> str:
        """Name an array after its contents, so that equal arrays share one key. Returns the key."""
        array = np.asarray(array)
        key = f"{array.dtype.name}[{'x'.join(map(str, array.shape))}]:{_digest(array)[:16]}"
        return key if key in self._entries else self.add(key, array)

    def get(self, key: str) -> Array:
        """The constant's value, made now if it was not yet; read-only."""
        entry = self._entry(key)
        if entry.array is None:
            entry.array = self._compute(key)
            entry.shape, entry.dtype = entry.array.shape, entry.array.dtype
        return entry.array

    def shape(self, key: str) -> tuple[int, ...]:
        """The constant's shape; makes the value only if nothing else tells it."""
        shape = self._entry(key).shape
        return self.get(key).shape if shape is None else shape

    def dtype(self, key: str) -> np.dtype[Any]:
        """The constant's numpy dtype; makes the value only if nothing else tells it."""
        dtype = self._entry(key).dtype
        return self.get(key).dtype if dtype is None else dtype

    def digest(self, key: str) -> str:
        """The blake2b hash of dtype, shape and bytes as 32 hexadecimal digits; made once."""
        entry = self._entry(key)
        if entry.digest is None:
            entry.digest = _digest(self.get(key))
        return entry.digest

    def sources(self, key: str) -> tuple[str, ...]:
        """The keys that this one was derived from directly; empty for one that was added."""
        return self._entry(key).sources

    def origins(self, key: str) -> tuple[str, ...]:
        """The added keys (initializers) that this constant comes from, each once, in order of first use."""
        sources = self.sources(key)
        if not sources:
            return (key,)
        return tuple(dict.fromkeys(origin for source in sources for origin in self.origins(source)))

    def keys(self) -> Iterable[str]:
        """All keys, in the order they came."""
        return self._entries.keys()

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def attribute(self, array: Array) -> Attribute:
        """The attribute that holds `array`: dense in the IR when small, else a reference to the store."""
        array = np.asarray(array)
        return dense(array) if array.size <= INLINE_ELEMENTS else RefAttr(self.anonymous(array))

    def array(self, attribute: Attribute) -> Array:
        """The value of a constant attribute: dense, or a reference into this store. Read-only."""
        if isinstance(attribute, RefAttr):
            return self.get(attribute.key.data)
        return dense_array(attribute)

    def _entry(self, key: str) -> _Entry:
        try:
            return self._entries[key]
        except KeyError:
            raise KeyError(f"no constant {key!r} in the store") from None

    def _compute(self, key: str) -> Array:
        """The value: what lies between a source and what is asked for is not kept unless it is small."""
        entry = self._entry(key)
        if entry.array is not None:
            return entry.array
        array = _read_only(entry.make())
        if array.nbytes <= KEPT_BYTES:
            entry.array = array
        return array


def derived_key(operation: str, *sources: str, **parameters: object) -> str:
    """The key of a transformed constant: `derived_key("transpose", "w", permutation=(1, 0))` is
    `transpose(w; permutation=1,0)`. A long one is shortened to the operation and a hash of it."""
    spelled = ", ".join(f"{name}={_spell(value)}" for name, value in parameters.items())
    key = f"{operation}({', '.join(sources)}{'; ' if spelled else ''}{spelled})"
    if len(key) <= LONGEST_KEY:
        return key
    return f"{operation}:{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}"


def dense(array: Array) -> DenseIntOrFPElementsAttr[Any]:
    """A small array as an attribute of its own tensor type. Raises KeyError for a dtype that no tensor may
    have."""
    array = np.asarray(array)
    element = element_of_dtype(array.dtype)
    # xDSL keeps a true i1 as the byte 0xff: the sign extension of its single bit.
    raw = (-array.astype(np.int8)) if is_bool(element) else np.ascontiguousarray(array)
    held = cast(TensorType[Any], TensorType(element, array.shape))
    return DenseIntOrFPElementsAttr(held, BytesAttr(raw.tobytes()))


def dense_array(attribute: Attribute) -> Array:
    """The value of a dense attribute, read-only. Raises TypeError for any other attribute."""
    if not isinstance(attribute, DenseIntOrFPElementsAttr):
        raise TypeError(f"{attribute} is no dense constant")
    dense_attribute = cast(DenseIntOrFPElementsAttr[Any], attribute)
    element: Attribute = dense_attribute.get_element_type()
    raw = dense_attribute.data.data
    values = np.frombuffer(raw, np.int8) != 0 if is_bool(element) else np.frombuffer(raw, dtype_of(element))
    return _read_only(values.reshape(dense_attribute.get_shape()))


def _spell(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, cast(tuple[object, ...], value)))
    return str(value)


def _digest(array: Array) -> str:
    state = hashlib.blake2b(f"{array.dtype.name}{array.shape}".encode(), digest_size=16)
    state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def _read_only(array: Array) -> Array:
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
