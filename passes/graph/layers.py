"""The layers of a Transformer and what each of their operations is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from xdsl.ir import Operation, SSAValue

from ...dialects import nn
from ...dialects.constants import ConstantStore
from ...dialects.elements import shape_of
from .blocks import (
    NORMS,
    AttentionParts,
    ResidualBlock,
    Structure,
    attention_parts,
    is_cross,
    is_projection,
    upstream,
)

ACTIVATIONS = frozenset(("gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "erf", "max", "softplus"))

Names = dict[Operation, str]


@dataclass
class Layer:
    """The blocks between one self-attention and the next, with what each attends to."""

    blocks: list[ResidualBlock] = field(default_factory=list[ResidualBlock])
    attentions: list[AttentionParts | None] = field(default_factory=list[AttentionParts | None])
    crosses: list[bool] = field(default_factory=list[bool])

    def takes(self, attention: AttentionParts | None, crosses: bool) -> bool:
        """Whether another block belongs to this layer."""
        if None in self.attentions:
            return False
        return attention is None or crosses or not self.blocks

    def is_decoder(self, store: ConstantStore) -> bool:
        """Whether the layer hides later tokens, or attends to others."""
        return any(self.crosses) or any(parts is not None and _is_causal(parts, store) for parts in self.attentions)

    def named(self, prefix: str) -> Names:
        """The paths of all operations of the layer."""
        names: Names = {}
        norms = 0
        for block, parts, crosses in zip(self.blocks, self.attentions, self.crosses, strict=True):
            kind = "ffn" if parts is None else "cross_attention" if crosses else "attention"
            roles = _ffn_roles(block) if parts is None else _attention_roles(block, parts)
            for op in (*block.operations, *block.after):
                if isinstance(op, NORMS) and op not in roles:
                    norms += 1
                    names[op] = f"{prefix}.norm{norms}"
                else:
                    names[op] = f"{prefix}.{kind}" + (f".{roles[op]}" if op in roles else "")
            names[block.addition] = f"{prefix}.{kind}.residual"
        return names


def layers(structure: Structure) -> Iterator[Layer]:
    """Blocks gathered into layers."""
    layer = Layer()
    for block in structure.blocks:
        parts = attention_parts(block.operations)
        crosses = parts is not None and is_cross(parts, set(block.operations))
        if not layer.takes(parts, crosses):
            yield layer
            layer = Layer()
        layer.blocks.append(block)
        layer.attentions.append(parts)
        layer.crosses.append(crosses)
    if layer.blocks:
        yield layer


def _attention_roles(block: ResidualBlock, parts: AttentionParts) -> Names:
    """What each operation of an attention block is for: q, k, v (joined where shared), scores, mask, out."""
    within = set(block.operations)
    projected: dict[Operation, str] = {}
    for role, value in (("q", parts.q), ("k", parts.k), ("v", parts.v)):
        for op in _up_to_projection(value, within - set(parts.core)):
            projected[op] = projected.get(op, "") + role
    roles: Names = dict(projected)
    if parts.mask is not None:
        roles.update((op, "mask") for op in upstream((parts.mask,), within - set(projected)))
    if len(parts.core) == 1:
        roles[parts.core[0]] = "scores"
    else:
        inner = upstream((parts.result,), within - set(projected))
        roles.update((op, "scores") for op in inner)
        roles[parts.core[1]] = "softmax"
        roles[parts.core[2]] = "values"
    for op in block.operations:
        if op not in roles and any(_role_of(operand, roles) in ("scores", "values", "out") for operand in op.operands):
            roles[op] = "out"
    return roles


def _up_to_projection(value: SSAValue, within: set[Operation]) -> Iterator[Operation]:
    """The operations that make a value, back to the projections it comes from."""
    pending = [value]
    seen: set[Operation] = set()
    while pending:
        owner = pending.pop().owner
        if not isinstance(owner, Operation) or owner not in within or owner in seen:
            continue
        seen.add(owner)
        if isinstance(owner, NORMS) and not any(is_projection(op) for op in upstream((owner.input,), within)):
            # With no projection before it, it is the norm of the block and not of its queries or keys.
            continue
        yield owner
        if is_projection(owner):
            pending.extend(owner.operands[1:])
        else:
            pending.extend(owner.operands)


def _ffn_roles(block: ResidualBlock) -> Names:
    """What each operation of a feed-forward block is for: up, gate, activation, down."""
    products = [op for op in block.operations if isinstance(op, nn.MatmulOp)]
    named: Names = dict(zip(products, _product_names(products, set(block.operations)), strict=True))
    roles: Names = {}
    for op in block.operations:
        if op in named:
            roles[op] = named[op]
        elif isinstance(op, nn.MapOp) and op.function.data in ACTIVATIONS and _reads(op, roles):
            roles[op] = "activation"
        elif inherited := _reads(op, roles):
            roles[op] = inherited
    return roles


def _product_names(products: Sequence[nn.MatmulOp], within: set[Operation]) -> list[str]:
    """Names of a feed-forward network's products in their order."""
    if len(products) == 1:
        return ["linear"]
    if len(products) == 2:
        return ["up", "down"]
    if len(products) == 3 and products[0].lhs is products[1].lhs:
        gate = 0 if _is_activated(products[0], within) else 1
        return ["gate" if place == gate else "up" for place in range(2)] + ["down"]
    return [f"linear{place + 1}" for place in range(len(products))]


def _is_activated(product: nn.MatmulOp, within: set[Operation]) -> bool:
    """Whether the first thing done to a product, past bias and layout, is an activation function."""
    value: SSAValue = product.result
    while (use := value.first_use) is not None and use.operation in within:
        user = use.operation
        if isinstance(user, nn.MapOp) and user.function.data in ACTIVATIONS:
            return True
        if isinstance(user, nn.MapOp) and user.function.data == "mul":
            return False
        value = user.results[0]
    return False


def _reads(op: Operation, roles: Names) -> str | None:
    """The role of what an operation reads, the latest if several."""
    found = [role for operand in op.operands if (role := _role_of(operand, roles)) is not None]
    return found[-1] if found else None


def _role_of(value: SSAValue, roles: Names) -> str | None:
    return roles.get(value.owner) if isinstance(value.owner, Operation) else None


def _is_causal(parts: AttentionParts, store: ConstantStore) -> bool:
    """Whether an attention hides later tokens: by its attribute, or by a constant that went into its mask."""
    if parts.is_causal:
        return True
    if parts.mask is None:
        return False
    queries, keys = shape_of(parts.q)[-2], shape_of(parts.k)[-2]
    pending, seen = [parts.mask], set[Operation]()
    while pending:
        owner = pending.pop().owner
        if not isinstance(owner, Operation) or owner in seen:
            continue
        seen.add(owner)
        pending.extend(owner.operands)
        if isinstance(owner, nn.ConstantOp) and shape_of(owner.result)[-2:] == (queries, keys) and queries > 1:
            rows = store.array(owner.data).reshape(-1, queries, keys)[0]
            triangle = np.tri(queries, keys, keys - queries, dtype=np.bool_)
            if ((rows == rows[-1, 0]) == triangle).all():
                return True
    return False
