"""What the linear forms share: arithmetic in the softmax's place, which needs no score of each pair.

A product of three matrices, queries [n, d], keys [d, m] and values [m, e], is the same in either order: by `scores`
(Q K^T) V in n m (d + e) multiplications, by `context` Q (K^T V) in d e (m + n). With n = m tokens and heads of d = e
channels the two are equal at n = d.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ...isa.frozen import frozen
from .form import Form
from .work import BY_COST, CONTEXT, SCORES, Extents, Macs, Product, Work

if TYPE_CHECKING:
    from xdsl.ir import SSAValue

    from ..constants import Array
    from ..elements import Element


class Graph(Protocol):
    """What a form writes its operations with (`passes.builder.Builder`): axes count from the last if negative."""

    def constant(self, array: Array) -> SSAValue:
        """A constant."""
        ...

    def map(self, function: str, *operands: SSAValue | float, to: Element | None = None) -> SSAValue:
        """A lane function."""
        ...

    def widen(self, value: SSAValue) -> SSAValue:
        """A float as f32."""
        ...

    def cast(self, value: SSAValue, element: Element) -> SSAValue:
        """Another element type."""
        ...

    def reduce(self, kind: str, value: SSAValue, axes: Sequence[int], element: Element | None = None) -> SSAValue:
        """A reduction whose axes stay with an extent of 1."""
        ...

    def matmul(
        self, lhs: SSAValue, rhs: SSAValue, *, transpose_rhs: bool = False, element: Element | None = None
    ) -> SSAValue:
        """A matrix product of the last two axes."""
        ...

    def swap_last(self, value: SSAValue) -> SSAValue:
        """The last two axes exchanged."""
        ...


@frozen(eq=False)
class Heads:
    """What an attention of some heads is made of: queries [..., Lq, Dk], keys [..., Lk, Dk] and values [..., Lk, Dv] of
    one element type, with leading axes that stretch to each other. `wide` is the f32 of sums."""

    q: SSAValue
    k: SSAValue
    v: SSAValue
    scale: float
    constants: Mapping[str, Array]
    extents: Extents
    element: Element
    wide: Element


@frozen
class Linear(Form):
    """A form without the softmax over scores, whose work grows with the number of keys, not of pairs."""

    def constants(self, extents: Extents) -> Mapping[str, Array]:
        """What the form needs beside its parameters, by name, where a recipe gives no others of these shapes: float32,
        the same for all heads."""
        return {}

    @abstractmethod
    def attend(self, q: Array, k: Array, v: Array, scale: float, constants: Mapping[str, Array]) -> Array:
        """The definition: float32 [..., Lq, Dk], [..., Lk, Dk] and [..., Lk, Dv] to [..., Lq, Dv]."""

    @abstractmethod
    def macs(self, extents: Extents) -> int:
        """Multiplications with additions on the matrix engine, a head."""

    def work(self, extents: Extents) -> Work:
        """What the form asks of one head."""
        return Work.of_rows(extents, Macs(Product.LINEAR, self.macs(extents), self.macs(extents)))

    @abstractmethod
    def lower(self, graph: Graph, heads: Heads) -> SSAValue:
        """The same as `attend`, in operations of the graph level: [..., Lq, Dv] of the heads' element type."""


@frozen
class Reassociated(Linear):
    """A linear form that multiplies queries, keys and values in either order."""

    order: str = BY_COST

    def __post_init__(self) -> None:
        orders = (BY_COST, SCORES, CONTEXT)
        self.refuse(self.order not in orders, f"the order is one of {', '.join(orders)}, not {self.order!r}")

    def chosen(self, extents: Extents) -> str:
        """The order asked for, or the one of fewer multiplications; `scores` where both have as many."""
        return self.order if self.order != BY_COST else min((SCORES, CONTEXT), key=extents.macs)

    def macs(self, extents: Extents) -> int:
        return extents.macs(self.chosen(extents))
