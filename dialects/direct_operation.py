"""Operations whose builders give every part as it is kept.

xDSL's general builder sorts operands, results and regions by their definitions, checks how many there are and counts
segments, for every operation anew. Of thousands of tile operations and instruction templates the parts are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from xdsl.dialects.builtin import DenseArrayBase, i32
from xdsl.ir import Attribute, Operation, Region, SSAValue
from xdsl.irdl import AttrSizedOperandSegments, IRDLOperation

SEGMENTS = AttrSizedOperandSegments.attribute_name
"""The property that says how many operands belong to each of an operation's definitions, where it has several of
variable number."""


class DirectOperation(IRDLOperation):
    """An operation made of flat operands, and properties of which those that are None are left out."""

    def __init__(
        self,
        operands: Sequence[SSAValue] = (),
        properties: Mapping[str, Attribute | None] | None = None,
        result_types: Sequence[Attribute] = (),
        regions: Sequence[Region] = (),
    ) -> None:
        given = {name: value for name, value in (properties or {}).items() if value is not None}
        # What xDSL's `create` does with a class that it instantiates.
        Operation.__init__(self, operands=operands, properties=given, result_types=result_types, regions=regions)


def segments(*groups: Sequence[object]) -> Attribute:
    """The property `SEGMENTS` of operands that come in groups."""
    return _sizes(*map(len, groups))


@lru_cache(maxsize=1024)
def _sizes(*sizes: int) -> Attribute:
    return DenseArrayBase.from_list(i32, sizes)
