"""Which products a recipe's tile rules speak of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from ...dialects.provenance import nodes_of
from ...isa.errors import UsageError
from ..tile_rules import TileChoice, TileRule
from .arithmetic import Product
from .kernel import Kernel


def tile_choices(kernels: Sequence[Kernel], rules: Sequence[TileRule]) -> Mapping[Kernel, TileChoice]:
    """What is forced of each product: the first rule that matches it decides.

    A pattern is tried on structural paths, and if it matches none of them on the names of ONNX nodes. Raises UsageError
    for rules that match no product.
    """
    products = [kernel for kernel in kernels if isinstance(kernel.anchor, Product)]
    found: dict[Kernel, TileChoice] = {}
    for rule in rules:
        matched = [kernel for kernel in products if fnmatchcase(kernel.path, rule.match)]
        matched = matched or [kernel for kernel in products if _has_node(kernel, rule.match)]
        if not matched:
            raise UsageError(f"recipe tile {rule.match!r} matches no product", "`attnc check` lists the paths")
        for kernel in matched:
            found.setdefault(kernel, rule.choice)
    return found


def _has_node(kernel: Kernel, pattern: str) -> bool:
    return any(fnmatchcase(node.name, pattern) for node in nodes_of(kernel.anchor))
