"""Keys that are read by their high and low bits become two tensors, so that the low ones need not be fetched."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, i8, i32
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from ...dialects import sattn
from ...dialects.bnn_types import int2, int4, uint4
from ...dialects.context import CompilerContext
from ...dialects.forms.progressive import Progressive
from ...isa.errors import Blocking, UnsupportedError
from ..builder import Builder
from ..precision.packer import Packer
from ..precision.retype import above_layout, through_layout
from ..precision.value_sets import ValueSets
from .choose import replace_attention
from .rules import path_of

HIGH = ((2, "ternary", int2), (4, "i4", int4))
LOW = ((4, "i4", uint4),)
"""How many bits a packed type holds, the mode of the array that takes it, and the type, of high and of low bits."""


@dataclass(frozen=True)
class SplitKeys(ModulePass):
    """Split the keys of attentions of the form progressive where they are made: in the narrowest types that hold the
    bits and that the array multiplies; bytes where there is none."""

    name = "split-keys"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module. Raises UnsupportedError for keys that cannot lie so."""
        context = CompilerContext.of(ctx)
        machine = context.machine
        if machine is None:
            return
        packer = Packer(context.store, machine, ValueSets(context.store))
        for attention in [found for found in op.walk() if isinstance(found, sattn.AttentionOp)]:
            form = attention.form.progressive
            if form is not None and attention.k_low is None:
                _split(attention, form, packer)


def _split(attention: sattn.AttentionOp, form: Progressive, packer: Packer) -> None:
    build = Builder.before(attention, packer.store)
    step, modes = 1 << form.low_bits, packer.machine.matrix.rates
    types = [
        next((element for most, mode, element in known if bits <= most and mode in modes), i8)
        for bits, known in ((form.bits, HIGH), (form.low_bits, LOW))
    ]
    source, steps = above_layout(attention.k)
    made = Builder.after(source, packer.store, attention)
    whole = made.cast(source, i32)
    planes: list[SSAValue] = []
    for values, element in zip(
        (made.map("shift_right", whole, form.low_bits), made.map("bit_and", whole, step - 1)), types, strict=True
    ):
        shown = through_layout(build, made.cast(values, i8), steps)
        plane = packer.along_depth(shown, element, attention, swapped=False)
        if plane is None:
            reason = "its keys do not lie along the width of a head in whole bytes"
            raise UnsupportedError((Blocking(path_of(attention), "Attention", reason, "another form of attention"),))
        planes.append(plane)
    form_of, mask, empty_row = attention.form.data, attention.mask, attention.empty_row.data
    new = attention.of_form(form_of, attention.pattern, mask, empty_row, (planes[0], planes[1]))
    replace_attention(attention, new, build)
