"""The shapes that a user gives with `--shape`, and the fixed shapes of all inputs that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from onnx import TypeProto, ValueInfoProto

from ...isa.errors import InputError, UsageError
from .prototypes import tensor_proto_type

Dimension = int | str | None
"""An extent as a model declares it: fixed, named, or neither."""


def parse_shapes(flags: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Read `NAME=1x128` flags; `NAME=` is a scalar. Raises UsageError for one that does not read so."""
    shapes: dict[str, tuple[int, ...]] = {}
    for flag in flags:
        name, equals, text = flag.rpartition("=")
        extents = text.split("x") if text else []
        if not equals or not name or not all(e.isascii() and e.isdigit() for e in extents):
            raise UsageError(f"--shape {flag} is not a shape", "write it like --shape input_ids=1x128")
        if name in shapes:
            raise UsageError(f"--shape gives {name!r} twice")
        shapes[name] = tuple(map(int, extents))
    return shapes


def dimensions(proto: TypeProto) -> tuple[Dimension, ...] | None:
    """The extents of a tensor type as declared (-1 says nothing); None if it has no rank or is no tensor."""
    if not proto.HasField("tensor_type") or not proto.tensor_type.HasField("shape"):
        return None
    return tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else d.dim_param or None
        for d in proto.tensor_type.shape.dim
    )


@dataclass
class Binding:
    """Fixing the dimensions of a model's inputs.

    `named` are the dimensions by name, and which input said so.
    """

    model: str
    inputs: Sequence[ValueInfoProto]
    named: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])

    def fix(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, TypeProto]:
        """The types of the inputs, all tensors static, given the shapes of some.

        Raises UsageError for a shape that does not fit the model, InputError if some dimension has no size.
        """
        declared = {value.name: value.type for value in self.inputs}
        for name, shape in shapes.items():
            if name not in declared:
                known = ", ".join(declared) or "none"
                raise UsageError(f"--shape names {name!r}, and the model's inputs are: {known}")
            self._bind(name, shape, declared[name])
        types = {name: self._fixed(proto, shapes.get(name)) for name, proto in declared.items()}
        missing = [name for name, proto in types.items() if proto is None]
        if missing:
            raise self._missing({name: declared[name] for name in missing})
        return {name: proto for name, proto in types.items() if proto is not None}

    def _bind(self, name: str, shape: tuple[int, ...], proto: TypeProto) -> None:
        flag = f"--shape {name}={'x'.join(map(str, shape))}"
        if not proto.HasField("tensor_type"):
            raise UsageError(f"{flag} gives a shape to an input that is no tensor")
        dims = dimensions(proto)
        if dims is None:
            return
        if len(dims) != len(shape):
            raise UsageError(f"{flag} has {len(shape)} dimensions, and the input has {len(dims)}: {spell(dims)}")
        for dimension, extent in zip(dims, shape, strict=True):
            if isinstance(dimension, int) and dimension != extent:
                raise UsageError(f"{flag} does not fit the model's own {spell(dims)}")
            if isinstance(dimension, str):
                known, source = self.named.setdefault(dimension, (extent, flag))
                if known != extent:
                    raise UsageError(f"{flag} makes {dimension!r} {extent}, and {source} makes it {known}")

    def _fixed(self, proto: TypeProto, given: tuple[int, ...] | None) -> TypeProto | None:
        """The input's type with all its dimensions; None if one has no size."""
        if not proto.HasField("tensor_type"):
            return proto
        dims = dimensions(proto)
        if given is None and dims is not None:
            extents = [self.named.get(d, (None, ""))[0] if isinstance(d, str) else d for d in dims]
            known = [extent for extent in extents if extent is not None]
            given = tuple(known) if len(known) == len(extents) else None
        return None if given is None else tensor_proto_type(proto.tensor_type.elem_type, given)

    def _missing(self, inputs: Mapping[str, TypeProto]) -> InputError:
        sizes = {name: size for name, (size, _) in self.named.items()}
        shown: list[str] = []
        flags: list[str] = []
        for name, proto in inputs.items():
            dims = dimensions(proto)
            shown.append(f"{name} {'of unknown rank' if dims is None else spell(dims)}")
            example = [_example(d, axis, sizes) for axis, d in enumerate((None, None) if dims is None else dims)]
            flags.append(f"--shape {name}={'x'.join(map(str, example))}")
        plural = "input has" if len(shown) == 1 else "inputs have"
        return InputError(
            self.model,
            f"the {plural} dimensions without a size: {', '.join(shown)}",
            f"give them, for example {' '.join(flags)}",
        )


def spell(dims: Sequence[Dimension]) -> str:
    """Dimensions as text: `[batch, 128, ?]`."""
    return f"[{', '.join('?' if d is None else str(d) for d in dims)}]"


def _example(dimension: Dimension, axis: int, sizes: dict[str, int]) -> int:
    if isinstance(dimension, int):
        return dimension
    usual = 1 if axis == 0 else 128
    return usual if dimension is None else sizes.setdefault(dimension, usual)
