"""Which number format each product gets: the default, unless a rule of the recipe names its path or its
nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Operation

from ...dialects import nn, sattn
from ...dialects.provenance import nodes_of
from ...isa.errors import UsageError, one_of
from ..precisions import PRECISIONS

Product = nn.MatmulOp | sattn.AttentionOp
Named = TypeVar("Named", bound=Operation)


def layer_precisions(module: ModuleOp, default: str, rules: Sequence[str]) -> dict[Product, str]:
    """The precision of every matrix product and attention of a module, in order.

    A rule is `pattern=precision`; the first that matches a product decides. A pattern is a shell pattern over
    structural paths; one that matches none of them is tried on the names of ONNX nodes. Raises UsageError for
    rules that match no product.
    """
    for precision in (default, *(rule.rpartition("=")[2] for rule in rules)):
        one_of("precision", precision, PRECISIONS)
    found = {op: default for op in module.walk() if isinstance(op, Product)}
    decided: set[Operation] = set()
    unmatched: list[str] = []
    for rule in rules:
        pattern, _, precision = rule.rpartition("=")
        matched = matches(found, pattern)
        if not matched:
            unmatched.append(pattern)
        found |= {op: precision for op in matched if op not in decided}
        decided.update(matched)
    if unmatched:
        raise UsageError(
            f"recipe layer {', '.join(map(repr, unmatched))} matches no product of the model",
            "`attnc check` lists the paths",
        )
    return found


def matches(operations: Iterable[Named], pattern: str) -> list[Named]:
    """Those whose structural path matches a shell pattern; if none does, those with an ONNX node whose name does."""
    among = list(operations)
    return [op for op in among if _has_path(op, pattern)] or [op for op in among if _has_node(op, pattern)]


def _has_path(operation: Operation, pattern: str) -> bool:
    path = operation.attributes.get("path")
    return isinstance(path, StringAttr) and fnmatchcase(path.data, pattern)


def _has_node(operation: Operation, pattern: str) -> bool:
    return any(fnmatchcase(node.name, pattern) for node in nodes_of(operation))
