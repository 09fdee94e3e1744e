"""Where operations come from: locations that name ONNX nodes, and the account of nodes that left the IR.

An operation that stands for an ONNX node is located at `loc("node name"("operator"))`, one that stands for
several at the fusion of theirs. Nodes that were folded away or removed are listed on the module, with the
phase and the reason, so that at every phase the nodes in the IR and the nodes listed are exactly the model's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import cast

from xdsl.dialects.builtin import (
    UNKNOWN_LOC,
    ArrayAttr,
    FusedLoc,
    LocationAttr,
    ModuleOp,
    NameLoc,
    NoneAttr,
    StringAttr,
)
from xdsl.ir import Attribute, Operation

from ..isa.frozen import frozen

FOLDED = "folded"
"""The module's attribute that lists the nodes that are no longer in its IR."""


@frozen
class Node:
    """A node of the ONNX model: its unique name and its operator (`MatMul`, `com.microsoft::MatMulNBits`)."""

    name: str
    operator: str = ""


@frozen
class FoldedNode:
    """A node that is not in the IR any more: which phase took it out (`import`, `graph`, ...), and why."""

    name: str
    operator: str
    phase: str
    reason: str


def node_location(name: str, operator: str) -> NameLoc:
    """The location of an operation that stands for one ONNX node."""
    return NameLoc(StringAttr(name), NameLoc(StringAttr(operator), NoneAttr()))


def nodes_of(location: Attribute | Operation) -> tuple[Node, ...]:
    """The ONNX nodes that a location, or an operation's location, names; each once, in order."""
    source = location.location if isinstance(location, Operation) else location
    return tuple(dict.fromkeys(_nodes(source)))


def fuse(*locations: Attribute) -> LocationAttr:
    """The location of what stands for all of `locations`: flat, each node once, unknown ones left out."""
    members: dict[NameLoc, None] = {}
    for location in locations:
        members.update(dict.fromkeys(_named(location)))
    if not members:
        return UNKNOWN_LOC
    return next(iter(members)) if len(members) == 1 else FusedLoc(tuple(members), NoneAttr())


def record_folded(module: ModuleOp, nodes: Iterable[FoldedNode]) -> None:
    """Add nodes to the module's list of those that left its IR; one that is listed already stays as it is."""
    known = {node.name: node for node in folded_nodes(module)}
    before = len(known)
    for node in nodes:
        known.setdefault(node.name, node)
    if len(known) > before:
        _list_folded(module, known.values())


def date_folded(module: ModuleOp, before: Iterable[FoldedNode], phase: str) -> None:
    """Say of the listed nodes that were not listed `before` that they left in `phase`: passes that serve several
    phases do not know in which one they run."""
    known = frozenset(node.name for node in before)
    nodes = folded_nodes(module)
    if any(node.name not in known for node in nodes):
        _list_folded(module, [node if node.name in known else replace(node, phase=phase) for node in nodes])


def _list_folded(module: ModuleOp, nodes: Iterable[FoldedNode]) -> None:
    groups: dict[tuple[str, str, str], list[StringAttr]] = {}
    for node in nodes:
        groups.setdefault((node.phase, node.reason, node.operator), []).append(StringAttr(node.name))
    entries = (ArrayAttr((*map(StringAttr, group), ArrayAttr(names))) for group, names in groups.items())
    module.attributes[FOLDED] = ArrayAttr[Attribute](entries)


def folded_nodes(module: ModuleOp) -> tuple[FoldedNode, ...]:
    """The nodes that left the module's IR, by phase, reason and operator."""
    return tuple(
        FoldedNode(name, operator, phase, reason)
        for entry in _items(module.attributes.get(FOLDED))
        for phase, reason, operator in (_texts(entry),)
        for name in _texts(_items(entry)[-1])
    )


def locations(module: ModuleOp) -> dict[int, LocationAttr]:
    """The locations of the module's operations in order of first occurrence, each by its identity as an object."""
    return {id(operation.location): operation.location for operation in _operations(module)}


def module_nodes(module: ModuleOp) -> tuple[Node, ...]:
    """The nodes that operations of the module stand for, each once, in order of first occurrence."""
    return tuple(dict.fromkeys(node for location in locations(module).values() for node in nodes_of(location)))


def _operations(parent: Operation) -> list[Operation]:
    """The operations in another and itself, as `walk` gives them: straight along blocks, which are long and flat."""
    found = [parent]
    for region in parent.regions:
        for block in region.blocks:
            operation = block.first_op
            while operation is not None:
                if operation.regions:
                    found += _operations(operation)
                else:
                    found.append(operation)
                operation = operation.next_op
    return found


def _named(location: Attribute) -> Iterator[NameLoc]:
    if isinstance(location, NameLoc):
        yield location
    elif isinstance(location, FusedLoc):
        for member in _items(location.locations):
            yield from _named(member)


def _nodes(location: Attribute) -> Iterator[Node]:
    for named in _named(location):
        operator = named.location
        yield Node(named.desc.data, operator.desc.data if isinstance(operator, NameLoc) else "")


def _texts(entry: Attribute) -> tuple[str, ...]:
    return tuple(field.data for field in _items(entry) if isinstance(field, StringAttr))


def _items(attribute: Attribute | None) -> tuple[Attribute, ...]:
    return cast("ArrayAttr[Attribute]", attribute).data if isinstance(attribute, ArrayAttr) else ()
