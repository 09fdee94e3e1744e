"""Integer products of few-level operands on the packed modes of the matrix engine.

The values that an operand can hold (`value_sets`) say which element types of less than a byte hold it; of the modes
that the machine has for them the one of fewest cycles is taken, by the cost of the instruction record itself. The
operand is packed where it is made: every layout operation between there and the product must leave its rows along K,
and those in whole bytes. Constants are transposed to [N, K]. What stays int8 says why (attribute `unpacked`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr, f32, i8, i32
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import bnn, nn
from ...dialects.bnn_types import bipolar
from ...dialects.constants import Array, ConstantStore, RefAttr, derived_key
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, format_of, shape_of, tensor, values_of
from ...isa.fields import ACC_BIT
from ...isa.instructions import Product
from ...isa.machine import Machine
from ...isa.matrix import MatrixMode, Values
from ..builder import Builder
from ..tile.view import View
from ..tile.views import derived
from .before_layout import moved_before_layout
from .recognize_levels import ROUNDINGS
from .retype import above_layout, replace, through_layout
from .value_sets import FEW, ValueSets, types_for

UNPACKED = "unpacked"
"""The attribute of an int8 product of few-level operands that says why they are not packed."""


@dataclass(frozen=True)
class PackOperands(ModulePass):
    """Put integer products of few-level operands on the packed modes of the machine's matrix engine."""

    name = "pack-operands"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; what nothing reads any more is left for `remove-unused`."""
        context = CompilerContext.of(ctx)
        if context.machine is None:
            return
        packer = _Packer(context.store, context.machine, ValueSets(context.store))
        for product in [p for p in op.walk() if isinstance(p, nn.MatmulOp)]:
            if element_type(product.lhs) == element_type(product.rhs) == i8:
                reason = packer.pack(product)
                if reason:
                    product.attributes[UNPACKED] = StringAttr(reason)


@dataclass
class _Packer:
    store: ConstantStore
    machine: Machine
    sets: ValueSets
    _packed: dict[tuple[SSAValue, Attribute], SSAValue] = field(
        default_factory=dict[tuple[SSAValue, Attribute], SSAValue], init=False
    )

    def pack(self, product: nn.MatmulOp) -> str:
        """Replace the product by one of packed operands; otherwise why not, or nothing for one of many levels."""
        left, right = self.sets.of(product.lhs), self.sets.of(product.rhs)
        few = [values for values in (left, right) if values is not None and len(values) <= FEW]
        if not few:
            return ""
        if right is None or not types_for(right):
            return "its right operand has more levels than a packed mode takes"
        pairs = [
            (one, other)
            for one in (*types_for(left), i8)
            for other in types_for(right)
            if (mode := bnn.mode_of(other)) is not None and self._cycles(product, mode, one) is not None
        ]
        if not pairs:
            names = dict.fromkeys(mode.label for e in types_for(right) if (mode := bnn.mode_of(e)) is not None)
            return f"the matrix engine of {self.machine.name} has no mode {' or '.join(names)}"
        one, other = min(pairs, key=lambda pair: self._rank(product, *pair))
        cycles = self._rank(product, one, other)[0]
        plain = self._cycles(product, MatrixMode.I8, None)
        if plain is not None and cycles > plain:
            return f"it would take {cycles} cycles of the array in place of {plain} in int8"
        return self._replace(product, one, other)

    def _rank(self, product: nn.MatmulOp, left: Attribute, right: Attribute) -> tuple[int, int]:
        mode = bnn.mode_of(right)
        assert mode is not None
        cycles = self._cycles(product, mode, left)
        assert cycles is not None
        return cycles, format_of(left).bits + format_of(right).bits

    def _cycles(self, product: nn.MatmulOp, mode: MatrixMode, left: Attribute | None) -> int | None:
        """Array cycles of one product of the batch; None where the machine lacks the mode."""
        if mode.label not in self.machine.matrix.rates:
            return None
        (rows, depth), columns = shape_of(product.lhs)[-2:], shape_of(product.result)[-1]
        values = Values.OWN if left is None else values_of(left) or Values.OWN
        record = Product(mode=mode.code, acc=ACC_BIT, m=rows, n=columns, k=depth, a_values=values.code)
        return int(record.cost(self.machine).busy)

    def _replace(self, product: nn.MatmulOp, left: Attribute, right: Attribute) -> str:
        if shape_of(product.lhs)[-1] < 2:
            return "it sums up nothing"
        lhs = self._along_depth(product.lhs, left, product, swapped=False)
        rhs = self._along_depth(product.rhs, right, product, swapped=product.transpose_rhs is None)
        if lhs is None or rhs is None:
            side = "left" if lhs is None else "right"
            return f"its {side} operand does not lie along the depth of the product in whole bytes"
        build = Builder.before(product, self.store)
        replace(product, build.insert(bnn.MatmulOp(lhs, rhs)))
        return ""

    def _along_depth(self, value: SSAValue, element: Attribute, product: nn.MatmulOp, swapped: bool) -> SSAValue | None:
        """An operand as the product takes it, with the depth last; None where it cannot be had so."""
        source, steps = above_layout(value)
        if isinstance(source.owner, nn.ConstantOp):
            return self._constant(source.owner, steps, element, product, swapped)
        if element == i8:
            return None if swapped else value
        moved = moved_before_layout(source, self.store)
        if moved is not None:
            source, steps = moved[0], (*moved[1], *steps)
        placed = _placed_along_depth(_placeholder(source, element), steps, swapped)
        if placed is None:
            return None
        build = Builder.before(product, self.store)
        shown = through_layout(build, self._made_packed(source, element, product, placed), steps)
        return build.swap_last(shown) if swapped else shown

    def _made_packed(self, source: SSAValue, element: Attribute, reader: Operation, placed: bool) -> SSAValue:
        """A value packed where it is made: once, unless it is `placed` as its reader wants it."""
        known = None if placed else self._packed.get((source, element))
        if known is None:
            build = Builder.after(source, self.store, reader)
            known = packed(build, source, element)
        if not placed:
            self._packed[source, element] = known
        return known

    def _constant(
        self, constant: nn.ConstantOp, steps: Sequence[Operation], element: Attribute, reader: Operation, swapped: bool
    ) -> SSAValue | None:
        """A constant matrix as rows of the depth."""
        if not all(isinstance(step, nn.TransposeOp | nn.ReshapeOp) for step in steps):
            return None
        key = constant.reference or self.store.anonymous(self.store.array(constant.data))

        def rows(array: Array) -> Array:
            for step in steps:
                if isinstance(step, nn.TransposeOp):
                    array = array.transpose(step.permutation.get_values())
                else:
                    array = array.reshape(shape_of(step.results[0]))
            return np.ascontiguousarray(array.swapaxes(-1, -2) if swapped else array)

        shape = list(shape_of(steps[-1].results[0] if steps else constant.result))
        if swapped:
            shape[-2:] = reversed(shape[-2:])
        spelled = tuple(tuple(map(str, (step.name, *step.properties.values(), step.results[0].type))) for step in steps)
        name = derived_key("rows_of_depth", key, steps=spelled, swapped=swapped)
        self.store.derive(name, rows, key, shape=tuple(shape), dtype=np.dtype(np.int8))
        build = Builder.before(reader, self.store)
        build.location = constant.location
        return build.insert(nn.ConstantOp(RefAttr(name), tensor(element, *shape)))


def packed(build: Builder, value: SSAValue, element: Attribute) -> SSAValue:
    """`value`, whose elements are all of the type's set, as packed ones: from the truth values, or the floats, that it
    was made of where that is the same."""
    made = value.owner
    if isinstance(made, nn.CastOp) and element_type(made.input) in (f32, i32):
        return packed(build, made.input, element)
    if format_of(element).bits == 1:
        truth = _truth(build, value, element)
        if truth is not None:
            return build.insert(bnn.PackOp(truth, element))
    return build.insert(bnn.PackOp(_unclamped(build.store, value, element), element))


def _truth(build: Builder, value: SSAValue, element: Attribute) -> SSAValue | None:
    """Where `value` is the upper one of its two, if it was chosen so."""
    made = value.owner
    if isinstance(made, nn.CastOp):
        return made.input
    if not isinstance(made, nn.MapOp) or made.function.data != "select":
        return None
    condition = made.inputs[0]
    chosen = [number(build.store, operand) for operand in made.inputs[1:]]
    upper, lower = 1.0, -1.0 if element == bipolar else 0.0
    if shape_of(condition) != shape_of(value) or set(chosen) != {upper, lower}:
        return None
    return condition if chosen[0] == upper else build.not_(condition)


def _unclamped(store: ConstantStore, value: SSAValue, element: Attribute) -> SSAValue:
    """A float without clamps that packing does by itself: to the range of the stored format, or around a bit."""
    low, high = format_of(element).limits
    made = value.owner
    while isinstance(made, nn.MapOp) and made.function.data in ("min", "max") and element_type(value) == f32:
        bounded = [(operand, number(store, made.inputs[1 - place])) for place, operand in enumerate(made.inputs)]
        found = next(((operand, bound) for operand, bound in bounded if bound is not None), None)
        if found is None or shape_of(found[0]) != shape_of(value):
            break
        inner, bound = found
        if format_of(element).bits == 1:
            same = bound > 0 if made.function.data == "min" else bound <= 0
        else:
            same = bound == (high if made.function.data == "min" else low)
        if not same or not _is_rounded(inner):
            break
        value, made = inner, inner.owner
    return value


def _is_rounded(value: SSAValue) -> bool:
    """Whether a value is a whole number by rounding, perhaps clamped."""
    made = value.owner
    if isinstance(made, nn.MapOp) and made.function.data in ("min", "max"):
        return any(_is_rounded(operand) for operand in made.inputs)
    return isinstance(made, nn.MapOp) and made.function.data in ROUNDINGS


def number(store: ConstantStore, value: SSAValue) -> float | None:
    """The one value of a constant of one element."""
    made = value.owner
    if not isinstance(made, nn.ConstantOp) or int(np.prod(shape_of(value), dtype=np.int64)) != 1:
        return None
    return float(store.array(made.data).flat[0])


def _placeholder(source: SSAValue, element: Attribute) -> View:
    """How a value will lie once it is packed."""
    pack = bnn.PackOp(source, element)
    view = View.dense(pack.result, shape_of(source))
    pack.drop_all_references()
    return view


def _placed_along_depth(view: View, steps: Sequence[Operation], swapped: bool) -> bool | None:
    """Whether a packed value must be placed for layout operations to leave it in rows along the depth of the product
    that takes it, each of whole bytes: the last axis, or the one before where they are `swapped`; None where it cannot
    lie so."""
    placed = False
    for step in steps:
        shown = derived(step, view)
        if shown is None and not placed:
            # It is written in the order in which this step, a reshape, reads it.
            whole = View.dense(view.root, view.shape)
            if not whole.in_whole_bytes or view.unpermuted(shape_of(view.root), whole) is None:
                return None
            shown, placed = derived(step, whole), True
        if shown is None or not shown.in_whole_bytes:
            return None
        view = shown
    return placed if view.strides[-2 if swapped else -1] == 1 else None
