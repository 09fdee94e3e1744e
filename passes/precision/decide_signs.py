"""The zero of ONNX's Sign, where one bit takes its result: a fault, a third value or +1.

Sign gives 0 for 0, which no bit holds. Where the result is an operand of an integer product it is decided what becomes
of it; anywhere else Sign stays what it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32, i8
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn, sattn
from ...dialects.constants import ConstantStore
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type
from ...isa.errors import one_of
from ..builder import Builder
from ..few_bit_options import SIGNS
from ..graph.fold_constants import constant_key
from .recognize_levels import bounds
from .retype import LAYOUT


@dataclass(frozen=True)
class DecideSigns(ModulePass):
    """Make one bit of every Sign whose bytes a product takes. `sign` is `checked` (an exact zero faults when the
    program runs), `assume-nonzero` (it is taken for +1), or `ternary` (0 stays 0). Zeros of weights stay too, and the
    sign of what is never negative is one bit in any case."""

    name = "decide-signs"

    sign: str = "checked"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; signs that nothing reads any more are left for `remove-unused`."""
        one_of("sign", self.sign, SIGNS)
        store = CompilerContext.of(ctx).store
        for cast in [cast for cast in op.walk() if isinstance(cast, nn.CastOp)]:
            made = cast.input.owner
            if not isinstance(made, nn.MapOp) or made.function.data != "sign" or element_type(cast.result) != i8:
                continue
            if not _reaches_product(cast.result):
                continue
            build = Builder.before(made, store)
            if bounds(made.inputs[0], store)[0] >= 0:
                # What is never negative has a zero that one bit holds.
                cast.operands[0] = build.cast(build.map("gt", made.inputs[0], 0.0), f32)
            elif self.sign != "ternary" and not _is_known_ternary(made, store):
                is_positive = build.map("above" if self.sign == "checked" else "ge", made.inputs[0], 0)
                cast.operands[0] = build.map("select", is_positive, 1.0, -1.0, to=f32)


def _is_known_ternary(sign: nn.MapOp, store: ConstantStore) -> bool:
    """Whether the signs are weights, some of which are 0: that needs no choice."""
    key = constant_key(sign.inputs[0], store)
    return key is not None and not store.get(key).all()


def _reaches_product(value: SSAValue) -> bool:
    """Whether a product or an attention has the value, perhaps shown through layout, as an operand."""
    users = [use.operation for use in value.uses]
    return any(
        isinstance(user, nn.MatmulOp | sattn.AttentionOp)
        or (isinstance(user, LAYOUT) and _reaches_product(user.results[0]))
        for user in users
    )
