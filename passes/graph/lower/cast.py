"""Rules for changes of element type."""

from __future__ import annotations

from xdsl.ir import SSAValue

from .lowering import Lowering, Rules


class Cast(Lowering):
    """`cast`: floats to integers truncate and saturate, integers wrap, to bool is `!= 0`. int64 is int32
    already.
    """

    operators = ("Cast", "CastLike")

    def lower(self) -> SSAValue:
        """One cast, none if the type stays."""
        return self.build.cast(self.operand(0), self.result_element())


RULES: Rules = (Cast,)
