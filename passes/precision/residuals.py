"""The residual stream, what passes from block to block of a model, in fewer bits than float32.

Arithmetic stays float32 inside a kernel; values are rounded where they are stored. A kernel that reads what it has
just stored as a 16-bit float may use the value it still holds: only what passes from one kernel to another is known
to be rounded. int8 is explicit (`div` or `mul`, `rint`, `cast`), so it is exact everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, bf16, f32, i8
from xdsl.dialects.func import ReturnOp
from xdsl.ir import Operation, SSAValue, Use
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.constants import Array, ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import Element, element_type, is_float, shape_of, ui8
from ...dialects.onnx_interface import main_of
from ...isa.errors import one_of
from ..builder import Builder
from .calibrate import NORMS, known_range
from .integer_products import contracted_axis
from .layers import Product, layer_precisions
from .narrow_floats import NARROW, matrices
from .retype import LAYOUT, through_layout
from .scales import quantize_dynamic, quantize_static


@dataclass(frozen=True)
class NarrowResiduals(ModulePass):
    """Store in 16 bits the residual stream: float32 values that a norm reads, and those that a product reads
    and something else besides, inputs of the model that several read among them. Masks, scales, statistics and the
    results of the model keep float32."""

    name = "narrow-residuals"

    format: str = "bf16"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module."""
        one_of("format", self.format, tuple(NARROW))
        store = CompilerContext.of(ctx).store
        inputs = [value for value in main_of(op).body.block.args if value.has_more_than_one_use()]
        for value in list(_stream((*inputs, *_results(op)))):
            _store_narrow(store, value, NARROW[self.format])


@dataclass(frozen=True)
class QuantizeResiduals(ModulePass):
    """Store the residual stream, the model's inputs among it, as int8.

    A value whose range is known from calibration has one scale; so have the int8 products that read it, which thereby
    read the same tensor. Without calibration a value has a scale a token where int8 products read it (they need that
    anyway), and is bf16 elsewhere: the sums that products leave to a norm are stored before their rows are complete.
    `precision` and `layers` say, as in `quantize-products`, which products will be int8.
    """

    name = "quantize-residuals"

    precision: str = "int8"
    layers: tuple[str, ...] = ()

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; the int8 products themselves are left to `quantize-products`. Raises UsageError for a
        rule that matches no product."""
        store = CompilerContext.of(ctx).store
        precisions = layer_precisions(op, self.precision, self.layers)
        floats = {product for product in precisions if is_float(element_type(product.operands[0]))}
        quantized = {product for product in floats if precisions[product] == "int8"}
        for value in list(_stream((*main_of(op).body.block.args, *_results(op)))):
            products = [use for use in value.uses if use.operation in quantized and _multiplies(use, value)]
            readers = [use for use in _readers(value) if use not in products]
            largest = known_range(value, store)
            if largest is None and not any(_by_token(use) for use in products):
                if isinstance(value.owner, nn.NnOperation):
                    _store_narrow(store, value, bf16)
            elif readers:
                _store_quantized(store, value, largest, readers)


def _results(module: ModuleOp) -> Iterator[SSAValue]:
    """The results of operations that store something."""
    for operation in module.walk():
        if isinstance(operation, nn.NnOperation) and not isinstance(operation, (nn.ConstantOp, *LAYOUT)):
            yield from operation.results


def _stream(values: Iterable[SSAValue]) -> Iterator[SSAValue]:
    return (
        value for value in values if element_type(value) == f32 and not _stands_for_bytes(value) and _in_stream(value)
    )


def _stands_for_bytes(value: SSAValue) -> bool:
    """Whether bytes hold the value already."""
    return isinstance(value.owner, nn.CastOp) and element_type(value.owner.input) in (i8, ui8)


def _in_stream(value: SSAValue) -> bool:
    """Whether a norm normalizes the value, or a product multiplies it, itself or in few levels, while something else
    reads it too; directly or through layout."""
    shared = value.has_more_than_one_use()
    whole = any(not _in_few_levels(use.operation) for use in value.uses)
    for use in value.uses:
        user = use.operation
        if isinstance(user, NORMS) and use.index == 0:
            return True
        if shared and (_multiplies(use, value) or (whole and _in_few_levels(user))):
            return True
        if isinstance(user, LAYOUT) and _in_stream(user.results[0]):
            return True
    return False


def _in_few_levels(operation: Operation) -> bool:
    """Whether an elementwise operation, alone or with others behind it, makes whole numbers or bits of its operand."""
    if not isinstance(operation, nn.MapOp | nn.CastOp):
        return False
    if not is_float(element_type(operation.results[0])):
        return True
    uses = list(operation.results[0].uses)
    return bool(uses) and all(_in_few_levels(use.operation) for use in uses)


def _multiplies(use: Use, value: SSAValue) -> bool:
    return isinstance(use.operation, Product) and value in matrices(use.operation)


def _by_token(use: Use) -> bool:
    """Whether an int8 product scales the value that it reads by the rows of its last axis."""
    product = use.operation
    last = len(shape_of(product.operands[use.index])) - 1
    return isinstance(product, nn.MatmulOp) and contracted_axis(product, use.index) == last


def _readers(value: SSAValue) -> list[Use]:
    """All that read a value but the model's results."""
    return [use for use in value.uses if not isinstance(use.operation, ReturnOp)]


def _store_narrow(store: ConstantStore, value: SSAValue, element: Element) -> None:
    """Round `value` once where it is made. Operations that can read the narrow format do; for others it is widened
    again, behind layout that shows it to products and others: kernels store what they hand on, and products hand on
    other formats than those that others read."""
    readers = _readers(value)
    build = Builder.after(value, store, readers[0].operation)
    narrow = build.cast(value, element)
    takes_any = (nn.MapOp, *NORMS, nn.CastOp)
    wide = None
    for use in readers:
        if isinstance(use.operation, takes_any):
            use.operation.operands[use.index] = narrow
        else:
            if isinstance(use.operation, LAYOUT) and _is_shared(use.operation):
                _show_narrow(store, narrow, use.operation)
            wide = wide or build.cast(narrow, f32)
            use.operation.operands[use.index] = wide


def _ends(value: SSAValue) -> Iterator[Use]:
    """What reads a value, directly or through layout."""
    for use in value.uses:
        if isinstance(use.operation, LAYOUT):
            yield from _ends(use.operation.results[0])
        else:
            yield use


def _is_shared(layout: Operation) -> bool:
    """Whether a product reads what layout shows, and something else does too."""
    return len({isinstance(use.operation, Product) for use in _ends(layout.results[0])}) == 2


def _show_narrow(store: ConstantStore, narrow: SSAValue, layout: Operation) -> None:
    """Let what reads a layout of the wide value, but for products, read that layout of `narrow`, widened behind it."""
    build = Builder.before(layout, store)
    shown, wide = through_layout(build, narrow, (layout,)), None
    for use in list(layout.results[0].uses):
        if isinstance(use.operation, LAYOUT):
            _show_narrow(store, shown, use.operation)
        elif not isinstance(use.operation, Product):
            wide = wide or build.cast(shown, f32)
            use.operation.operands[use.index] = wide


def _store_quantized(store: ConstantStore, value: SSAValue, largest: Array | None, readers: list[Use]) -> None:
    """Quantize `value` once where it is made, and let `readers` read what that stands for."""
    build = Builder.after(value, store, readers[0].operation)
    stored = quantize_dynamic(build, value, -1) if largest is None else quantize_static(build, value, largest)
    wide = build.map("mul", build.cast(stored.values, f32), stored.factor)
    for use in readers:
        use.operation.operands[use.index] = wide
