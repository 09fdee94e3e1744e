"""Ternary splitting: a matrix of -1, 0 and 1 as two planes of bits, for machines that multiply bits only.

With bipolar planes T = (B1 + B2) / 2, the equal-scale split of BinaryBERT (Bai et al. 2021): where T is 0 they differ.
Its weighted form takes any matrix of -c, -d, d and c: 2 T = (c + d) B1 + (c - d) B2. With unipolar ones T = P - N, what
is positive less what is negative. X @ T then is the weighted sum of two products, exact in int32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32, i8
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.constants import Array, ConstantStore, derived_key
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, shape_of
from ...isa.errors import one_of
from ...isa.frozen import frozen
from ..builder import Builder
from ..few_bit_options import TERNARY
from .choices import choice_of
from .recognize_levels import whole_range
from .retype import above_layout, replace, through_layout

BEGINNING = 1024
"""So many elements of a matrix are looked at before all of it is."""


@frozen
class Weights:
    """X @ T = (first * X @ B1 + second * X @ B2) >> shift."""

    first: int
    second: int
    shift: int


@dataclass(frozen=True)
class SplitTernary(ModulePass):
    """Multiply by two planes of bits where the right operand of an int8 product is ternary.

    `form` is `bipolar`, `unipolar`, `whole` (nothing is split), or `auto`: bipolar planes where the machine's matrix
    engine has a mode for bits and none for the matrix as it is.
    """

    name = "split-ternary"

    form: str = "auto"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; matrices that nothing reads any more are left for `remove-unused`."""
        one_of("form", self.form, TERNARY)
        context = CompilerContext.of(ctx)
        modes = set[str]() if context.machine is None else set(context.machine.matrix.rates)
        is_automatic = self.form == "auto"
        if self.form == "whole" or (is_automatic and "binary" not in modes):
            return
        for product in [p for p in op.walk() if isinstance(p, nn.MatmulOp)]:
            if element_type(product.rhs) != i8:
                continue
            found = _found(product, context.store)
            if found is None or (is_automatic and ("ternary" if found.is_ternary else "i4") in modes):
                continue
            if found.is_ternary or self.form != "unipolar":
                _split(product, found, "bipolar" if is_automatic else self.form, context.store)


@frozen
class Magnitudes:
    """A matrix of -`outer`, -`inner`, `inner` and `outer`, whole numbers with 0 <= inner < outer: `source`, an i8 value
    before layout."""

    source: SSAValue
    outer: int
    inner: int

    @property
    def is_ternary(self) -> bool:
        """Whether it is of -1, 0 and 1."""
        return (self.outer, self.inner) == (1, 0)


def _found(product: nn.MatmulOp, store: ConstantStore) -> Magnitudes | None:
    source, _ = above_layout(product.rhs)
    made = source.owner
    if isinstance(made, nn.ConstantOp):
        levels = store.array(made.data).ravel()
        # Nearly every other matrix shows at its beginning that it is one.
        sizes = _sizes(levels[:BEGINNING])
        sizes = sizes if len(sizes) > 2 else _sizes(levels)
        return Magnitudes(source, sizes[1], sizes[0]) if len(sizes) == 2 else None
    if not isinstance(made, nn.CastOp) or element_type(made.input) != f32 or choice_of(made.input, store) is not None:
        return None
    return Magnitudes(source, 1, 0) if whole_range(made.input, store) == (-1, 1) else None


def _sizes(levels: Array) -> list[int]:
    """The magnitudes of whole numbers, ascending."""
    return np.flatnonzero(np.bincount(np.abs(levels.astype(np.int32)))).tolist()


def _split(product: nn.MatmulOp, found: Magnitudes, form: str, store: ConstantStore) -> None:
    _, steps = above_layout(product.rhs)
    build = Builder.before(product, store)
    transposed = product.transpose_rhs is not None
    products = [
        build.insert(nn.MatmulOp(product.lhs, through_layout(build, plane, steps), transposed))
        for plane in _planes(found, form, store, product)
    ]
    if form == "unipolar":
        replace(product, build.map("sub", *products))
        return
    weights = weights_of(found.outer, found.inner)
    first, second = (
        value if weight == 1 else build.map("mul", value, weight)
        for value, weight in zip(products, (weights.first, weights.second), strict=True)
    )
    total = build.map("add", first, second)
    replace(product, build.map("shift_right", total, weights.shift) if weights.shift else total)


def weights_of(outer: int, inner: int) -> Weights:
    """The weights of the bipolar planes of a matrix of +-outer and +-inner."""
    first, second = outer + inner, outer - inner
    return Weights(first // 2, second // 2, 0) if first % 2 == 0 else Weights(first, second, 1)


def bipolar_planes(array: Array, outer: int) -> tuple[Array, Array]:
    """B1 and B2 of a matrix whose magnitudes are `outer` and a smaller one, int8."""
    first = np.where(array >= 0, 1, -1).astype(np.int8)
    return first, np.where(np.abs(array) == outer, first, -first)


def unipolar_planes(array: Array) -> tuple[Array, Array]:
    """P and N of a ternary matrix, int8."""
    return (array > 0).astype(np.int8), (array < 0).astype(np.int8)


def _planes(found: Magnitudes, form: str, store: ConstantStore, product: nn.MatmulOp) -> tuple[SSAValue, SSAValue]:
    """Both planes as i8 values, made where the matrix is."""
    build = Builder.after(found.source, store, product)
    made = found.source.owner
    if isinstance(made, nn.ConstantOp):
        key = made.reference or store.anonymous(store.array(made.data))
        shape = shape_of(found.source)

        def plane(place: int) -> Callable[[Array], Array]:
            if form == "unipolar":
                return lambda array: unipolar_planes(array)[place]
            return lambda array: bipolar_planes(array, found.outer)[place]

        names = [
            store.derive(
                derived_key("plane", key, form=form, place=place),
                plane(place),
                key,
                shape=shape,
                dtype=np.dtype(np.int8),
            )
            for place in range(2)
        ]
        return build.named_constant(names[0]), build.named_constant(names[1])
    assert isinstance(made, nn.CastOp)
    value = made.input
    if form == "unipolar":
        return build.cast(build.map("gt", value, 0), i8), build.cast(build.map("lt", value, 0), i8)
    first, second = (build.map("select", build.map(test, value, 0), 1.0, -1.0, to=f32) for test in ("ge", "gt"))
    return build.cast(first, i8), build.cast(second, i8)
