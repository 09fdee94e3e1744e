"""Which tensors stay in SRAM from the kernel that makes them to the last that reads them.

Greedy: the tensors that save the most DRAM traffic for the bytes and the time they occupy come first. One is taken
where every kernel that touches it can use it in place, every kernel in its life still has room for its tiles, and
the smaller room does not cost more cycles than the traffic that is saved is worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xdsl.ir import SSAValue

from ...dialects.elements import element_type, format_of, shape_of
from ...isa.errors import CapacityError
from .build import buffer_bytes
from .kernel import Budget, Kernel, Lowering, Scope
from .views import producible

GRAIN = 4096
"""Budgets are rounded down to multiples of so many bytes, so that equal kernels get equal plans."""

FILL = 0.9
"""The part of the SRAM that residents and tiles may fill together: the rest lets the next kernel's loads come early."""

WORTH = 0.2
"""What a saved cycle of the DRAM channel is worth in cycles of a kernel: other work often hides it."""


@dataclass(frozen=True, eq=False)
class Tenant:
    """A tensor that may stay: its root, bytes on chip, the kernels that touch it, first and last of them."""

    root: SSAValue
    bytes: int
    users: tuple[int, ...]

    @property
    def life(self) -> range:
        """The kernels during which it occupies SRAM."""
        return range(self.users[0], self.users[-1] + 1)

    @property
    def rank(self) -> tuple[float, int]:
        """Greater is better: accesses for each kernel of its life, then size."""
        return len(self.users) / len(self.life), self.bytes


def choose_residents(
    kernels: Sequence[Kernel], lowerings: Sequence[Lowering], scope: Scope, outputs: Sequence[SSAValue]
) -> list[Budget]:
    """Fill `scope.residents`, and give the on-chip bytes that each kernel has for its own tiles.

    `outputs` are the roots of the function's outputs, which lie in DRAM. Raises CapacityError where a kernel does not
    even fit alone.
    """
    chooser = _Chooser(lowerings, scope)
    for tenant in sorted(_tenants(kernels, lowerings, scope, outputs), key=lambda t: t.rank, reverse=True):
        chooser.consider(tenant)
    return [chooser.budget(index) for index in range(len(kernels))]


def _tenants(
    kernels: Sequence[Kernel], lowerings: Sequence[Lowering], scope: Scope, outputs: Sequence[SSAValue]
) -> list[Tenant]:
    """Tensors that every kernel that touches them can use in place."""
    users: dict[SSAValue, list[int]] = {}
    refused: set[SSAValue] = set(outputs)
    for index, (kernel, lowering) in enumerate(zip(kernels, lowerings, strict=True)):
        for value in dict.fromkeys((*kernel.operands, *kernel.results)):
            root = scope.view(value).root
            if root in refused:
                continue
            if not producible(root) or not lowering.accepts_resident(value):
                refused.add(root)
                continue
            touched = users.setdefault(root, [])
            if not touched or touched[-1] != index:
                touched.append(index)
    tenants: list[Tenant] = []
    for root, touched in users.items():
        size = buffer_bytes(shape_of(root), format_of(element_type(root)))
        if root not in refused and len(touched) > 1 and 0 < size < scope.machine.sram.bytes:
            tenants.append(Tenant(root, size, tuple(touched)))
    return tenants


class _Chooser:
    """The residents chosen so far, and what each kernel costs beside them."""

    def __init__(self, lowerings: Sequence[Lowering], scope: Scope) -> None:
        self._lowerings = lowerings
        self._scope = scope
        self._occupied = [0] * len(lowerings)
        self._fill = [FILL] * len(lowerings)
        self._cycles: list[float] = [self._alone(index) for index in range(len(lowerings))]

    def budget(self, index: int) -> Budget:
        """What kernel `index` has for its tiles."""
        machine = self._scope.machine
        free = int(machine.sram.bytes * self._fill[index]) - self._occupied[index]
        return Budget(free // GRAIN * GRAIN if free > 4 * GRAIN else free, machine.acc.bytes)

    def _alone(self, index: int) -> float:
        """The cycles of a kernel without residents; it has all of the SRAM if it needs to."""
        try:
            return self._plan(index)
        except CapacityError:
            self._fill[index] = 1.0
            return self._plan(index)

    def _plan(self, index: int) -> float:
        plan = self._lowerings[index].plan(self.budget(index))
        return plan.cycles + plan.burden

    def consider(self, tenant: Tenant) -> None:
        """Let a tensor stay, if that is possible and worth it."""
        saved = tenant.bytes * len(tenant.users) / self._scope.machine.dram.bytes_per_cycle
        self._scope.residents.add(tenant.root)
        for index in tenant.life:
            self._occupied[index] += tenant.bytes
        after = self._replanned(tenant)
        if after is not None:
            before = sum(self._cycles[index] for index in tenant.life)
            if sum(after.values()) - before <= WORTH * saved:
                for index, cycles in after.items():
                    self._cycles[index] = cycles
                return
        self._scope.residents.discard(tenant.root)
        for index in tenant.life:
            self._occupied[index] -= tenant.bytes

    def _replanned(self, tenant: Tenant) -> Mapping[int, float] | None:
        """The cycles of every kernel in the tensor's life beside it, None where one has no room."""
        if any(self._occupied[index] >= self._scope.machine.sram.bytes for index in tenant.life):
            return None
        try:
            return {index: self._plan(index) for index in tenant.life}
        except CapacityError:
            return None
