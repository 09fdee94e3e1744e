"""Running a function of pure tensor operations (`nn`, `bnn`, `sattn`) on numpy arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import ReturnOp
from xdsl.ir import Operation, SSAValue

from ..bnn import CompareNormOp
from ..constants import Array, ConstantStore
from ..onnx_interface import main_of
from ..sattn import AttentionOp
from . import bnn, nn, sattn

Observer = Callable[[Operation, Sequence[Array], tuple[Array, ...]], None]

SEMANTICS: dict[type[Operation], nn.Semantics] = {**nn.SEMANTICS, **bnn.SEMANTICS, **sattn.SEMANTICS}
"""The meaning of every operation of the graph level."""


def evaluate(operation: Operation, arguments: Sequence[Array], store: ConstantStore) -> tuple[Array, ...]:
    """The results of one operation. Raises TypeError for an operation without tensor semantics."""
    semantics = SEMANTICS.get(type(operation))
    if semantics is None:
        raise TypeError(f"{operation.name} has no tensor semantics")
    return semantics(operation, arguments, store)


def flips(operation: Operation, arguments: Sequence[Array]) -> tuple[int, int] | None:
    """How many of how many bits an operation that reassociates floats gives otherwise than the model's own expression
    does of the same arguments; None for other operations."""
    match operation:
        case CompareNormOp():
            return bnn.flips_of_norm(operation, arguments)
        case AttentionOp():
            return sattn.flips_of_weights(operation, arguments)
        case _:
            return None


def run(
    module: ModuleOp, inputs: Sequence[Array], store: ConstantStore, observe: Observer | None = None
) -> tuple[Array, ...]:
    """Run `@main` on `inputs`, in the order of its arguments, and give its results.

    `observe` sees every operation with its arguments and results; a value is dropped after its last use.
    """
    block = main_of(module).body.block
    *operations, last = block.ops
    if not isinstance(last, ReturnOp):
        raise ValueError("@main does not return")
    values: dict[SSAValue, Array] = dict(zip(block.args, inputs, strict=True))
    _execute(operations, values, last.operands, store, observe)
    return tuple(values[operand] for operand in last.operands)


def run_for(
    module: ModuleOp, inputs: Sequence[Array], store: ConstantStore, wanted: Iterable[SSAValue], observe: Observer
) -> None:
    """Run of `@main` what the `wanted` values depend on; `observe` sees each of those operations."""
    block = main_of(module).body.block
    pending, needed = list(wanted), set[Operation]()
    while pending:
        owner = pending.pop().owner
        if isinstance(owner, Operation) and owner not in needed:
            needed.add(owner)
            pending.extend(owner.operands)
    operations = [operation for operation in block.ops if operation in needed]
    _execute(operations, dict(zip(block.args, inputs, strict=True)), (), store, observe)


def _execute(
    operations: Sequence[Operation],
    values: dict[SSAValue, Array],
    kept: Sequence[SSAValue],
    store: ConstantStore,
    observe: Observer | None,
) -> None:
    """Run operations in order, over `values`; one that is not `kept` is dropped after its last use."""
    uses: Counter[SSAValue] = Counter(operand for operation in operations for operand in operation.operands)
    uses.update(kept)
    for operation in operations:
        arguments = [values[operand] for operand in operation.operands]
        results = evaluate(operation, arguments, store)
        values.update(zip(operation.results, results, strict=True))
        if observe is not None:
            observe(operation, arguments, results)
        for operand in operation.operands:
            uses[operand] -= 1
            if not uses[operand]:
                values.pop(operand, None)
