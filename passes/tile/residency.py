"""Which tensors stay in SRAM from the kernel that makes them to the last that reads them.

A walk over the kernels in order keeps, for every set of tensors that may be on chip between two of them, the cheapest
way to get there (dynamic programming over intervals, with a bound on the sets kept). A kernel costs what its own plan
says in the room that is left beside the tensors on chip; every access of the DRAM channel that is saved counts too.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import chain, combinations
from math import inf

from xdsl.ir import SSAValue

from ...dialects.elements import element_type, format_of, shape_of
from ...isa.errors import CapacityError
from ...isa.frozen import frozen
from .build import buffer_bytes
from .kernel import Budget, Kernel, Lowering, Scope
from .succession import Heirs
from .views import producible

GRAIN = 1024
"""Budgets are rounded down to multiples of so many bytes, so that equal kernels get equal plans."""

SPARE = 0.07
"""No more than this part of what residents leave is kept free of tiles for the next kernel's loads (see
`Lowering.fill`)."""

SMALL = 1024
"""What takes no more bytes (a statistic of every row, say) lies in what is kept free."""

WORTH = 0.5
"""What a saved cycle of the DRAM channel is worth in cycles of a kernel: other work often hides it."""

WIDTH = 128
"""So many sets of tensors on chip are followed from one kernel to the next: the cheapest."""


@frozen(eq=False)
class Tenant:
    """A tensor that may stay: its root, bytes on chip, and the kernels that touch it, in order."""

    root: SSAValue
    bytes: int
    users: tuple[int, ...]


def choose_residents(
    kernels: Sequence[Kernel],
    lowerings: Sequence[Lowering],
    scope: Scope,
    outputs: Sequence[SSAValue],
    heirs: Heirs,
) -> list[Budget]:
    """Fill `scope.residents`, and give the on-chip bytes that each kernel has for its own tiles.

    `outputs` are the roots of the function's outputs, which lie in DRAM. Raises CapacityError where a kernel does not
    even fit alone.
    """
    tenants = _tenants(kernels, lowerings, scope, outputs)
    rooms = _Rooms(kernels, lowerings, scope, tenants, heirs)
    present = _cheapest(rooms, tenants)
    scope.residents |= {tenants[bit].root for mask in present for bit in _bits(mask)}
    return [rooms.budget(index, mask) for index, mask in enumerate(present)]


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


@frozen
class _Way:
    """The cheapest way to a set of tensors on chip: what it costs, and what was on chip during the last kernel."""

    cost: float
    present: int
    before: _Way | None


def _cheapest(rooms: _Rooms, tenants: Sequence[Tenant]) -> list[int]:
    """The tensors on chip during each kernel, as sets of bits."""
    count = rooms.count
    born: list[list[int]] = [[] for _ in range(count)]
    dying = [0] * count
    for bit, tenant in enumerate(tenants):
        born[tenant.users[0]].append(bit)
        dying[tenant.users[-1]] |= 1 << bit
    saved = [rooms.saved(tenant) for tenant in tenants]
    ways: dict[int, _Way] = {0: _Way(0.0, 0, None)}
    for index in range(count):
        choices = [
            (sum(1 << bit for bit in chosen), sum(saved[bit] for bit in chosen))
            for chosen in chain.from_iterable(combinations(born[index], n) for n in range(len(born[index]) + 1))
        ]
        following: dict[int, _Way] = {}
        for carried, way in ways.items():
            for chosen, gain in choices:
                present = carried | chosen
                cost = way.cost + rooms.cost(index, present) - gain
                left = present & ~dying[index]
                known = following.get(left)
                if cost < inf and (known is None or cost < known.cost):
                    following[left] = _Way(cost, present, way)
        ways = dict(sorted(following.items(), key=lambda item: item[1].cost)[:WIDTH])
        # Nothing on chip is the one set that is possible whatever follows.
        ways[0] = following[0]
    found: list[int] = []
    way = min(ways.values(), key=lambda one: one.cost)
    while way.before is not None:
        found.append(way.present)
        way = way.before
    return found[::-1]


class _Rooms:
    """What each kernel has room for and costs beside tensors on chip, which are given as sets of bits."""

    def __init__(
        self,
        kernels: Sequence[Kernel],
        lowerings: Sequence[Lowering],
        scope: Scope,
        tenants: Sequence[Tenant],
        heirs: Heirs,
    ) -> None:
        self._lowerings = lowerings
        self._scope = scope
        self._bytes = [tenant.bytes for tenant in tenants]
        bits = {tenant.root: bit for bit, tenant in enumerate(tenants)}
        self._roots = [tenant.root for tenant in tenants]
        self._touched: list[tuple[int | None, ...]] = [
            tuple(bits.get(root) for root in dict.fromkeys(scope.view(v).root for v in (*k.operands, *k.results)))
            for k in kernels
        ]
        self._masks = [sum(1 << bit for bit in touched if bit is not None) for touched in self._touched]
        self._shared: list[list[tuple[int, int]]] = [
            [(1 << bits[old] | 1 << bits[new], self._bytes[bits[new]]) for old, new in pairs if {old, new} <= set(bits)]
            for pairs in heirs
        ]
        # Kernels of one shape share a number, which is asked about more quickly than the shape.
        numbers: dict[Hashable, int] = {}
        self._shapes = [numbers.setdefault(lowering.shape, len(numbers)) for lowering in lowerings]
        self._costs: dict[object, float] = {}
        self._fill = [lowering.fill for lowering in lowerings]
        for index in range(len(lowerings)):
            if self.cost(index, 0) == inf:
                # It has all of the SRAM if it needs to.
                self._fill[index] = 1.0
                self._plan(index, 0)

    @property
    def count(self) -> int:
        """The number of kernels."""
        return len(self._lowerings)

    def saved(self, tenant: Tenant) -> float:
        """What it is worth that a tensor stays: its accesses of the channel, and the way there and back each time."""
        dram = self._scope.machine.dram
        return len(tenant.users) * (WORTH * tenant.bytes / dram.bytes_per_cycle + dram.latency_cycles)

    def occupied(self, index: int, present: int) -> int:
        """Bytes of the tensors on chip during kernel `index`; what takes over another's storage counts once."""
        total = sum(self._bytes[bit] for bit in _bits(present))
        return total - sum(size for pair, size in self._shared[index] if present & pair == pair)

    def budget(self, index: int, present: int) -> Budget:
        """What kernel `index` has for its tiles."""
        machine = self._scope.machine
        left = machine.sram.bytes - self.occupied(index, present)
        spare = min(int(machine.sram.bytes * (1 - self._fill[index])), int(left * SPARE))
        small = sum(self._bytes[bit] for bit in _bits(present) if self._bytes[bit] <= SMALL)
        free = left - max(0, spare - small)
        return Budget(free // GRAIN * GRAIN if free > 4 * GRAIN else free, machine.acc.bytes)

    def cost(self, index: int, present: int) -> float:
        """Cycles of kernel `index` beside the tensors on chip; infinite where it has no room."""
        budget = self.budget(index, present)
        resident = tuple(bit is not None and bool(present >> bit & 1) for bit in self._touched[index])
        key = (self._shapes[index], self._fill[index], resident, budget)
        known = self._costs.get(key)
        if known is None:
            try:
                known = self._plan(index, present) if budget.sram > 0 else inf
            except CapacityError:
                known = inf
            self._costs[key] = known
        return known

    def _plan(self, index: int, present: int) -> float:
        here = {self._roots[bit] for bit in _bits(self._masks[index] & present)}
        self._scope.residents |= here
        try:
            plan = self._lowerings[index].plan(self.budget(index, present))
        finally:
            self._scope.residents -= here
        return plan.cycles + plan.burden


def _bits(mask: int) -> Iterator[int]:
    """The numbers of the bits that are set."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
