"""The residual structure of a model: the blocks whose results are added to a stream, one after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from ...dialects import nn, sattn
from ...isa.frozen import frozen
from .matching import users

LAYOUT = (nn.ReshapeOp, nn.TransposeOp, nn.BroadcastOp, nn.CastOp, nn.QuantizeOp, nn.DequantizeOp)
"""Operations that a value comes out of as the same value in another guise."""

NORMS = (nn.LayerNormOp, nn.RmsNormOp)

_PARAMETER_STEPS = 8


@dataclass
class ResidualBlock:
    """What one residual addition adds (`operations`), the addition, and what follows it before the next block
    (the norm of a post-norm layer); all in the order of the program."""

    operations: list[Operation]
    addition: Operation
    after: list[Operation] = field(default_factory=list[Operation])


@dataclass
class Structure:
    """A function as embedding, blocks and head, each in the order of the program."""

    embedding: list[Operation]
    blocks: list[ResidualBlock]
    head: list[Operation]


def residual_structure(function: FuncOp) -> Structure:
    """Read the structure off a function's body."""
    finder = _Finder({op: place for place, op in enumerate(function.body.block.ops)})
    for operation in finder.place:
        if isinstance(operation, nn.MapOp) and operation.function.data == "add":
            finder.consider(operation)
    finder.claim_last_norm()
    rest = [op for op in finder.place if op in finder.unclaimed and not isinstance(op, ReturnOp)]
    return Structure(finder.embedding, finder.blocks, rest)


def is_parameter(value: SSAValue, steps: int = _PARAMETER_STEPS) -> bool:
    """Whether a value is made of constants only."""
    owner = value.owner
    if isinstance(owner, nn.ConstantOp):
        return True
    if steps == 0 or not isinstance(owner, (nn.MapOp, nn.ConcatOp, nn.SliceOp, *LAYOUT)):
        return False
    return all(is_parameter(operand, steps - 1) for operand in owner.operands)


def is_projection(operation: Operation) -> bool:
    """Whether an operation multiplies by parameters."""
    return isinstance(operation, nn.MatmulOp) and is_parameter(operation.rhs)


def upstream(values: Iterable[SSAValue], within: set[Operation]) -> Iterator[Operation]:
    """The operations of a set that values depend on through others of the set, each once."""
    pending = list(values)
    seen: set[Operation] = set()
    while pending:
        owner = pending.pop().owner
        if isinstance(owner, Operation) and owner in within and owner not in seen:
            seen.add(owner)
            yield owner
            pending.extend(owner.operands)


class _Finder:
    """Finds residual additions in the order of the program, claiming the operations of each block."""

    def __init__(self, place: dict[Operation, int]):
        self.place = place
        self.unclaimed = set(place)
        self.embedding: list[Operation] = []
        self.blocks: list[ResidualBlock] = []

    def consider(self, op: nn.MapOp) -> None:
        """Claim a block if `op` adds one to the stream."""
        left, right = op.inputs
        if not (left.type == right.type == op.result.type) or _feeds_softmax(op):
            return
        if isinstance(left.owner, nn.ConstantOp) or isinstance(right.owner, nn.ConstantOp):
            return
        sides = [set(upstream((value,), self.unclaimed)) for value in (left, right)]
        own = [sides[0] - sides[1], sides[1] - sides[0]]
        heavy = [any(isinstance(o, nn.MatmulOp | sattn.AttentionOp) for o in side) for side in own]
        if heavy[0] == heavy[1]:
            return
        branch = own[heavy.index(True)]
        skipped = self._ordered((sides[0] | sides[1]) - branch)
        if self.blocks:
            self.blocks[-1].after = skipped
        else:
            self.embedding = skipped
        self.blocks.append(ResidualBlock(self._ordered(branch), op))
        self.unclaimed -= sides[0] | sides[1] | {op}

    def claim_last_norm(self) -> None:
        """Give the last block of a post-norm model its norm: the one before it has one too."""
        if len(self.blocks) < 2 or not any(isinstance(op, NORMS) for op in self.blocks[-2].after):
            return
        last = self.blocks[-1]
        for user in users(last.addition.results[0]):
            if isinstance(user, NORMS) and user in self.unclaimed:
                last.after = self._ordered(upstream(user.results, self.unclaimed))
                self.unclaimed -= set(last.after)
                return

    def _ordered(self, operations: Iterable[Operation]) -> list[Operation]:
        return sorted(operations, key=self.place.__getitem__)


def _feeds_softmax(op: Operation) -> bool:
    """Whether a sum goes into a softmax: a mask added to scores."""
    steps = 6
    level: Sequence[Operation] = (op,)
    for _ in range(steps):
        level = [user for made in level for result in made.results for user in users(result)]
        if any(isinstance(user, nn.SoftmaxOp) for user in level):
            return True
        level = [user for user in level if isinstance(user, (nn.MapOp, *LAYOUT))]
    return False


@frozen
class AttentionParts:
    """The operations an attention is made of (one if fused) and what they read."""

    core: tuple[Operation, ...]
    q: SSAValue
    k: SSAValue
    v: SSAValue
    mask: SSAValue | None
    is_causal: bool

    @property
    def result(self) -> SSAValue:
        """What the attention gives."""
        return self.core[-1].results[0]


def attention_parts(operations: Sequence[Operation]) -> AttentionParts | None:
    """The attention among a block's operations: fused, or as products around a softmax."""
    for op in operations:
        if isinstance(op, sattn.AttentionOp):
            return AttentionParts((op,), op.q, op.k, op.v, op.mask, op.causal is not None)
    within = set(operations)
    for op in operations:
        if not isinstance(op, nn.SoftmaxOp):
            continue
        products = [o for o in upstream((op.input,), within) if isinstance(o, nn.MatmulOp) and not is_projection(o)]
        values = next((o for o in _downstream(op, within) if isinstance(o, nn.MatmulOp)), None)
        if products and isinstance(values, nn.MatmulOp):
            scores = products[0]
            return AttentionParts((scores, op, values), scores.lhs, scores.rhs, values.rhs, None, False)
    return None


def is_cross(parts: AttentionParts, within: set[Operation]) -> bool:
    """Whether queries and keys are made of different values from outside the block."""
    queries, keys = (_entries(value, within) for value in (parts.q, parts.k))
    return bool(queries and keys) and not queries & keys


def _entries(value: SSAValue, within: set[Operation]) -> set[SSAValue]:
    """The values from outside a set of operations that `value` depends on, parameters left out."""
    read = [value, *(operand for op in upstream((value,), within) for operand in op.operands)]
    return {v for v in read if not (isinstance(v.owner, Operation) and v.owner in within) and not is_parameter(v)}


def _downstream(op: Operation, within: set[Operation]) -> Iterator[Operation]:
    """Operations of a set that depend on `op`, nearest first."""
    level = [op]
    seen = {op}
    while level:
        level = [u for made in level for result in made.results for u in users(result) if u in within and u not in seen]
        for user in dict.fromkeys(level):
            seen.add(user)
            yield user
