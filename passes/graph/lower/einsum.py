"""The rule for Einsum: pairs of operands become one matrix product each."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from xdsl.ir import SSAValue

from ....dialects.elements import shape_of
from ....isa.frozen import frozen
from ...builder import Builder
from ...refusal import RefusalError
from .lowering import Lowering, Rules


@frozen
class Term:
    """A tensor whose axes are named by distinct letters."""

    value: SSAValue
    labels: tuple[str, ...]

    def extent(self, label: str) -> int:
        """The extent of an axis, 1 if the term has none of that name."""
        return shape_of(self.value)[self.labels.index(label)] if label in self.labels else 1


class Einsum(Lowering):
    """`reduce` of what only one operand has, `transpose`, `reshape`, `matmul` for each pair from left to
    right; `map` of `mul` where nothing is contracted.
    """

    operators = ("Einsum",)

    def lower(self) -> SSAValue:
        """The result's axes in the order of the equation."""
        operands = self.operands(0)
        inputs, output = parse(self.attribute("equation", str, ""), [len(shape_of(value)) for value in operands])
        build = self.build
        terms = [diagonal(build, build.widen(value), labels) for value, labels in zip(operands, inputs, strict=True)]
        result = terms[0]
        for place, term in enumerate(terms[1:], 1):
            needed = set(output).union(*(later.labels for later in terms[place + 1 :]))
            result = contract(
                build,
                summed(build, result, needed | set(term.labels)),
                summed(build, term, needed | set(result.labels)),
                needed,
            )
        result = summed(build, result, set(output))
        return build.transpose(result.value, [result.labels.index(label) for label in output])


def parse(equation: str, ranks: Sequence[int]) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """The labels of each operand's axes and of the result's; an ellipsis becomes labels `.0`, `.1`, ..."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(ranks):
        raise RefusalError(f"the equation {equation!r} has {len(texts)} terms for {len(ranks)} operands", "correct it")
    widths = [rank - len(text.replace("...", "")) for text, rank in zip(texts, ranks, strict=True) if "..." in text]
    width = max(widths, default=0)

    def labels(text: str, hidden: int) -> tuple[str, ...]:
        before, dots, after = text.partition("...")
        return (*before, *(f".{place}" for place in range(width - hidden, width)), *after) if dots else tuple(text)

    inputs = [labels(text, rank - len(text.replace("...", ""))) for text, rank in zip(texts, ranks, strict=True)]
    if any(len(found) != rank for found, rank in zip(inputs, ranks, strict=True)):
        raise RefusalError(f"the equation {equation!r} does not fit operands of ranks {list(ranks)}", "correct it")
    if arrow:
        return inputs, labels(right, width)
    letters = left.replace("...", "").replace(",", "")
    once = sorted(letter for letter in set(letters) if letters.count(letter) == 1)
    return inputs, (*(f".{place}" for place in range(width)), *once)


def diagonal(build: Builder, value: SSAValue, labels: tuple[str, ...]) -> Term:
    """A label that names two axes keeps their diagonal: what lies off it is dropped and one axis summed."""
    while repeated := [label for label in labels if labels.count(label) > 1]:
        first = labels.index(repeated[0])
        second = labels.index(repeated[0], first + 1)
        shape = shape_of(value)
        kept = build.map("eq", build.iota(shape, first), build.iota(shape, second))
        total = build.reduce("sum", build.map("select", kept, value, 0), (second,))
        value = build.reshape(total, shape[:second] + shape[second + 1 :])
        labels = labels[:second] + labels[second + 1 :]
    return Term(value, labels)


def summed(build: Builder, term: Term, needed: set[str]) -> Term:
    """The term without the axes that nothing else needs."""
    dropped = tuple(place for place, label in enumerate(term.labels) if label not in needed)
    if not dropped:
        return term
    total = build.reduce("sum", term.value, dropped)
    kept = tuple(label for label in term.labels if label in needed)
    return Term(build.reshape(total, [term.extent(label) for label in kept]), kept)


def contract(build: Builder, left: Term, right: Term, needed: set[str]) -> Term:
    """The product of two terms, summed over the labels that both have and nothing else needs."""
    shared = [label for label in left.labels if label in right.labels]
    inner = [label for label in shared if label not in needed and left.extent(label) == right.extent(label)]
    batch = [label for label in shared if label not in inner]
    rows = [label for label in left.labels if label not in shared]
    columns = [label for label in right.labels if label not in shared]
    if not inner:
        labels = (*batch, *rows, *columns)
        product = build.map("mul", aligned(build, left, labels), aligned(build, right, labels))
        return Term(product, labels)
    lhs = grouped(build, left, batch, rows, inner)
    rhs = grouped(build, right, batch, columns, inner)
    result = build.matmul(lhs, rhs, transpose_rhs=True)
    extents = [max(left.extent(label), right.extent(label)) for label in batch]
    shape = [*extents, *map(left.extent, rows), *map(right.extent, columns)]
    return Term(build.reshape(result, shape), (*batch, *rows, *columns))


def aligned(build: Builder, term: Term, labels: Sequence[str]) -> SSAValue:
    """The term with axes in the order of `labels`, 1 where it has none."""
    order = [term.labels.index(label) for label in labels if label in term.labels]
    return build.reshape(build.transpose(term.value, order), [term.extent(label) for label in labels])


def grouped(build: Builder, term: Term, batch: Sequence[str], rows: Sequence[str], inner: Sequence[str]) -> SSAValue:
    """The term as `[batch..., rows, inner]`."""
    value = aligned(build, term, (*batch, *rows, *inner))
    return build.reshape(value, [*map(term.extent, batch), prod(map(term.extent, rows)), prod(map(term.extent, inner))])


RULES: Rules = (Einsum,)
