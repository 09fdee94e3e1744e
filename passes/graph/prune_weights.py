"""Weights pruned by magnitude: what sparser weights would cost, before anyone has trained them.

Of every M consecutive values along K of a product's constant operand the N greatest magnitudes stay, or all magnitudes
above a threshold; the rest become zero. Answers are no longer those of the model, and the program says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.constants import Array, ConstantStore, RefAttr, derived_key
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_float, tensor
from ...dialects.provenance import nodes_of
from ...dialects.sparsity import sparse
from ...isa.errors import UsageError
from ...isa.structures import pruned
from ..builder import Builder
from ..constant_operand import ConstantOperand
from ..structure_rules import PruneRule


@dataclass(frozen=True)
class PruneWeights(ModulePass):
    """Prune the float weights of the products that a rule of `rules` (`match=2:4`, `match=0.02`) matches; the first one
    decides."""

    name = "prune-weights"

    rules: tuple[str, ...]

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; weights that nothing reads any more are left for `remove-unused`. Raises UsageError for a
        rule that matches no product with float weights."""
        store = CompilerContext.of(ctx).store
        products = [found for found in op.walk() if isinstance(found, nn.MatmulOp) and has_float_weights(found)]
        decided: set[nn.MatmulOp] = set()
        for rule in map(PruneRule.parse, self.rules):
            matched = matching(products, rule.match)
            if not matched:
                raise UsageError(
                    f"recipe prune {rule.match!r} matches no product with constant float weights",
                    "`attnc check` lists the paths",
                )
            for product in matched:
                if product not in decided:
                    _prune(store, product, rule)
            decided.update(matched)


def has_float_weights(product: nn.MatmulOp) -> bool:
    """Whether the right operand of a product is a constant of floats."""
    return is_float(element_type(product.rhs)) and ConstantOperand.of(product.rhs) is not None


def matching(products: Sequence[nn.MatmulOp], pattern: str) -> list[nn.MatmulOp]:
    """The products whose path matches a shell pattern; if none does, those with a node whose name does."""
    by_path = [
        product
        for product in products
        if isinstance(path := product.attributes.get("path"), StringAttr) and fnmatchcase(path.data, pattern)
    ]
    return by_path or [
        product for product in products if any(fnmatchcase(node.name, pattern) for node in nodes_of(product))
    ]


def _prune(store: ConstantStore, product: nn.MatmulOp, rule: PruneRule) -> None:
    operand = ConstantOperand.of(product.rhs)
    assert operand is not None
    transposed = product.transpose_rhs is not None

    def prune(array: Array) -> Array:
        seen, structure = operand.seen(array), rule.structure
        if structure is None:
            return sparse(seen, rule.threshold or 0.0)
        if not transposed:
            return pruned(seen, structure)
        return np.ascontiguousarray(pruned(seen.swapaxes(-1, -2), structure).swapaxes(-1, -2))

    key = operand.key(store)
    told = {"threshold": rule.threshold} if rule.structure is None else {"structure": rule.structure}
    name = derived_key("prune", key, **told, steps=operand.spelled, transposed=transposed)
    store.derive(name, prune, key, shape=operand.shape, dtype=store.dtype(key))
    build = Builder.before(product, store)
    build.location = operand.constant.location
    element = element_type(product.rhs)
    product.operands[1] = build.insert(nn.ConstantOp(RefAttr(name), tensor(element, *operand.shape)))
