"""The `onnx` dialect: one operation per node of a model, in the newest form of its operator.

Operator classes are made from the official schemas when they are first asked for. An operator of another
domain, or one that ONNX does not know, is an `onnx.Custom`. All are `OnnxOperation`: operands and attributes
are read by the names that the operator's signature gives them. Example:

```mlir
%y = onnx.LayerNormalization(%x, %scale, _) {axis = -1 : i64} -> ["y"] since 17
    : (tensor<1x17x64xf32>, tensor<64xf32>) -> tensor<1x17x64xf32>
%z = onnx.Custom<"com.microsoft", "BiasGelu">(%y, %bias) -> ["z"] since 1
    : (tensor<1x17x64xf32>, tensor<64xf32>) -> tensor<1x17x64xf32>
```

`_` stands for an optional input that the node leaves out.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from xdsl.dialects.builtin import (
    ArrayAttr,
    BytesAttr,
    DenseArrayBase,
    DenseIntOrFPElementsAttr,
    FloatAttr,
    IntegerAttr,
    StringAttr,
    TensorType,
    i1,
    i64,
)
from xdsl.ir import Attribute, Dialect, Operation, Region, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
    var_region_def,
    var_result_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import IsTerminator, Pure
from xdsl.utils.exceptions import VerifyException

from . import onnx_types as types
from .constants import INLINE_ELEMENTS, Array, ConstantStore, RefAttr
from .onnx_signatures import MEANING_SINCE, Option, Signature, Value, newest, signature

AttributeT = TypeVar("AttributeT", int, float, str)

_INLINE_KINDS = frozenset("biuf")
"""Kinds of numpy dtypes whose small arrays stand in the IR itself."""


class OnnxOperation(IRDLOperation, ABC):
    """A node of an ONNX graph.

    `outputs` are the ONNX names of its results, "" for one that the node does not name; `since` is the
    version of the operator's form; `absent` lists the positions of optional inputs that are left out;
    `graph_names` are the attributes that hold the node's subgraphs, one for each region. The operation's
    attributes are the node's own: tensors as references to the store.
    """

    arguments = var_operand_def()
    values = var_result_def()
    graphs = var_region_def()
    outputs = prop_def(ArrayAttr[StringAttr])
    since = prop_def(IntegerAttr)
    absent = opt_prop_def(DenseArrayBase)
    graph_names = opt_prop_def(ArrayAttr[StringAttr])

    OPERATOR: ClassVar[str] = ""

    @property
    def operator(self) -> str:
        """The operator's name; one whose form is not the newest has its version behind it (`Upsample-9`)."""
        return self.OPERATOR

    @property
    def domain(self) -> str:
        """The operator's domain, "" for the default one."""
        return ""

    @property
    def signature(self) -> Signature | None:
        """The operator's form, None for one that nobody here knows."""
        return signature(self.domain, self.operator.partition("-")[0], self.since.value.data)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The ONNX names of the results, in order; "" for a result without one."""
        return tuple(name.data for name in self.outputs.data)

    @property
    def inputs(self) -> tuple[SSAValue | None, ...]:
        """The node's inputs in order, None where an optional one is left out."""
        inputs: list[SSAValue | None] = list(self.arguments)
        for position in () if self.absent is None else array_values(self.absent):
            inputs.insert(int(position), None)
        return tuple(inputs)

    def operand(self, name: str) -> SSAValue:
        """The input called `name`. Raises KeyError if the node leaves it out or its operator has none."""
        value = self.optional_operand(name)
        if value is None:
            raise KeyError(f"{self.operator} is without its input {name!r}")
        return value

    def optional_operand(self, name: str) -> SSAValue | None:
        """The input called `name`, None if left out. Raises KeyError if the operator has no such input."""
        index, inputs = self._known_signature().input_index(name), self.inputs
        return inputs[index] if index < len(inputs) else None

    def variadic_operands(self, name: str) -> tuple[SSAValue, ...]:
        """The inputs from the variadic one called `name` on. Raises KeyError if the operator has no such."""
        return tuple(v for v in self.inputs[self._known_signature().input_index(name) :] if v is not None)

    def attribute(self, name: str, kind: type[AttributeT]) -> AttributeT:
        """The node's attribute `name`, or its operator's default. Raises KeyError if there is neither."""
        value = self.optional_attribute(name, kind)
        if value is None:
            raise KeyError(f"{self.operator} is without its attribute {name!r}")
        return value

    def optional_attribute(self, name: str, kind: type[AttributeT]) -> AttributeT | None:
        """The attribute `name`, else its operator's default, else None. Raises TypeError for another kind."""
        value = self._plain(name)
        if value is None or isinstance(value, kind):
            return value
        raise TypeError(f"attribute {name!r} of {self.operator} is {value!r}, not {kind.__name__}")

    def integers(self, name: str) -> tuple[int, ...] | None:
        """The node's list of integers `name`, else its operator's default, else None."""
        value = self._plain(name)
        return tuple(int(item) for item in value) if isinstance(value, tuple) else None

    def floats(self, name: str) -> tuple[float, ...] | None:
        """The node's list of floats `name`, else its operator's default, else None."""
        value = self._plain(name)
        return tuple(float(item) for item in value) if isinstance(value, tuple) else None

    def array(self, name: str, store: ConstantStore) -> Array | None:
        """The tensor that attribute `name` holds; None if the node has none."""
        attribute = self.attributes.get(name)
        return None if attribute is None else attribute_array(attribute, store)

    def region(self, name: str) -> Region:
        """The subgraph that attribute `name` holds. Raises KeyError if there is none."""
        names = () if self.graph_names is None else tuple(n.data for n in self.graph_names.data)
        if name not in names:
            raise KeyError(f"{self.operator} is without its graph {name!r}")
        return self.regions[names.index(name)]

    def _known_signature(self) -> Signature:
        known = self.signature
        if known is None:
            raise KeyError(f"nothing is known of the operator {self.domain}::{self.operator}")
        return known

    def _plain(self, name: str) -> Value | None:
        attribute = self.attributes.get(name)
        if attribute is not None:
            return plain_value(attribute)
        known = self.signature
        form = None if known is None else known.attributes.get(name)
        return None if form is None else form.default

    @classmethod
    def make(
        cls,
        inputs: Sequence[SSAValue | None],
        result_types: Sequence[Attribute],
        outputs: Sequence[str],
        since: int,
        attributes: Mapping[str, Attribute] = {},
        graphs: Mapping[str, Region] = {},
    ) -> OnnxOperation:
        """A node with these inputs (None: left out), results, their names, attributes and subgraphs."""
        return cls.create(
            operands=[value for value in inputs if value is not None],
            result_types=result_types,
            properties=_properties(inputs, outputs, since, graphs),
            attributes=dict(attributes),
            regions=list(graphs.values()),
        )

    def verify_(self) -> None:
        """Refuse a node that does not have its operator's form: arity, attributes and their kinds, graphs."""
        if len(self.outputs) != len(self.results):
            raise VerifyException(f"{len(self.outputs)} output names for {len(self.results)} results")
        if len(self.graph_names or ()) != len(self.regions):
            raise VerifyException(f"{len(self.graph_names or ())} graph names for {len(self.regions)} graphs")
        known = signature(self.domain, self.operator.partition("-")[0], self.since.value.data)
        if known is None:
            return
        _verify_arity("inputs", known.inputs, [value is not None for value in self.inputs])
        _verify_arity("outputs", known.outputs, [True] * len(self.results))
        graph_names = () if self.graph_names is None else self.graph_names.data
        present = {*self.attributes, *(name.data for name in graph_names)}
        for name, form in known.attributes.items():
            if form.required and name not in present:
                raise VerifyException(f"the required attribute {name!r} is missing")
        for name, attribute in self.attributes.items():
            form = known.attributes.get(name)
            if form is None:
                raise VerifyException(f"there is no attribute {name!r} in {known.operator}-{known.since}")
            if (kind := _kind(attribute)) not in (None, form.kind):
                raise VerifyException(f"the attribute {name!r} is {kind}, not {form.kind}")

    @classmethod
    def parse(cls, parser: Parser) -> OnnxOperation:
        """Parse what `print` writes, from behind the operation's name."""
        extra = cls._parse_name(parser)
        operands = parser.parse_comma_separated_list(
            parser.Delimiter.PAREN,
            lambda: None if parser.parse_optional_keyword("_") else parser.parse_unresolved_operand(),
        )
        attributes = parser.parse_optional_attr_dict()
        parser.parse_punctuation("->")
        outputs = parser.parse_comma_separated_list(parser.Delimiter.SQUARE, parser.parse_str_literal)
        parser.parse_keyword("since")
        since = parser.parse_integer(allow_negative=False, allow_boolean=False)
        graphs: dict[str, Region] = {}
        if parser.parse_optional_keyword("with"):
            pairs = parser.parse_comma_separated_list(
                parser.Delimiter.NONE, lambda: (parser.parse_identifier(), parser.parse_region())
            )
            graphs.update(pairs)
        parser.parse_punctuation(":")
        function = parser.parse_function_type()
        present = iter(
            parser.resolve_operands(
                [operand for operand in operands if operand is not None], function.inputs.data, parser.pos
            )
        )
        inputs = [None if operand is None else next(present) for operand in operands]
        operation = cls.make(inputs, function.outputs.data, outputs, since, attributes, graphs)
        operation.properties.update(extra)
        return operation

    def print(self, printer: Printer) -> None:
        """Print operands, attributes, names of results, version, subgraphs and types."""
        self._print_name(printer)
        with printer.in_parens():
            printer.print_list(
                self.inputs, lambda v: printer.print_string("_") if v is None else printer.print_ssa_value(v)
            )
        printer.print_op_attributes(self.attributes)
        printer.print_string(" -> [")
        printer.print_list(self.output_names, printer.print_string_literal)
        printer.print_string(f"] since {self.since.value.data}")
        for index, region in enumerate(self.regions):
            names = self.graph_names
            printer.print_string(", " if index else " with ")
            printer.print_string(f"{names.data[index].data if names else 'graph'} ")
            printer.print_region(region)
        printer.print_string(" : ")
        printer.print_function_type([value.type for value in self.operands], self.result_types)

    @classmethod
    def _parse_name(cls, parser: Parser) -> dict[str, Attribute]:
        return {}

    def _print_name(self, printer: Printer) -> None:
        """Print what stands between the operation's name and its operands."""


@irdl_op_definition
class CustomOp(OnnxOperation):
    """A node whose operator has no class: of another domain, or unknown to ONNX. Domain and type are kept.

    ```mlir
    %y = onnx.Custom<"qonnx.custom_op.general", "BipolarQuant">(%x, %scale) -> ["y"] since 1 : ...
    ```
    """

    name = "onnx.Custom"
    op_domain = prop_def(StringAttr)
    op_type = prop_def(StringAttr)
    traits = traits_def(Pure())

    @property
    def operator(self) -> str:
        """The operator's name in its domain."""
        return self.op_type.data

    @property
    def domain(self) -> str:
        """The operator's domain."""
        return self.op_domain.data

    def verify_(self) -> None:
        """Refuse wrong counts of names; the form is checked only where an official schema says it."""
        if len(self.outputs) != len(self.results):
            raise VerifyException(f"{len(self.outputs)} output names for {len(self.results)} results")
        if len(self.graph_names or ()) != len(self.regions):
            raise VerifyException(f"{len(self.graph_names or ())} graph names for {len(self.regions)} graphs")

    @classmethod
    def _parse_name(cls, parser: Parser) -> dict[str, Attribute]:
        with parser.in_angle_brackets():
            domain = StringAttr(parser.parse_str_literal())
            parser.parse_punctuation(",")
            return {"op_domain": domain, "op_type": StringAttr(parser.parse_str_literal())}

    def _print_name(self, printer: Printer) -> None:
        with printer.in_angle_brackets():
            printer.print_string_literal(self.domain)
            printer.print_string(", ")
            printer.print_string_literal(self.operator)

    @staticmethod
    def of(
        domain: str,
        operator: str,
        inputs: Sequence[SSAValue | None],
        result_types: Sequence[Attribute],
        outputs: Sequence[str],
        since: int,
        attributes: Mapping[str, Attribute] = {},
        graphs: Mapping[str, Region] = {},
    ) -> CustomOp:
        """A node of an operator without a class; see `OnnxOperation.make`."""
        kind = {"op_domain": StringAttr(domain), "op_type": StringAttr(operator)}
        return CustomOp.create(
            operands=[value for value in inputs if value is not None],
            result_types=result_types,
            properties={**_properties(inputs, outputs, since, graphs), **kind},
            attributes=dict(attributes),
            regions=list(graphs.values()),
        )


@irdl_op_definition
class ConstantOp(IRDLOperation):
    """A constant: a small one as it is, any other by its name in the store. It stands for no node.

    ```mlir
    %w = onnx.Constant #nn.ref<"encoder.0.query.weight"> : tensor<64x64xf32>
    %shape = onnx.Constant dense<[1, 17, 64]> : tensor<3xi64>
    ```
    """

    name = "onnx.Constant"
    value = prop_def(Attribute)
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(self, value: Attribute, result_type: Attribute):
        super().__init__(properties={"value": value}, result_types=[result_type])

    def array(self, store: ConstantStore) -> Array:
        """The constant's value, read-only."""
        return attribute_array(self.value, store)

    @property
    def key(self) -> str | None:
        """The constant's name in the store; None for one that stands in the IR."""
        return self.value.key.data if isinstance(self.value, RefAttr) else None

    def verify_(self) -> None:
        """Refuse a value that is neither a reference nor dense and of the result's type."""
        if isinstance(self.value, RefAttr):
            return
        if _dense_type(self.value) != self.result.type:
            raise VerifyException(f"a constant {self.result.type} is a reference or dense of that very type")

    @classmethod
    def parse(cls, parser: Parser) -> ConstantOp:
        """Parse `value`, and `: type` behind a reference; a dense value has its own."""
        attributes = parser.parse_optional_attr_dict()
        value = parser.parse_attribute()
        result_type = _dense_type(value)
        if result_type is None:
            parser.parse_punctuation(":")
            result_type = parser.parse_type()
        operation = cls(value, result_type)
        operation.attributes.update(attributes)
        return operation

    def print(self, printer: Printer) -> None:
        """Print the value, and the type of a reference."""
        printer.print_op_attributes(self.attributes)
        printer.print_string(" ")
        printer.print_attribute(self.value)
        if _dense_type(self.value) is None:
            printer.print_string(" : ")
            printer.print_attribute(self.result.type)


@irdl_op_definition
class YieldOp(IRDLOperation):
    """The end of a subgraph: its outputs, whose ONNX names are the subgraph's own.

    ```mlir
    onnx.Yield %a, %b : tensor<i1>, tensor<4xf32>
    ```
    """

    name = "onnx.Yield"
    arguments = var_operand_def()
    traits = traits_def(IsTerminator(), Pure())
    assembly_format = "($arguments^ `:` type($arguments))? attr-dict"

    def __init__(self, *arguments: SSAValue):
        super().__init__(operands=[arguments])


def constant_array(value: SSAValue | None, store: ConstantStore) -> Array | None:
    """The value of what an `onnx.Constant` makes; None for anything else."""
    if value is None or not isinstance(value.owner, ConstantOp):
        return None
    return value.owner.array(store)


def constant_attribute(array: Array, key: Callable[[], str]) -> Attribute:
    """A constant as an attribute.

    As it is if small enough, else by reference to what `key` puts into the store.
    """
    if not is_inline(array):
        return RefAttr(key())
    return _dense(array, TensorType(types.element_of_dtype(array.dtype), array.shape))


def attribute_array(attribute: Attribute, store: ConstantStore) -> Array:
    """The value of a constant attribute, read-only. Raises TypeError for an attribute that is none."""
    return store.get(attribute.key.data) if isinstance(attribute, RefAttr) else _dense_array(attribute)


def is_inline(array: Array) -> bool:
    """Whether a constant is small and plain enough to stand in the IR itself."""
    if array.size > INLINE_ELEMENTS or array.dtype.isbuiltin != 1 or array.dtype.kind not in _INLINE_KINDS:
        return False
    # xDSL prints an infinity as its bits in hexadecimal, and reads those as an integer.
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def plain_value(attribute: Attribute) -> Value | None:
    """An attribute as a Python value: integer, float, text or a tuple of one of them; None for any other."""
    match attribute:
        case IntegerAttr():
            return attribute.value.data
        case FloatAttr():
            return attribute.value.data
        case StringAttr():
            return attribute.data
        case DenseArrayBase():
            return array_values(attribute)
        case ArrayAttr():
            items = attribute.data
            texts = tuple(item.data for item in items if isinstance(item, StringAttr))
            return texts if len(texts) == len(items) else None
        case _:
            return None


def array_values(attribute: DenseArrayBase[Any]) -> tuple[int, ...] | tuple[float, ...]:
    """The numbers of a dense array attribute."""
    return tuple(attribute.get_values())


@cache
def operation_class(operator: str, since: int | None = None) -> type[OnnxOperation]:
    """The class of an operator of the default domain: of its newest form, or of version `since`'s.

    Raises KeyError for an operator that ONNX does not have.
    """
    current = newest(operator)
    if current is None:
        raise KeyError(f"ONNX has no operator {operator}")
    is_old = since is not None and since != current.since
    fields: dict[str, Any] = {
        "name": f"onnx.{operator}_{since}" if is_old else f"onnx.{operator}",
        "OPERATOR": f"{operator}-{since}" if is_old else operator,
        "__doc__": f"A node of ONNX's {operator}.",
        "__module__": __name__,
        "__annotations__": {"OPERATOR": ClassVar[str]},
        "traits": traits_def() if operator in RANDOM_OPERATORS else traits_def(Pure()),
    }
    return irdl_op_definition(type(f"{operator}Op", (OnnxOperation,), fields))


RANDOM_OPERATORS = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)
"""Operators whose results are not a function of their inputs."""


def load_onnx() -> Dialect:
    """The dialect, with a class for every operator of the default domain and for its older forms."""
    from onnx import defs

    forms: dict[str, type[Operation]] = {}
    for schema in defs.get_all_schemas_with_history():
        current = newest(schema.name) if schema.domain == "" else None
        if current is None or schema.name == "Constant":
            continue
        is_old = schema.since_version < MEANING_SINCE.get(schema.name, 0) or schema.deprecated
        if is_old or schema.since_version == current.since:
            made = operation_class(schema.name, schema.since_version)
            forms[made.name] = made
    attributes: list[type[Attribute]] = [
        types.StringType,
        types.NoneType,
        types.UnknownType,
        types.SequenceType,
        types.OptionalType,
        types.MapType,
        types.SparseType,
    ]
    return Dialect("onnx", [CustomOp, ConstantOp, YieldOp, *forms.values()], attributes)


def _properties(
    inputs: Sequence[SSAValue | None], outputs: Sequence[str], since: int, graphs: Iterable[str]
) -> dict[str, Attribute]:
    properties: dict[str, Attribute] = {
        "outputs": ArrayAttr(map(StringAttr, outputs)),
        "since": IntegerAttr(since, i64),
    }
    if absent := [index for index, value in enumerate(inputs) if value is None]:
        properties["absent"] = DenseArrayBase.from_list(i64, absent)
    if names := [StringAttr(name) for name in graphs]:
        properties["graph_names"] = ArrayAttr(names)
    return properties


def _verify_arity(what: str, formals: Sequence[Any], present: Sequence[bool]) -> None:
    last = formals[-1].option if formals else Option.SINGLE
    if len(present) > len(formals) and last is not Option.VARIADIC:
        raise VerifyException(f"{len(present)} {what}, at most {len(formals)} are allowed")
    for index, formal in enumerate(formals):
        missing = index >= len(present) or not present[index]
        if missing and formal.option is Option.SINGLE:
            raise VerifyException(f"{what[:-1]} {index} ({formal.name!r}) is missing")


def _kind(attribute: Attribute) -> str | None:
    """ONNX's kind of an attribute; None where the attribute alone does not tell (a list of texts, a type)."""
    match attribute:
        case IntegerAttr():
            return "INT"
        case FloatAttr():
            return "FLOAT"
        case StringAttr():
            return "STRING"
        case DenseArrayBase():
            return "INTS" if attribute.elt_type == i64 else "FLOATS"
        case _:
            return None


def _dense(array: Array, result_type: TensorType[Any]) -> Attribute:
    # xDSL keeps a true i1 as the byte 0xff: the sign extension of its single bit.
    raw = -array.astype(np.int8) if array.dtype == np.bool_ else np.ascontiguousarray(array)
    return DenseIntOrFPElementsAttr(result_type, BytesAttr(raw.tobytes()))


def _dense_type(attribute: Attribute) -> Attribute | None:
    """The type of a dense attribute; None for any other."""
    if not isinstance(attribute, DenseIntOrFPElementsAttr):
        return None
    return cast("DenseIntOrFPElementsAttr[Any]", attribute).type


def _dense_array(attribute: Attribute) -> Array:
    if not isinstance(attribute, DenseIntOrFPElementsAttr):
        raise TypeError(f"{attribute} is no dense constant")
    dense = cast("DenseIntOrFPElementsAttr[Any]", attribute)
    element: Attribute = dense.get_element_type()
    raw = dense.data.data
    values = np.frombuffer(raw, np.int8) != 0 if element == i1 else np.frombuffer(raw, types.dtype_of(element))
    array = values.reshape(dense.get_shape())
    array.flags.writeable = False
    return array
