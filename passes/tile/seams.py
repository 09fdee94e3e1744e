"""How fast rows pass from kernel to kernel, for the choice of tilings that let them.

Between two kernels of the matrix engine stand kernels that go row by row (norms, quantizations), and at the program's
ends the loads of its inputs and the stores of its outputs. A product that starts on the first rows while the others
are still on their way, and that ends with rows of which the first are done early, hides them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from xdsl.ir import Operation, SSAValue

from ...dialects import nn
from ...dialects.elements import element_type, format_of, shape_of
from .kernel import Kernel, Lowering, Scope
from .matmul_problem import Seam
from .rowwise import RowwiseLowering

SHARE = 0.5
"""Between two kernels, each hides this part of what goes row by row."""


def find_seams(
    kernels: Sequence[Kernel], lowerings: Sequence[Lowering], scope: Scope, outputs: Sequence[SSAValue]
) -> Mapping[Kernel, Seam]:
    """The seams of products that row by row work comes before, or after. `outputs` are roots of the function's."""
    stretches = _Stretches(lowerings, scope, frozenset(outputs))
    heavy = [index for index, lowering in enumerate(lowerings) if not isinstance(lowering, RowwiseLowering)]
    found: dict[Kernel, Seam] = {}
    for place, index in enumerate(heavy):
        kernel = kernels[index]
        if not isinstance(kernel.anchor, nn.MatmulOp):
            continue
        before = heavy[place - 1] if place else -1
        after = heavy[place + 1] if place + 1 < len(heavy) else len(kernels)
        made = {scope.view(value).root for other in kernels[before + 1 : index] for value in other.results}
        arrival = departure = 0.0
        if scope.view(kernel.anchor.lhs).root in made or before < 0:
            arrival = stretches.cycles(range(before + 1, index), kernel.operands if before < 0 else ())
            arrival *= SHARE if before >= 0 else 1.0
        read = {scope.view(value).root for other in kernels[index + 1 : after] for value in other.operands}
        if any(scope.view(value).root in read or scope.view(value).root in outputs for value in kernel.results):
            departure = stretches.cycles(range(index + 1, after), kernel.results)
            departure *= SHARE if after < len(kernels) else 1.0
        count = max(1, prod(shape_of(kernel.anchor.result)[:-1]))
        found[kernel] = Seam(arrival / count, departure / count)
    return found


class _Stretches:
    """What goes row by row between kernels of the matrix engine."""

    def __init__(self, lowerings: Sequence[Lowering], scope: Scope, outputs: frozenset[SSAValue]) -> None:
        self._lowerings = lowerings
        self._scope = scope
        self._outputs = outputs

    def cycles(self, between: range, touched: Sequence[SSAValue]) -> float:
        """The busier of vector engine and DRAM channel: passes of the kernels `between`, and the inputs and outputs of
        the function that those, or the product's own values `touched`, load and store."""
        vector = 0.0
        roots = [self._scope.view(value).root for value in touched]
        for index in between:
            lowering = self._lowerings[index]
            assert isinstance(lowering, RowwiseLowering)
            vector += lowering.vector_cycles
            roots += [self._scope.view(v).root for v in (*lowering.kernel.operands, *lowering.kernel.results)]
        moved = sum(map(self._stored_bytes, dict.fromkeys(roots)))
        return max(vector, moved / self._scope.machine.dram.bytes_per_cycle)

    def _stored_bytes(self, root: SSAValue) -> int:
        """Bytes of an input or output of the function; 0 for all else."""
        if root in self._outputs or not isinstance(root.owner, Operation):
            return prod(shape_of(root)) * format_of(element_type(root)).bytes
        return 0
