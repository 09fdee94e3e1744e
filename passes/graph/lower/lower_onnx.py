"""The pass that lowers a module of `onnx` operations to `nn` and `sattn`, or says of every node why it cannot
be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import (
    FunctionType,
    IntegerType,
    ModuleOp,
    Signedness,
    StringAttr,
    TensorType,
    UnrealizedConversionCastOp,
)
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.utils.exceptions import VerifyException

from ....dialects.constants import Array, ConstantStore, derived_key
from ....dialects.context import CompilerContext
from ....dialects.elements import Element, element_type, format_of, shape_of, tensor
from ....dialects.onnx import ConstantOp, OnnxOperation, constant_array
from ....dialects.onnx_interface import inputs_of
from ....dialects.provenance import FoldedNode, Node, module_nodes, nodes_of, record_folded
from ....dialects.shapes import dims, elements
from ....isa.errors import Blocking, UnsupportedError, UsageError
from ...builder import Builder
from ...refusal import RefusalError
from .conditions import UnknownShapeError, UnknownValueError
from .lowering import Lowering, lowered_element, static_shape
from .refused import refusal_of
from .table import LOWERINGS, rule_domain

ADDRESSES = 1 << 32
"""Bytes that addresses of DRAM reach."""

ELEMENTS = 1 << 40
"""A result has so many elements at most: beyond, no program that computes them could be written down."""

_FEW_BITS: Mapping[Attribute, np.dtype[Any]] = {
    IntegerType(bits, sign): np.dtype(dtype)
    for bits in (2, 4)
    for sign, dtype in ((Signedness.SIGNLESS, np.int8), (Signedness.UNSIGNED, np.uint8))
}
"""Integers of less than 8 bits, and the bytes that hold their values."""


@dataclass(frozen=True)
class LowerOnnx(ModulePass):
    """Replace every `onnx` operation by `nn` and `sattn` operations, each located at its node.

    Raises UnsupportedError with every node that no rule lowers, and then leaves the module as it was.
    """

    name = "lower-onnx"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Lower each function of the module."""
        before = module_nodes(op)
        lowered = [_Function(function, CompilerContext.of(ctx).store) for function in _functions(op)]
        blocking = [item for function in lowered for item in function.blocking]
        if blocking:
            raise UnsupportedError(blocking)
        for function in lowered:
            function.replace()
        left = set(module_nodes(op))
        reasons = {node: reason for function in lowered for node, reason in function.vanished.items()}
        gone = [
            FoldedNode(node.name, node.operator, "graph", reasons.get(node, "its result is not used"))
            for node in before
            if node not in left
        ]
        if gone:
            record_folded(op, gone)


def blocking_nodes(module: ModuleOp, store: ConstantStore) -> tuple[Blocking, ...]:
    """Every node of an `onnx` module that cannot be lowered, with the reason; the module stays as it is."""
    return tuple(item for function in _functions(module) for item in _Function(function, store).blocking)


def inputs_to_know(module: ModuleOp, store: ConstantStore) -> tuple[str, ...]:
    """The inputs of an `onnx` module that its refused nodes would have to know when compiling, in order.

    These are the inputs that lead to an operand which a rule asked for as a constant, in vain, before it
    refused the node: extents, axes, starts, pads and the like. The module stays as it is.
    """
    asked = [value for function in _functions(module) for value in _Function(function, store).asked]
    leading = _leading_to(asked)
    return tuple(
        given.name
        for function in _functions(module)
        for argument, given in zip(function.body.block.args, inputs_of(function), strict=True)
        if argument in leading
    )


def _leading_to(values: Iterable[SSAValue]) -> set[SSAValue]:
    """The values and all that they are computed from."""
    found = set[SSAValue]()
    open_values = list(values)
    while open_values:
        value = open_values.pop()
        if value not in found:
            found.add(value)
            open_values.extend(value.owner.operands if isinstance(value.owner, Operation) else ())
    return found


def rule_of(node: OnnxOperation) -> type[Lowering] | None:
    """The rule that lowers a node's operator, None if there is none."""
    return LOWERINGS.get((rule_domain(node.domain), node.operator))


def _functions(module: ModuleOp) -> list[FuncOp]:
    return [operation for operation in module.ops if isinstance(operation, FuncOp)]


class _Function:
    """The lowered form of one function, built beside it: `blocking` says what stands in the way, `vanished`
    which nodes need no operation and why, `asked` which values rules of refused nodes wanted to be constants.
    """

    def __init__(self, function: FuncOp, store: ConstantStore):
        self.blocking: list[Blocking] = []
        self.vanished: dict[Node, str] = {}
        self.asked: list[SSAValue] = []
        self._unknown: list[SSAValue] = []
        self._function = function
        self._store = store
        self._block = Block()
        self._build = Builder.at_end(self._block, store)
        self._values: dict[SSAValue, SSAValue] = {}
        self._missing: set[SSAValue] = set()
        self._doubtful: set[SSAValue] = set()
        self._lower_arguments()
        for operation in function.body.block.ops:
            match operation:
                case OnnxOperation():
                    self._lower_node(operation)
                case ReturnOp():
                    self._lower_return(operation)
                case ConstantOp():
                    pass
                case _:
                    raise UsageError(f"lower-onnx found the operation {operation.name}", "run it on imported modules")

    def replace(self) -> None:
        """Put the lowered body in the place of the old one."""
        function = self._function
        old = function.body.block
        function.body.add_block(self._block)
        function.body.erase_block(old, safe_erase=False)
        terminator = self._block.last_op
        assert isinstance(terminator, ReturnOp)
        function.function_type = FunctionType.from_lists(
            [argument.type for argument in self._block.args], [value.type for value in terminator.operands]
        )

    # What rules ask of their surroundings

    def value(self, source: SSAValue) -> SSAValue:
        """The lowered value of an ONNX value; a constant is made where it is first used."""
        if source not in self._values:
            lowered_element(source.type)
            owner = source.owner
            assert isinstance(owner, ConstantOp), "operations stand in the order of their dependences"
            key = owner.key
            self._values[source] = (
                self._build.constant(owner.array(self._store)) if key is None else self._build.named_constant(key)
            )
        return self._values[source]

    def array(self, source: SSAValue) -> Array | None:
        """The ONNX value if it is a constant."""
        array = constant_array(source, self._store)
        if array is None:
            self._unknown.append(source)
        return array

    def bytes(self, source: SSAValue) -> SSAValue | None:
        """A constant of 2- or 4-bit integers as bytes of the same values; None for any other value."""
        owner = source.owner
        dtype = _FEW_BITS.get(owner.result.type.get_element_type()) if isinstance(owner, ConstantOp) else None
        if dtype is None or not isinstance(owner, ConstantOp):
            return None

        def widened(array: Array) -> Array:
            return array.astype(dtype)

        key = owner.key
        if key is None:
            return self._build.constant(widened(owner.array(self._store)))
        name = derived_key("bytes", key)
        self._store.derive(name, widened, key, shape=self._store.shape(key), dtype=dtype)
        return self._build.named_constant(name)

    # The walk

    def _lower_arguments(self) -> None:
        for argument, given in zip(self._function.body.block.args, inputs_of(self._function), strict=True):
            try:
                lowered_type = tensor(lowered_element(argument.type), *static_shape(argument.type))
                _require_addresses(lowered_type)
            except RefusalError as refusal:
                self.blocking.append(Blocking(given.name, "input", refusal.reason, refusal.remedy))
                self._missing.add(argument)
                self._doubtful.add(argument)
                continue
            lowered = self._block.insert_arg(lowered_type, len(self._block.args))
            lowered.location, lowered.name_hint = argument.location, argument.name_hint
            self._values[argument] = lowered

    def _lower_return(self, operation: ReturnOp) -> None:
        self._build.location = operation.location
        values = [self.value(source) for source in operation.operands if source not in self._missing]
        terminator = ReturnOp(*values)
        terminator.location = operation.location
        self._block.add_op(terminator)

    def _lower_node(self, node: OnnxOperation) -> None:
        name = next(iter(nodes_of(node)), Node("", spelled(node)))
        self._build.location = node.location
        before = self._block.last_op
        if any(source in self._doubtful for source in node.inputs):
            self._doubtful.update(node.results)
        self._unknown.clear()
        try:
            results = self._results(node)
        except RefusalError as refusal:
            self.asked.extend(self._unknown)
            if not self._is_caused_before(node, refusal):
                self.blocking.append(Blocking(name.name, spelled(node), refusal.reason, refusal.remedy))
            self._stand_in(node)
            self._doubtful.update(node.results)
            return
        for source, value in zip(node.results, results, strict=False):
            if value is not None:
                self._values[source] = value
        made = set(_after(self._block, before))
        if not made:
            self.vanished[name] = "its result is an operand as it stands"
        for output, value in zip(node.output_names, results, strict=False):
            if not output or value is None or not isinstance(value.owner, Operation):
                continue
            if value.owner in made and value.owner.results[0] is value:
                value.owner.attributes.setdefault("value", StringAttr(output))

    def _results(self, node: OnnxOperation) -> Sequence[SSAValue | None]:
        """The values of the node's results, of the types that the model infers."""
        rule_class = rule_of(node)
        if rule_class is None:
            raise refusal_of(node)
        if any(source in self._missing for source in node.inputs if source is not None):
            raise _BLOCKED
        rule = rule_class(node, self._build, self)
        for condition in rule_class.conditions:
            condition.require(rule)
        for index in range(len(node.results)):
            if rule.wants(index):
                rule.result_element(index)
        _require_size(rule)
        before = self._block.last_op
        try:
            results = rule.lower()
            for operation in _after(self._block, before):
                operation.verify(verify_nested_ops=False)
        except (VerifyException, ValueError, IndexError, OverflowError) as error:
            # Shape functions let pass what contradicts its operator; it shows where the operation is spelled out.
            raise RefusalError(f"the shapes do not fit: {error}", "correct the model") from error
        values = [results] if isinstance(results, SSAValue) else list(results)
        return [None if value is None else self._finished(rule, index, value) for index, value in enumerate(values)]

    def _finished(self, rule: Lowering, index: int, value: SSAValue) -> SSAValue:
        """A result in the node's element type, its shape checked."""
        if not rule.wants(index):
            return value
        expected, element = rule.result_shape(index), rule.result_element(index)
        if shape_of(value) != expected:
            made, told = dims(shape_of(value)), dims(expected)
            raise RefusalError(f"its operands make its result {made}, and the model says {told}", "correct the model")
        made = element_type(value)
        if format_of(made).kind != format_of(element).kind:
            raise AssertionError(f"{type(rule).__name__} gives {value.type} for {rule.result_type(index)}")
        return self._build.cast(value, element)

    def _is_caused_before(self, node: OnnxOperation, refusal: RefusalError) -> bool:
        """Whether a refusal is only that of nodes before this one, which are listed already."""
        if isinstance(refusal, UnknownValueError):
            rule = Lowering(node, self._build, self)
            return all(rule.source(name) in self._doubtful for name in refusal.names)
        if isinstance(refusal, UnknownShapeError):
            return any(source in self._doubtful for source in node.inputs)
        return refusal is _BLOCKED

    def _stand_in(self, node: OnnxOperation) -> None:
        """Give the node's users something to be checked against, where its results' types allow it."""
        for source in node.results:
            try:
                lowered_type = tensor(lowered_element(source.type), *static_shape(source.type))
            except RefusalError:
                self._missing.add(source)
                continue
            cast = UnrealizedConversionCastOp.create(result_types=[lowered_type])
            self._values[source] = self._build.insert(cast)


def _require_addresses(given: TensorType[Element]) -> None:
    """An input lies in DRAM as a whole. Raises RefusalError for one that no address reaches."""
    need = elements(given.get_shape()) * format_of(given.element_type).bytes
    if need > ADDRESSES:
        raise RefusalError(f"it needs {need} bytes, and addresses reach {ADDRESSES}", "give it in smaller parts")


def _require_size(rule: Lowering) -> None:
    """Results may be larger than memory, for they need not exist as a whole; but not without end."""
    for index in range(len(rule.node.results)):
        if rule.wants(index) and elements(rule.result_shape(index)) > ELEMENTS:
            shape = dims(rule.result_shape(index))
            raise RefusalError(f"its result {shape} has more than {ELEMENTS} elements", "use smaller shapes")


_BLOCKED = RefusalError("an operand comes from a node that is refused")
"""Raised for nodes that nothing can be said about because of another one."""


def spelled(node: OnnxOperation) -> str:
    """A node's operator with its domain, as messages and source maps have it."""
    return f"{node.domain}::{node.operator}" if node.domain else node.operator


def _after(block: Block, operation: Operation | None) -> list[Operation]:
    """The operations of a block behind one of them (None: all)."""
    found = list[Operation]()
    following = block.first_op if operation is None else operation.next_op
    while following is not None:
        found.append(following)
        following = following.next_op
    return found
