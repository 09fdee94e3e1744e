"""Structural paths: where in the model each operation stands, read off the graph (`encoder.3.attention.q`).

The stream of residual additions divides a model into blocks, each an attention or a feed-forward network. A
layer begins at a self-attention; it is a decoder's if that is causal or an attention to other tokens follows.
What comes before the first block is the embedding, what follows the last is the head. A product, attention,
norm or table has its path for itself; the arithmetic around it shares it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation
from xdsl.passes import ModulePass

from ...dialects import nn, sattn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import shape_of
from .blocks import NORMS, is_projection, residual_structure
from .layers import Names, layers
from .matching import users

ANCHORS = (nn.MatmulOp, sattn.AttentionOp, nn.LayerNormOp, nn.RmsNormOp, nn.GatherRowsOp, nn.SoftmaxOp)
"""Operations whose paths are theirs alone."""


@dataclass(frozen=True)
class NamePaths(ModulePass):
    """Give every operation its structural path."""

    name = "name-paths"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Set the attribute `path` of each operation of `op`."""
        store = CompilerContext.of(ctx).store
        for function in op.ops:
            if isinstance(function, FuncOp):
                _write(function, function_paths(function, store))


def function_paths(function: FuncOp, store: ConstantStore) -> Names:
    """The structural path of each operation of a function, before equal ones are numbered."""
    structure = residual_structure(function)
    if not structure.blocks:
        return {op: _plain_name(op) for op in structure.head}
    names = _embedding(structure.embedding)
    counts: Counter[str] = Counter()
    for layer in layers(structure):
        kind = "decoder" if layer.is_decoder(store) else "encoder"
        names.update(layer.named(f"{kind}.{counts[kind]}"))
        counts[kind] += 1
    names.update(_head(structure.head, _vocabularies(structure.embedding)))
    return names


def _write(function: FuncOp, names: Names) -> None:
    """Set paths, the second and further anchors of a path with their number. What is made of constants only
    is where it is first used."""
    taken: Counter[str] = Counter()
    operations = [op for op in function.body.block.ops if not isinstance(op, ReturnOp)]
    parametric: set[Operation] = set()
    for op in operations:
        path = names[op]
        if isinstance(op, ANCHORS):
            taken[path] += 1
            path = path if taken[path] == 1 else f"{path}{taken[path]}"
        elif all(operand.owner in parametric for operand in op.operands):
            parametric.add(op)
        op.attributes["path"] = StringAttr(path)
    for op in reversed(operations):
        for made in (operand.owner for operand in op.operands):
            if isinstance(made, Operation) and made in parametric:
                made.attributes["path"] = op.attributes["path"]


def _plain_name(op: Operation) -> str:
    """The path of an operation in a model without layers: what it is."""
    return op.function.data if isinstance(op, nn.MapOp) else op.name.partition(".")[2]


def _embedding(operations: Sequence[Operation]) -> Names:
    """Paths of what comes before the first layer."""
    names: Names = {}
    for op in operations:
        role = ""
        if isinstance(op, nn.GatherRowsOp):
            role = ".table"
        elif isinstance(op, NORMS):
            role = ".norm"
        elif isinstance(op, nn.MatmulOp):
            role = ".projection"
        names[op] = f"embedding{role}"
    return names


def _vocabularies(operations: Sequence[Operation]) -> set[int]:
    """Heights of the tables that the embedding looks ids up in."""
    return {shape_of(op.table)[0] for op in operations if isinstance(op, nn.GatherRowsOp)}


def _head(operations: Sequence[Operation], vocabularies: set[int]) -> Names:
    """Paths of what follows the last layer: norm, pooling, pooler, classifier or lm_head."""
    products = [op for op in operations if is_projection(op)]
    names: Names = {}
    for op in operations:
        read = [v.owner for v in op.operands if not isinstance(v.owner, nn.ConstantOp)]
        inherited = [name for made in read if isinstance(made, Operation) and (name := names.get(made))]
        if isinstance(op, NORMS):
            names[op] = "norm"
        elif op in products:
            names[op] = _product_name(op, op is products[-1], vocabularies)
        elif isinstance(op, nn.ReduceOp | nn.SliceOp | nn.GatherRowsOp) and "classifier" not in inherited:
            names[op] = "pooling"
        else:
            names[op] = inherited[-1] if inherited else "head"
    return names


def _product_name(op: Operation, is_last: bool, vocabularies: set[int]) -> str:
    """The path of a product in the head."""
    if is_last:
        return "lm_head" if shape_of(op.results[0])[-1] in vocabularies else "classifier"
    value = op.results[0]
    for _ in range(3):
        for user in users(value):
            if isinstance(user, nn.MapOp) and user.function.data == "tanh":
                return "pooler"
        following = value.get_user_of_unique_use()
        if following is None:
            break
        value = following.results[0]
    return "head"
