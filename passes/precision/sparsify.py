"""Small activations become zero in front of products, and products skip zeros (Tuli and Jha, 2023, AccelTran, arXiv
2302.14705: DynaTran).

An activation is pruned where its magnitude is not above a threshold (`dialects.sparsity`). A product of floats compares
its left operand itself, as it skips it. Before an operand is quantized, and in front of an attention, the comparison is
written out, where the operand is made; of levels a product then skips the zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import bnn, nn, sattn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, is_float
from ...dialects.provenance import nodes_of
from ...isa.errors import Blocking, UnsupportedError, UsageError
from ..builder import Builder
from ..constant_operand import ConstantOperand
from ..sparsity_rules import SparsityRule
from .layers import layer_precisions, matches
from .quantize_products import QUANTIZED
from .retype import above_layout, through_layout

Product = nn.MatmulOp | bnn.MatmulOp | sattn.AttentionOp

LEFT_OUT = "leave it out by `match`"


def matched(module: ModuleOp, rules: Sequence[SparsityRule]) -> Iterator[tuple[Product, float]]:
    """The attentions, and the products of an activation, for which a rule says a threshold: the first that matches.

    Raises UsageError for a rule that matches none of them.
    """
    products = [op for op in module.walk() if isinstance(op, Product) and _is_activation(op.operands[0])]
    found: dict[Product, float] = {}
    for rule in rules:
        named = matches(products, rule.match)
        if not named:
            raise UsageError(
                f"recipe sparsity {rule.match!r} matches no product of an activation", "`attnc check` lists the paths"
            )
        for product in named:
            found.setdefault(product, rule.threshold)
    yield from found.items()


def _is_activation(value: SSAValue) -> bool:
    return ConstantOperand.of(value) is None


@dataclass(frozen=True)
class PruneActivations(ModulePass):
    """Write out what the `rules` (`match=0.02`) say of attentions, and of products that are to be quantized as
    `precision` and the rules of `layers` say. Raises UnsupportedError for what the model quantizes itself."""

    name = "prune-activations"

    rules: tuple[str, ...]
    precision: str = "model"
    layers: tuple[str, ...] = ()

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module."""
        store, blocking = CompilerContext.of(ctx).store, list[Blocking]()
        precisions = layer_precisions(op, self.precision, self.layers)
        made: dict[tuple[SSAValue, float], SSAValue] = {}
        for product, threshold in matched(op, list(map(SparsityRule.parse, self.rules))):
            if not threshold:
                continue
            asked = "model" if isinstance(product, bnn.MatmulOp) else precisions[product]
            if not is_float(element_type(product.operands[0])):
                reason = "the model quantizes what enters it: a threshold would be one of levels"
                blocking.append(_blocking(product, reason, f"{LEFT_OUT}, or say threshold = 0"))
            elif isinstance(product, sattn.AttentionOp):
                for index in range(3):
                    _prune(store, product, index, threshold, made)
            elif asked in QUANTIZED:
                _prune(store, product, 0, threshold, made)
        if blocking:
            raise UnsupportedError(tuple(blocking))


@dataclass(frozen=True)
class SkipZeros(ModulePass):
    """Note on the products for which a rule of `rules` (`match=0.02`) says a threshold that they skip small values of
    their left operand: of floats those not above the threshold, of levels zeros. Raises UnsupportedError for products
    of packed operands."""

    name = "skip-zeros"

    rules: tuple[str, ...]

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Set `threshold` of products."""
        blocking: list[Blocking] = []
        for product, threshold in matched(op, list(map(SparsityRule.parse, self.rules))):
            if isinstance(product, bnn.MatmulOp):
                blocking.append(_blocking(product, "the array takes no mask of packed operands", LEFT_OUT))
            elif isinstance(product, nn.MatmulOp):
                product.threshold = nn.real(threshold if is_float(element_type(product.lhs)) else 0.0)
        if blocking:
            raise UnsupportedError(tuple(blocking))


def _blocking(product: Operation, reason: str, remedy: str) -> Blocking:
    node = next(iter(nodes_of(product)), None)
    return Blocking("?" if node is None else node.name, "MatMul" if node is None else node.operator, reason, remedy)


def _prune(
    store: ConstantStore,
    product: Operation,
    index: int,
    threshold: float,
    made: dict[tuple[SSAValue, float], SSAValue],
) -> None:
    """Zero in the place of what an operand has that is not above the threshold, where the operand is made."""
    value = product.operands[index]
    if (value, threshold) not in made:
        source, steps = above_layout(value)
        build = Builder.after(source, store, product)
        pruned = build.cast(build.map("prune", build.cast(source, f32), threshold), element_type(source))
        made[value, threshold] = through_layout(Builder.before(product, store), pruned, steps)
    product.operands[index] = made[value, threshold]
