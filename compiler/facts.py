"""What a program file tells of its model that instructions do not: element types, valid inputs, paths, forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from xdsl.dialects.builtin import ModuleOp, StringAttr, i1, i32
from xdsl.ir import Operation, SSAValue

from ..dialects import bnn, nn, sattn
from ..dialects.constants import ConstantStore
from ..dialects.elements import element_type, shape_of
from ..dialects.onnx_interface import UNKNOWN, inputs_of, main_of, outputs_of
from ..dialects.provenance import nodes_of
from ..isa.program import Note
from ..passes.builder import INT32
from ..passes.emit.emit import ModelFacts
from ..passes.graph.batch import batch_dependence
from ..passes.precision.unlowered import unlowered
from .arguments import arguments_of

_LAYOUT = (nn.ReshapeOp, nn.TransposeOp, nn.BroadcastOp, nn.SliceOp, nn.CastOp)

_WHOLE = (nn.ReshapeOp, nn.TransposeOp, nn.BroadcastOp)
"""Layout that keeps every element."""


def graph_facts(module: ModuleOp, store: ConstantStore) -> ModelFacts:
    """The facts of a module of the graph level."""
    paths: dict[str, str] = {}
    for operation in module.walk():
        path = operation.attributes.get("path")
        for node in nodes_of(operation):
            if isinstance(path, StringAttr):
                paths.setdefault(node.name, path.data)
    ranges: dict[str, tuple[float | int | None, float | int | None]] = {}
    binary: set[str] = set()
    for argument in arguments_of(module):
        if element_type(argument.value) != i32:
            continue
        limits = list(_index_limits(argument.value))
        if limits:
            ranges[argument.name] = (-min(limits), min(limits) - 1)
        elif _is_mask(argument.value, store):
            binary.add(argument.name)
            if not any(_is_complement(user, store) for user, _ in _users(argument.value)):
                # Casts alone read it: whatever is not 0 is true.
                ranges[argument.name] = (int(INT32.min), int(INT32.max))
    return ModelFacts(
        element_types=_element_types(module),
        ranges=ranges,
        binary=frozenset(binary),
        paths=paths,
        batchable=batch_dependence(module, store).is_batchable,
        forms=_forms(
            (operation, form.text)
            for operation in module.walk()
            if isinstance(form := operation.attributes.get(sattn.LOWERED_FORM), sattn.FormAttr)
        ),
    )


def with_formats(
    facts: ModelFacts, module: ModuleOp, untrained: Sequence[str] = (), structured: bool = False
) -> ModelFacts:
    """The facts and what a module of the precision level shows: quantized products that stayed float, how many
    multiply-accumulates the model asks for, and the formats it was not trained in; if weights were looked at for their
    structure (`structured`), how many products have which."""
    notes = tuple(Note(item.node, "quantized", item.reason) for item in unlowered(module))
    model: dict[str, Any] = {"macs": sum(_macs(operation) for operation in module.walk())}
    if untrained:
        model["untrained"] = list(untrained)
    if structured:
        products = [operation for operation in module.walk() if isinstance(operation, nn.MatmulOp)]
        model["structures"] = dict(Counter(found.structure.data for found in products if found.structure is not None))
    return replace(facts, unlowered=notes, model={**facts.model, **model})


def with_forms(facts: ModelFacts, module: ModuleOp) -> ModelFacts:
    """The facts and the form of every attention that is one in a module of the attention level."""
    found = ((op, op.form.text) for op in module.walk() if isinstance(op, sattn.AttentionOp))
    return replace(facts, forms=_forms(found, facts.forms))


def _forms(found: Iterable[tuple[Operation, str]], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """By node the form of what stands for it, added to what is `known`."""
    forms = dict(known or {})
    for operation, text in found:
        for node in nodes_of(operation):
            forms[node.name] = _joined(forms[node.name], text) if node.name in forms else text
    return forms


def _joined(known: str, form: str) -> str:
    """The forms of attentions of some heads each, every one once."""
    return "; ".join(dict.fromkeys((*known.split("; "), *form.split("; "))))


def _macs(operation: Operation) -> int:
    """Multiply-accumulates of a product, or of both products of an attention."""
    match operation:
        case nn.MatmulOp() | bnn.MatmulOp():
            return prod(shape_of(operation.result)) * shape_of(operation.lhs)[-1]
        case sattn.AttentionOp():
            *queries, depth = shape_of(operation.q)
            *_, keys, width = shape_of(operation.v)
            return prod(queries) * keys * (depth + width)
        case _:
            return 0


def facts_to_dict(facts: ModelFacts) -> dict[str, Any]:
    """The facts as plain values: what a dump keeps of them."""
    return {
        "element_types": dict(facts.element_types),
        "ranges": {name: list(limits) for name, limits in facts.ranges.items()},
        "binary": sorted(facts.binary),
        "paths": dict(facts.paths),
        "forms": dict(facts.forms),
        "model": dict(facts.model),
        "batchable": facts.batchable,
        "unlowered": [[note.node, note.subject, note.reason] for note in facts.unlowered],
    }


def facts_from_dict(data: Mapping[str, Any]) -> ModelFacts:
    """What `facts_to_dict` wrote."""
    return ModelFacts(
        element_types=data["element_types"],
        ranges={name: (low, high) for name, (low, high) in data["ranges"].items()},
        binary=frozenset(data["binary"]),
        paths=data["paths"],
        forms=data["forms"],
        model=data["model"],
        batchable=data["batchable"],
        unlowered=tuple(Note(*fields) for fields in data["unlowered"]),
    )


def _element_types(module: ModuleOp) -> dict[str, str]:
    """The model's element type of every input and output, as ONNX names it in lower case."""
    function = main_of(module)
    declared = (*inputs_of(function), *outputs_of(function))
    return {item.name: item.element.lower() for item in declared if item.element != UNKNOWN}


def _users(value: SSAValue) -> Iterator[tuple[Operation, SSAValue]]:
    """Operations that read a value directly or through layout and casts, with the value they read."""
    for use in value.uses:
        if isinstance(use.operation, _LAYOUT):
            yield from _users(use.operation.results[0])
            if isinstance(use.operation, nn.CastOp):
                yield use.operation, value
        else:
            yield use.operation, value


def _index_limits(value: SSAValue) -> Iterator[int]:
    """The number of rows of every table that all elements of the value index, negative ones from the end."""
    for use in value.uses:
        user = use.operation
        if isinstance(user, nn.GatherRowsOp):
            if user.ids is value:
                yield user.limit.value.data
        elif isinstance(user, _WHOLE) or _counts_from_the_end(user, value):
            yield from _index_limits(user.results[0])


def _counts_from_the_end(user: Operation, value: SSAValue) -> bool:
    """Whether an operation is select(value < 0, value + extent, value)."""
    match user:
        case nn.MapOp(function=StringAttr(data="select"), inputs=(condition, wrapped, kept)) if kept is value:
            return _is_map(condition, "lt", value) and _is_map(wrapped, "add", value)
        case _:
            return False


def _is_map(value: SSAValue, function: str, first: SSAValue) -> bool:
    owner = value.owner
    return isinstance(owner, nn.MapOp) and owner.function.data == function and owner.inputs[0] is first


def _is_mask(value: SSAValue, store: ConstantStore) -> bool:
    """Whether an integer input is taken for truth values: it is cast to bool, or all that reads it takes it
    from 1, of which only 0 and 1 leave a truth value. One that integers are computed from otherwise is none.
    """
    users = [(user, read) for user, read in _users(value) if not isinstance(user, nn.CastOp)]
    casts = [user for user, _ in _users(value) if isinstance(user, nn.CastOp)]
    if any(element_type(read) == i32 and not _is_complement(user, store) for user, read in users):
        return False
    to_truth = any(element_type(cast.result) == i1 for cast in casts)
    return to_truth or (bool(users) and all(_is_complement(user, store) for user, _ in users))


def _is_complement(user: Operation, store: ConstantStore) -> bool:
    return isinstance(user, nn.MapOp) and user.function.data == "sub" and _is_one(user.inputs[0], store)


def _is_one(value: SSAValue, store: ConstantStore) -> bool:
    owner = value.owner
    if not isinstance(owner, nn.ConstantOp) or owner.reference is not None:
        return False
    return bool((store.array(owner.data) == 1).all())
