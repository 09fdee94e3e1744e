"""The base of all lowering rules: a node's operands, attributes and results by name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar, Protocol, TypeAlias, TypeVar, cast

from xdsl.dialects.builtin import TensorType, UnrankedTensorType, i32, i64
from xdsl.ir import Attribute, SSAValue
from xdsl.utils.hints import isa

from ....dialects import onnx_types
from ....dialects.constants import Array
from ....dialects.elements import ELEMENTS, Element
from ....dialects.onnx import ConstantOp, OnnxOperation, plain_value
from ...builder import Builder
from ...refusal import RefusalError
from .conditions import Condition, UnknownShapeError, UnknownValueError

Plain = TypeVar("Plain", int, float, str)
Results: TypeAlias = SSAValue | Sequence[SSAValue | None]


class Scope(Protocol):
    """What is known of the values of the model while it is lowered."""

    def value(self, source: SSAValue) -> SSAValue:
        """The lowered value of an ONNX value."""
        ...

    def array(self, source: SSAValue) -> Array | None:
        """The ONNX value if it is a constant."""
        ...

    def bytes(self, source: SSAValue) -> SSAValue | None:
        """A constant of 2- or 4-bit integers as bytes of the same values; None for any other value."""
        ...


class Lowering:
    """One node being lowered. A rule is a subclass: `operators` of `domain` that it lowers, `conditions` that
    must hold, and `lower`, which gives one value per result of the node (None for one that is not wanted).

    Operands are named by the formal names of the operator or by position. Its results may be of a wider float
    type than the node's: they are rounded behind it.
    """

    domain: ClassVar[str] = ""
    operators: ClassVar[Collection[str]] = ()
    conditions: ClassVar[tuple[Condition, ...]] = ()

    def __init__(self, node: OnnxOperation, build: Builder, scope: Scope):
        self.node = node
        self.build = build
        self._scope = scope
        self._inputs = node.inputs

    def lower(self) -> Results:
        """Write the operations and give the values of the node's results."""
        raise NotImplementedError

    # Operands

    def source(self, name: str | int) -> SSAValue | None:
        """The ONNX value of an operand, None if the node leaves it out."""
        index = name if isinstance(name, int) else self._index(name)
        return self._inputs[index] if index is not None and index < len(self._inputs) else None

    def _index(self, name: str) -> int | None:
        signature = self.node.signature
        names = () if signature is None else tuple(formal.name for formal in signature.inputs)
        return names.index(name) if name in names else None

    def required(self, name: str | int) -> SSAValue:
        """The ONNX value of an operand. Raises RefusalError if the node leaves it out."""
        source = self.source(name)
        if source is None:
            raise RefusalError(f"the operand `{name}` is missing", "correct the model")
        return source

    def has(self, name: str | int) -> bool:
        """Whether the node has the operand."""
        return self.source(name) is not None

    def operand(self, name: str | int) -> SSAValue:
        """The lowered operand."""
        return self._scope.value(self.required(name))

    def optional(self, name: str | int) -> SSAValue | None:
        """The lowered operand, None if the node leaves it out."""
        return self.operand(name) if self.has(name) else None

    def operands(self, first: str | int) -> tuple[SSAValue, ...]:
        """The lowered operands from a variadic one on."""
        start = first if isinstance(first, int) else self._index(first) or 0
        return tuple(self._scope.value(source) for source in self._inputs[start:] if source is not None)

    def wide(self, name: str | int) -> SSAValue:
        """The lowered operand in f32 or i32."""
        return self.build.widen(self.operand(name))

    def shape(self, name: str | int) -> tuple[int, ...]:
        """The shape of an operand."""
        return static_shape(self.required(name).type)

    def element(self, name: str | int) -> Element:
        """The element type that an operand has once lowered."""
        return lowered_element(self.required(name).type)

    def is_constant(self, name: str | int) -> bool:
        """Whether the operand is present and known when compiling."""
        source = self.source(name)
        return source is not None and self._scope.array(source) is not None

    def constant(self, name: str | int) -> Array:
        """The value of a constant operand, in ONNX's own type. Raises UnknownValueError if it is not one."""
        array = self._scope.array(self.required(name))
        if array is None:
            raise UnknownValueError(
                (name,),
                f"`{name}` must be known when compiling",
                "fix the shapes it is computed from with --shape",
            )
        return array

    def key(self, name: str | int) -> str:
        """The name in the store of a constant operand's bytes."""
        owner = self.required(name).owner
        if isinstance(owner, ConstantOp) and owner.key is not None:
            return owner.key
        return self.build.store.anonymous(self.constant(name))

    # Attributes

    def attribute(self, name: str, kind: type[Plain], default: Plain) -> Plain:
        """An attribute of the node, or its operator's default, or `default`."""
        value = self.raw_attribute(name, None)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise RefusalError(f"the attribute `{name}` is no {kind.__name__}", "correct the model")
        return value

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """A list attribute, or `default`."""
        value = self.node.integers(name)
        return default if value is None else value

    def raw_attribute(self, name: str, default: object) -> object:
        """An attribute as a Python value, or its operator's default, or `default`."""
        attribute = self.node.attributes.get(name)
        if attribute is not None:
            return plain_value(attribute)
        signature = self.node.signature
        form = None if signature is None else signature.attributes.get(name)
        return default if form is None or form.default is None else form.default

    def tensor_attribute(self, name: str, default: Array) -> Array:
        """A tensor attribute, or `default`."""
        array = self.node.array(name, self.build.store)
        return default if array is None else array

    def axis(self, rank: int, default: int = -1) -> int:
        """The attribute `axis`, counted from the start."""
        axis = self.attribute("axis", int, default)
        if not -rank <= axis < max(rank, 1):
            raise RefusalError(f"`axis` {axis} is outside rank {rank}", "correct the model")
        return axis % max(rank, 1)

    # Results

    @property
    def result_count(self) -> int:
        """How many results the node names, unused ones included."""
        return len(self.node.results)

    def wants(self, name: str | int) -> bool:
        """Whether anything uses a result."""
        if isinstance(name, str):
            signature = self.node.signature
            names = () if signature is None else tuple(formal.name for formal in signature.outputs)
            name = names.index(name) if name in names else len(self.node.results)
        return name < len(self.node.results) and self.node.results[name].first_use is not None

    def result_type(self, name: str | int = 0) -> Attribute:
        """The ONNX type of a result."""
        if isinstance(name, str):
            signature = self.node.signature
            name = 0 if signature is None else [formal.name for formal in signature.outputs].index(name)
        return self.node.results[name].type

    def result_shape(self, name: str | int = 0) -> tuple[int, ...]:
        """The shape of a result."""
        return static_shape(self.result_type(name))

    def result_element(self, name: str | int = 0) -> Element:
        """The element type that a result has once lowered."""
        return lowered_element(self.result_type(name))


Rules: TypeAlias = tuple[type[Lowering], ...]


def static_shape(source: Attribute) -> tuple[int, ...]:
    """The shape of a tensor type. Raises RefusalError if it is none, UnknownShapeError if not static."""
    shape = _extents(source)
    if shape is not None and all(extent >= 0 for extent in shape):
        return shape
    lowered_element(source)
    raise UnknownShapeError(
        f"the shape of {described(source)} is not static", "fix the input shapes with --shape NAME=1x128"
    )


def _extents(source: Attribute) -> tuple[int, ...] | None:
    return cast("TensorType[Attribute]", source).get_shape() if isinstance(source, TensorType) else None


def lowered_element(source: Attribute) -> Element:
    """The element type that a tensor of an ONNX type has once lowered: int64 is i32.

    Raises RefusalError for a type that the machine has no format for.
    """
    if not isinstance(source, TensorType | UnrankedTensorType):
        raise RefusalError(f"{described(source)} is no tensor", "use tensors")
    element = cast("TensorType[Attribute] | UnrankedTensorType[Attribute]", source).element_type
    if element == i64:
        return i32
    if element not in ELEMENTS:
        name = onnx_types.name_of(element).lower()
        remedy = "float32" if name == "double" else "a type of the list in docs/operators.md"
        raise RefusalError(f"the element type {name} has no format on the machine", f"convert it to {remedy}")
    return ELEMENTS[ELEMENTS.index(element)]


def described(source: Attribute) -> str:
    """A type in a sentence."""
    if isa(source, TensorType[Attribute]):
        extents = "x".join("?" if extent < 0 else str(extent) for extent in source.get_shape())
        return f"a tensor of {extents or 'one'} {onnx_types.name_of(source.element_type).lower()}"
    if isa(source, UnrankedTensorType[Attribute]):
        return f"a tensor of unknown rank of {onnx_types.name_of(source.element_type).lower()}"
    return str(source).removeprefix("!")
