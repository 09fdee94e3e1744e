"""Greedy rewriting that keeps locations: nothing a pattern inserts or takes away loses the nodes it stands
for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from xdsl.dialects.builtin import UNKNOWN_LOC, LocationAttr, ModuleOp, UnknownLoc
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.pattern_rewriter import (
    PatternRewriter,
    PatternRewriterListener,
    PatternRewriteWalker,
    RewritePattern,
)
from xdsl.rewriter import InsertPoint, Rewriter
from xdsl.traits import is_side_effect_free

from ..dialects.provenance import FoldedNode, fuse, locations, nodes_of, record_folded

CARRIED = ("value", "path")
"""Attributes that pass from an operation to what replaces it."""


_Pattern = TypeVar("_Pattern", bound=RewritePattern)
_Kind = TypeVar("_Kind", bound=Operation)

_KINDS: dict[object, tuple[type[Operation], ...]] = {}
"""The kinds of operations that a method which `rewrites` made takes."""


def rewrites(
    *kinds: type[_Kind],
) -> Callable[
    [Callable[[_Pattern, _Kind, PatternRewriter], None]], Callable[[_Pattern, Operation, PatternRewriter], None]
]:
    """Let a pattern's `match_and_rewrite` see operations of these kinds only."""

    def decorate(
        method: Callable[[_Pattern, _Kind, PatternRewriter], None],
    ) -> Callable[[_Pattern, Operation, PatternRewriter], None]:
        def match_and_rewrite(self: _Pattern, op: Operation, rewriter: PatternRewriter, /) -> None:
            if isinstance(op, kinds):
                method(self, op, rewriter)

        _KINDS[match_and_rewrite] = kinds
        return match_and_rewrite

    return decorate


@dataclass
class Located(RewritePattern):
    """Apply the first of some patterns that matches, and give every operation that it inserts without a location that
    of the operation it matched."""

    patterns: Sequence[RewritePattern]
    source: LocationAttr = field(default=UNKNOWN_LOC, init=False)
    _of_kind: dict[type[Operation], list[RewritePattern]] = field(
        default_factory=dict[type[Operation], list[RewritePattern]], init=False
    )

    def match_and_rewrite(self, op: Operation, rewriter: PatternRewriter, /) -> None:
        """Apply a pattern, remembering where it matched."""
        self.source = op.location
        for pattern in self.patterns_of(type(op)):
            pattern.match_and_rewrite(op, rewriter)
            if rewriter.has_done_action:
                return

    def patterns_of(self, kind: type[Operation]) -> Sequence[RewritePattern]:
        """Those of the patterns that can match operations of a kind."""
        if kind not in self._of_kind:
            self._of_kind[kind] = [one for one in self.patterns if issubclass(kind, _kinds(one))]
        return self._of_kind[kind]

    def stamp(self, op: Operation) -> None:
        """Locate an inserted operation and what it holds."""
        for inner in op.walk():
            if isinstance(inner.location, UnknownLoc):
                inner.location = self.source


def _kinds(pattern: RewritePattern) -> tuple[type[Operation], ...]:
    """What kinds of operations a pattern can match."""
    return _KINDS.get(type(pattern).match_and_rewrite, (Operation,))


class _Walker(PatternRewriteWalker):
    """Sets out for the operations only that some pattern can match, in the usual order."""

    def _populate_worklist(self, op: Operation | Region | Block) -> None:
        assert isinstance(self.pattern, Located)
        for inner in op.walk(reverse=not self.walk_reverse, region_first=not self.walk_regions_first):
            if self.pattern.patterns_of(type(inner)):
                self._worklist.push(inner)


def rewrite(module: ModuleOp, *patterns: RewritePattern) -> bool:
    """Apply patterns everywhere until none matches. Returns whether anything changed."""
    located = Located(patterns)
    listener = PatternRewriterListener(operation_insertion_handler=[located.stamp])
    return _Walker(located, listener=listener).rewrite_module(module)


def insert_before(anchor: Operation, *operations: Operation) -> None:
    """Insert operations before `anchor`, in order; those without a location take that of `anchor`."""
    for operation in operations:
        if isinstance(operation.location, UnknownLoc):
            operation.location = anchor.location
    Rewriter.insert_op(operations, InsertPoint.before(anchor))


def supersede(
    rewriter: PatternRewriter,
    root: Operation,
    replacement: Operation,
    *,
    before: Sequence[Operation] = (),
    covered: Sequence[Operation] = (),
) -> None:
    """Put `replacement` (after the operations `before`) in the place of `root`, standing for all that it
    makes superfluous.

    Its location fuses those of `root`, of `covered` (operations whose meaning it took over, even if others
    still use them) and of every operation that has no use left, which are erased. Operations of `before`
    without a location get it too. It carries on the root's value name and path.
    """
    carry(root, replacement)
    block = root.parent
    operands = list(root.operands)
    unlocated = [op for op in (*before, replacement) if isinstance(op.location, UnknownLoc)]
    rewriter.replace(root, [*before, replacement], replacement.results)
    dead = list(_unused(operands, block))
    location = fuse(*(op.location for op in (*reversed(dead), *covered, root)))
    for operation in dict.fromkeys((*unlocated, replacement)):
        operation.location = location
    for operation in dead:
        rewriter.erase(operation)


def carry(source: Operation, target: Operation) -> None:
    """Let `target` carry the value name and path of `source`, keeping its own where it has them."""
    for name in CARRIED:
        if name in source.attributes:
            target.attributes.setdefault(name, source.attributes[name])


def bypass(rewriter: PatternRewriter, root: Operation, value: SSAValue) -> None:
    """Let the users of `root`, an operation that changes nothing, use `value`; it takes on the name of
    root's."""
    if isinstance(value.owner, Operation) and value is value.owner.results[0]:
        carry(root, value.owner)
    rewriter.replace(root, [], [value])


@contextmanager
def accounted(module: ModuleOp, reason: str, phase: str = "graph") -> Generator[None]:
    """List every node that no operation stands for any more when the body ends in the module's list of
    folded nodes, with the reason."""
    before = locations(module)
    yield
    after = locations(module)
    vanished = [location for place, location in before.items() if place not in after]
    if vanished:
        # Only they can have named nodes that nothing names any more.
        left = {node for location in after.values() for node in nodes_of(location)}
        gone = dict.fromkeys(node for location in vanished for node in nodes_of(location) if node not in left)
        record_folded(module, [FoldedNode(node.name, node.operator, phase, reason) for node in gone])


def _unused(values: Sequence[SSAValue], block: Block | None) -> Iterator[Operation]:
    """Pure operations that only fed what was replaced, users before producers."""
    pending = list(values)
    gone: set[Operation] = set()
    while pending:
        owner = pending.pop().owner
        if not isinstance(owner, Operation) or owner in gone or owner.parent is not block:
            continue
        if all(use.operation in gone for result in owner.results for use in result.uses) and is_side_effect_free(owner):
            gone.add(owner)
            yield owner
            pending.extend(owner.operands)
