"""Affine forms over the indices of enclosing loops, and where an operand lies: pure values, no IR.

`d0` is the index of the outermost enclosing `tile.for`, `d1` of the next, and so on. A form is kept as integers
(a coefficient an index, and a constant), because every consumer - the tile interpreter, the scheduler, the table
expansion - wants the coefficients and nothing else.

`n0`, `n1`, ... are counts that the run finds (`tile.compact` binds them): a size may be cut to what they leave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from xdsl.parser import AttrParser

from ..isa.frozen import frozen

NO_COUNTS: Mapping[int, int] = MappingProxyType({})


@frozen
class AffineForm:
    """`constant + sum(coefficients[i] * d_i)`; trailing zero coefficients are never stored."""

    coefficients: tuple[int, ...] = ()
    constant: int = 0

    def __post_init__(self) -> None:
        if self.coefficients and self.coefficients[-1] == 0:
            kept = len(self.coefficients)
            while kept and self.coefficients[kept - 1] == 0:
                kept -= 1
            object.__setattr__(self, "coefficients", self.coefficients[:kept])

    @staticmethod
    def of(value: AffineForm | int) -> AffineForm:
        """The form itself, or the constant form of an integer."""
        return value if isinstance(value, AffineForm) else AffineForm((), value)

    @staticmethod
    def index(depth: int) -> AffineForm:
        """The index of the loop at nesting depth `depth` (0 is the outermost)."""
        return AffineForm((0,) * depth + (1,))

    @property
    def depth(self) -> int:
        """How many enclosing loops the form needs."""
        return len(self.coefficients)

    @property
    def is_constant(self) -> bool:
        """True when no loop index occurs."""
        return not self.coefficients

    def coefficient(self, depth: int) -> int:
        """The coefficient of loop `depth`; 0 where the form does not use it."""
        return self.coefficients[depth] if depth < len(self.coefficients) else 0

    def __add__(self, other: AffineForm | int) -> AffineForm:
        if isinstance(other, int):
            return AffineForm(self.coefficients, self.constant + other)
        longest = max(len(self.coefficients), len(other.coefficients))
        sums = tuple(self.coefficient(i) + other.coefficient(i) for i in range(longest))
        return AffineForm(sums, self.constant + other.constant)

    __radd__ = __add__

    def __mul__(self, factor: int) -> AffineForm:
        return AffineForm(tuple(c * factor for c in self.coefficients), self.constant * factor)

    __rmul__ = __mul__

    def __neg__(self) -> AffineForm:
        return self * -1

    def __sub__(self, other: AffineForm | int) -> AffineForm:
        return self + (-other)

    def __rsub__(self, other: int) -> AffineForm:
        return -self + other

    def grouped(self, taken: int, group: int) -> AffineForm:
        """Where each `group` counts as `taken`: the constant in groups, the last of which may be begun, and every index
        steps over whole ones. Raises ValueError for one that does not."""
        if any(factor % group for factor in self.coefficients):
            raise ValueError(f"{self} does not go in steps of {group}")
        return AffineForm(
            tuple(factor // group * taken for factor in self.coefficients), -(-self.constant // group) * taken
        )

    def evaluate(self, indices: Sequence[Any]) -> Any:
        """The value at loop `indices`: integers, or integer arrays of one shape (an int where no index occurs)."""
        value: Any = self.constant
        for coefficient, index in zip(self.coefficients, indices, strict=False):
            if coefficient:
                value = value + coefficient * index
        return value

    def __str__(self) -> str:
        terms = [
            f"d{depth}" if factor == 1 else f"{factor} * d{depth}"
            for depth, factor in enumerate(self.coefficients)
            if factor
        ]
        if self.constant or not terms:
            terms.append(str(self.constant))
        return " + ".join(terms)

    @staticmethod
    def parse(parser: AttrParser) -> AffineForm:
        """Read what `str` writes: terms `d0`, `4 * d0` or `4`, joined by `+`."""
        form = AffineForm()
        while True:
            form = form + _parse_term(parser)
            if parser.parse_optional_punctuation("+") is None:
                return form


def _parse_term(parser: AttrParser) -> AffineForm:
    factor = parser.parse_optional_integer(allow_boolean=False)
    if factor is not None and parser.parse_optional_punctuation("*") is None:
        return AffineForm((), factor)
    name = parser.parse_identifier(" (a loop index d0, d1, ...)")
    if name[0] != "d" or not name[1:].isdigit():
        parser.raise_error(f"expected a loop index d0, d1, ..., found {name}")
    return AffineForm.index(int(name[1:])) * (1 if factor is None else factor)


@frozen
class CountForm:
    """`factor * n + rest`, where n is the count of that number."""

    count: int
    factor: int
    rest: AffineForm

    def evaluate(self, indices: Sequence[int], counts: Mapping[int, int]) -> int:
        """The value at loop `indices` with `counts` by number."""
        return self.factor * counts[self.count] + self.rest.evaluate(indices)

    def __str__(self) -> str:
        name = f"n{self.count}" if self.factor == 1 else f"{self.factor} * n{self.count}"
        return name if self.rest == AffineForm() else f"{name} + {self.rest}"

    @staticmethod
    def parse(parser: AttrParser) -> CountForm | None:
        """Read what `str` writes, behind the keyword `count`; None where that does not stand."""
        if parser.parse_optional_keyword("count") is None:
            return None
        factor = parser.parse_optional_integer(allow_boolean=False)
        if factor is not None:
            parser.parse_punctuation("*")
        name = parser.parse_identifier(" (a count n0, n1, ...)")
        if name[0] != "n" or not name[1:].isdigit():
            parser.raise_error(f"expected a count n0, n1, ..., found {name}")
        rest = AffineForm() if parser.parse_optional_punctuation("+") is None else AffineForm.parse(parser)
        return CountForm(int(name[1:]), 1 if factor is None else factor, rest)


@frozen
class Minimum:
    """The least of one or more affine forms: the size of a tile whose last instance may be cut short, and may be cut
    to what counts of the run leave.

    A value below zero counts as zero, and an operation with a zero size does nothing at that iteration.
    """

    forms: tuple[AffineForm, ...]
    counts: tuple[CountForm, ...] = ()

    def __post_init__(self) -> None:
        if not self.forms:
            raise ValueError("a minimum needs at least one affine form")

    @staticmethod
    def of(value: Minimum | AffineForm | int) -> Minimum:
        """A minimum of one form, unless `value` is one already."""
        return value if isinstance(value, Minimum) else Minimum((AffineForm.of(value),))

    def at_most(self, other: Minimum | AffineForm | int) -> Minimum:
        """The least of both; a constant that repeats is kept once."""
        other = Minimum.of(other)
        counts = tuple(dict.fromkeys(self.counts + other.counts))
        return Minimum(tuple(dict.fromkeys(self.forms + other.forms)), counts)

    def up_to(self, count: CountForm) -> Minimum:
        """The least of this and what a count leaves."""
        return Minimum(self.forms, tuple(dict.fromkeys((*self.counts, count))))

    def grouped(self, taken: int, group: int) -> Minimum:
        """Where each `group` counts as `taken`, one begun as a whole one. Raises ValueError as for a form."""
        return Minimum(tuple(form.grouped(taken, group) for form in self.forms))

    @property
    def depth(self) -> int:
        """How many enclosing loops the forms need."""
        return max(form.depth for form in (*self.forms, *(count.rest for count in self.counts)))

    @property
    def constant(self) -> int | None:
        """The value where no loop index and no count matters, else None."""
        if not self.counts and all(form.is_constant for form in self.forms):
            return max(0, min(form.constant for form in self.forms))
        return None

    @property
    def bound(self) -> int | None:
        """The least constant among the forms: an upper bound of the value, or None without one."""
        constants = [form.constant for form in self.forms if form.is_constant]
        return max(0, min(constants)) if constants else None

    def evaluate(self, indices: Sequence[int], counts: Mapping[int, int] = NO_COUNTS) -> int:
        """The value at loop `indices` with `counts` by number, never below zero."""
        left = [count.evaluate(indices, counts) for count in self.counts]
        return max(0, min([form.evaluate(indices) for form in self.forms] + left))

    def __str__(self) -> str:
        parts = [*map(str, self.forms), *(f"count {count}" for count in self.counts)]
        return parts[0] if len(parts) == 1 else f"min({', '.join(parts)})"

    @staticmethod
    def parse(parser: AttrParser) -> Minimum:
        """Read what `str` writes."""
        if parser.parse_optional_keyword("min") is None:
            return Minimum((AffineForm.parse(parser),))
        parts = parser.parse_comma_separated_list(
            parser.Delimiter.PAREN, lambda: CountForm.parse(parser) or AffineForm.parse(parser)
        )
        forms = tuple(part for part in parts if isinstance(part, AffineForm))
        return Minimum(forms, tuple(part for part in parts if isinstance(part, CountForm)))


@frozen
class Access:
    """A strided block of a buffer: `offset`, `strides` in elements of its dense layout, outermost dimension first."""

    offset: AffineForm
    sizes: tuple[Minimum, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.strides):
            raise ValueError(f"{len(self.sizes)} sizes but {len(self.strides)} strides")

    @staticmethod
    def of(offset: AffineForm | int, sizes: Sequence[Minimum | AffineForm | int], strides: Sequence[int]) -> Access:
        """An access from plain integers and forms."""
        return Access(AffineForm.of(offset), tuple(Minimum.of(size) for size in sizes), tuple(strides))

    @staticmethod
    def whole(shape: Sequence[int]) -> Access:
        """All of a dense row-major buffer."""
        return Access.of(0, shape, dense_strides(shape))

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.sizes)

    @property
    def depth(self) -> int:
        """How many enclosing loops the access needs."""
        return max([self.offset.depth, *(size.depth for size in self.sizes)])

    def __str__(self) -> str:
        return f"{self.offset} [{', '.join(map(str, self.sizes))}] [{', '.join(map(str, self.strides))}]"

    @staticmethod
    def parse(parser: AttrParser) -> Access:
        """Read what `str` writes: `offset [sizes] [strides]`."""
        offset = AffineForm.parse(parser)
        square = parser.Delimiter.SQUARE
        sizes = parser.parse_comma_separated_list(square, lambda: Minimum.parse(parser))
        strides = parser.parse_comma_separated_list(square, parser.parse_integer)
        if len(sizes) != len(strides):
            parser.raise_error(f"{len(sizes)} sizes but {len(strides)} strides")
        return Access(offset, tuple(sizes), tuple(strides))


def dense_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides in elements."""
    strides: list[int] = []
    step = 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))
