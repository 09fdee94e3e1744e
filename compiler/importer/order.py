"""The order of a graph's nodes: each after what it reads. Says what is wrong with a graph that has none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from onnx import AttributeProto, GraphProto, NodeProto

from ...isa.errors import InputError


def ordered(nodes: Sequence[NodeProto], is_known: Callable[[str], bool], names: Sequence[str], model: str) -> list[int]:
    """The positions of `nodes` in an order in which each comes after the nodes that make its inputs.

    That is their own order if it is one. `is_known` tells values that are there before the nodes; `names` are
    what errors call the nodes. Raises InputError for a value made twice, one that nothing makes, and a cycle.
    """
    maker: dict[str, int] = {}
    for position, node in enumerate(nodes):
        for output in node.output:
            if output and (output in maker or is_known(output)):
                raise InputError(
                    model, f"the value {output!r} is made twice, the second time by node {names[position]!r}"
                )
            if output:
                maker[output] = position
    needs: list[list[int]] = []
    for position, node in enumerate(nodes):
        makers = {maker[name] for name in reads(node) if name in maker}
        missing = next((n for n in reads(node) if n not in maker and not is_known(n)), None)
        if missing is not None:
            raise InputError(model, f"node {names[position]!r} reads {missing!r}, which nothing makes")
        needs.append(sorted(makers))
    if all(need < position for position, list_ in enumerate(needs) for need in list_):
        return list(range(len(nodes)))
    return _sorted(needs, names, model)


def _sorted(needs: Sequence[Sequence[int]], names: Sequence[str], model: str) -> list[int]:
    """Kahn's algorithm: of the nodes that are ready, those that the file has first come first."""
    import heapq

    readers: list[list[int]] = [[] for _ in needs]
    waiting = [len(need) for need in needs]
    for position, need in enumerate(needs):
        for before in need:
            readers[before].append(position)
    ready = [position for position, count in enumerate(waiting) if count == 0]
    order: list[int] = []
    while ready:
        position = heapq.heappop(ready)
        order.append(position)
        for reader in readers[position]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    if len(order) < len(needs):
        stuck = [names[position] for position, count in enumerate(waiting) if count]
        shown = ", ".join(repr(name) for name in stuck[:3]) + (", ..." if len(stuck) > 3 else "")
        raise InputError(model, f"its graph has a cycle through {shown}")
    return order


def reads(node: NodeProto) -> Iterator[str]:
    """The values that a node reads: its inputs, and what its subgraphs take from around them."""
    yield from (name for name in node.input if name)
    for graph in subgraphs(node):
        yield from _captured(graph)


def subgraphs(node: NodeProto) -> Iterable[GraphProto]:
    """The graphs that a node's attributes hold."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def _captured(graph: GraphProto) -> Iterator[str]:
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {tensor.values.name for tensor in graph.sparse_initializer}
    own |= {name for node in graph.node for name in node.output}
    for node in graph.node:
        yield from (name for name in reads(node) if name not in own)
    yield from (value.name for value in graph.output if value.name not in own)
