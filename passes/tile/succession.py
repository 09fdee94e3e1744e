"""Which results take over the storage of an operand that nothing reads after their kernel, on chip or in DRAM."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from ...dialects.elements import element_type, shape_of
from .build import buffer_bytes
from .kernel import Kernel, Lowering, Scope
from .views import producible

Heirs = Sequence[Sequence[tuple[SSAValue, SSAValue]]]
"""For each kernel the storage roots (old, new) where new may lie where old lay: each root once on either side."""


def find_heirs(
    kernels: Sequence[Kernel], lowerings: Sequence[Lowering], scope: Scope, outputs: Sequence[SSAValue]
) -> Heirs:
    """The pairs of every kernel whose lowering reads each element of the old before it, or as it, writes the new.

    `outputs` are the roots of the function's outputs, which have places of their own, as inputs and constants do.
    """
    first: dict[SSAValue, int] = {}
    last: dict[SSAValue, int] = {}
    for index, kernel in enumerate(kernels):
        for value in (*kernel.operands, *kernel.results):
            root = scope.view(value).root
            first.setdefault(root, index)
            last[root] = index
    kept = set(outputs)
    heirs: list[list[tuple[SSAValue, SSAValue]]] = []
    for index, (kernel, lowering) in enumerate(zip(kernels, lowerings, strict=True)):
        pairs: list[tuple[SSAValue, SSAValue]] = []
        taken: set[SSAValue] = set()
        for result in kernel.results:
            new = scope.view(result).root
            if new in kept or new in taken or first[new] != index:
                continue
            for operand in kernel.operands:
                old = scope.view(operand).root
                if old in kept or old in taken or last[old] != index or not producible(old):
                    continue
                if _alike(scope, old, new) and lowering.may_overwrite(operand, result):
                    pairs.append((old, new))
                    taken |= {old, new}
                    break
        heirs.append(pairs)
    return heirs


def _alike(scope: Scope, old: SSAValue, new: SSAValue) -> bool:
    """Whether two storages hold as many elements of the same format."""
    form = scope.form(old)
    if element_type(old) != element_type(new):
        return False
    return buffer_bytes(shape_of(old), form) == buffer_bytes(shape_of(new), form)
