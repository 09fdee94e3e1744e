"""How fast rows pass from kernel to kernel, for the choice of tilings that let them.

Between two kernels of the matrix engine stand kernels that go row by row (norms, quantizations), and so they do at
the program's ends, where they wait for the loads of its inputs and the stores of its outputs. A product that starts on
the first rows while the others are still on their way, and that ends with rows of which the first are done early,
hides them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from xdsl.ir import SSAValue

from ...dialects import nn
from ...dialects.elements import element_type, format_of, shape_of
from ...isa.frozen import frozen
from .arithmetic import Product
from .kernel import Kernel, Lowering, Scope
from .matmul_problem import Seam
from .rowwise import RowwiseLowering


@frozen
class Stretch:
    """What goes row by row at one end of a product: cycles of the vector engine, and the tensors that are loaded and
    stored where they do not lie on chip."""

    vector_cycles: float
    loaded: tuple[SSAValue, ...]
    stored: tuple[SSAValue, ...]

    def cycles(self, scope: Scope) -> float:
        """The busiest of vector engine, DRAM channel, LD and ST, by what is resident now."""
        loaded, stored = (
            sum(format_of(element_type(root)).size(shape_of(root)) for root in roots if root not in scope.residents)
            for roots in (self.loaded, self.stored)
        )
        channel = (loaded + stored) / scope.machine.dram.bytes_per_cycle
        return max(self.vector_cycles, channel, max(loaded, stored) / scope.machine.transfer.access_bytes)


NO_STRETCH = Stretch(0.0, (), ())


@frozen
class Ends:
    """What goes row by row before a product and after it, over `rows` rows."""

    before: Stretch
    after: Stretch
    rows: int

    def seam(self, scope: Scope) -> Seam:
        """The pace of rows at both ends, by what is resident now."""
        return Seam(self.before.cycles(scope) / self.rows, self.after.cycles(scope) / self.rows)


def find_ends(lowerings: Sequence[Lowering], scope: Scope) -> Mapping[Kernel, Ends]:
    """The ends of products that row by row work comes before, or after."""
    kernels = [lowering.kernel for lowering in lowerings]
    heavy = [index for index, lowering in enumerate(lowerings) if not isinstance(lowering, RowwiseLowering)]
    found: dict[Kernel, Ends] = {}
    for place, index in enumerate(heavy):
        kernel = kernels[index]
        if not isinstance(kernel.anchor, Product):
            continue
        before = range(heavy[place - 1] + 1 if place else 0, index)
        after = range(index + 1, heavy[place + 1] if place + 1 < len(heavy) else len(kernels))
        left = scope.view(kernel.anchor.lhs).root
        made = {scope.view(value).root for other in before for value in kernels[other].results}
        results = {scope.view(value).root for value in kernel.results}
        read = {scope.view(value).root for other in after for value in kernels[other].operands}
        found[kernel] = Ends(
            _stretch(lowerings, before, scope) if left in made else NO_STRETCH,
            _stretch(lowerings, after, scope) if read & results else NO_STRETCH,
            max(1, prod(shape_of(kernel.anchor.result)[:-1])),
        )
    return found


def _stretch(lowerings: Sequence[Lowering], between: range, scope: Scope) -> Stretch:
    """The kernels `between` two of the matrix engine."""
    vector = 0.0
    read: dict[SSAValue, None] = {}
    made: dict[SSAValue, None] = {}
    for index in between:
        lowering = lowerings[index]
        assert isinstance(lowering, RowwiseLowering)
        vector += lowering.vector_cycles
        made |= dict.fromkeys(scope.view(value).root for value in lowering.kernel.results)
        read |= dict.fromkeys(scope.view(value).root for value in lowering.kernel.operands)
    loaded = (root for root in read if not isinstance(root.owner, nn.ConstantOp))
    return Stretch(vector, tuple(loaded), tuple(made))
