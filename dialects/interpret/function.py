"""Running a function of pure tensor operations (`nn`, `sattn`) on numpy arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from ..constants import Array, ConstantStore
from . import nn, sattn

Observer = Callable[[Operation, tuple[Array, ...]], None]

SEMANTICS: dict[type[Operation], nn.Semantics] = {**nn.SEMANTICS, **sattn.SEMANTICS}
"""The meaning of every operation of the graph level."""


def evaluate(operation: Operation, arguments: Sequence[Array], store: ConstantStore) -> tuple[Array, ...]:
    """The results of one operation. Raises TypeError for an operation without tensor semantics."""
    semantics = SEMANTICS.get(type(operation))
    if semantics is None:
        raise TypeError(f"{operation.name} has no tensor semantics")
    return semantics(operation, arguments, store)


def run(
    module: ModuleOp, inputs: Sequence[Array], store: ConstantStore, observe: Observer | None = None
) -> tuple[Array, ...]:
    """Run `@main` on `inputs`, in the order of its arguments, and give its results.

    `observe` sees every operation with its results; a value is dropped after its last use.
    """
    function = next(op for op in module.ops if isinstance(op, FuncOp) and op.sym_name.data == "main")
    block = function.body.block
    uses: Counter[SSAValue] = Counter(operand for op in block.ops for operand in op.operands)
    values: dict[SSAValue, Array] = dict(zip(block.args, inputs, strict=True))
    for operation in block.ops:
        arguments = [values[operand] for operand in operation.operands]
        if isinstance(operation, ReturnOp):
            return tuple(arguments)
        results = evaluate(operation, arguments, store)
        values.update(zip(operation.results, results, strict=True))
        if observe is not None:
            observe(operation, results)
        for operand in operation.operands:
            uses[operand] -= 1
            if not uses[operand]:
                values.pop(operand, None)
    raise ValueError("@main does not return")
