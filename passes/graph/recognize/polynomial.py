"""Arithmetic expressions of two values as polynomials, so that a spelling is recognised in whatever order it
is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xdsl.ir import SSAValue

from ....dialects import nn
from ....dialects.constants import ConstantStore
from ..matching import close, mapped, producer, scalar, widened

Polynomial = Mapping[tuple[int, int], float]
"""Coefficients by the powers of the first and second atom: {(1, 0): 0.5, (1, 1): 0.5} is x / 2 + x t / 2."""

DEEPEST = 8
"""Nested operations that an expression may have."""

_ATOMS: tuple[tuple[int, int], ...] = ((1, 0), (0, 1))


def polynomial(
    value: SSAValue, atoms: tuple[SSAValue, ...], store: ConstantStore, depth: int = DEEPEST
) -> Polynomial | None:
    """`value` as a polynomial of the atoms, or None if it is none or too deep."""
    for atom, powers in zip(atoms, _ATOMS, strict=False):
        if value is atom or widened(value) is atom:
            return {powers: 1.0}
    number = scalar(value, store)
    if number is not None:
        return {(0, 0): number}
    made = producer(widened(value), nn.MapOp)
    if made is None or depth == 0:
        return None
    parts = [polynomial(operand, atoms, store, depth - 1) for operand in made.inputs]
    known = [part for part in parts if part is not None]
    return _combine(made.function.data, known) if len(known) == len(parts) else None


def _combine(function: str, parts: list[Polynomial]) -> Polynomial | None:
    if function == "neg":
        return _scaled(parts[0], -1.0)
    if function == "add":
        return _sum(parts[0], parts[1])
    if function == "sub":
        return _sum(parts[0], _scaled(parts[1], -1.0))
    if function == "mul":
        return _product(parts[0], parts[1])
    number = _number(parts[1]) if len(parts) == 2 else None
    if function == "div" and number:
        return _scaled(parts[0], 1.0 / number)
    if function == "pow" and number in (1.0, 2.0, 3.0):
        result = parts[0]
        for _ in range(int(number) - 1):
            result = _product(result, parts[0])
        return result
    return None


def _number(part: Polynomial) -> float | None:
    return part[0, 0] if set(part) == {(0, 0)} else None


def _scaled(part: Polynomial, factor: float) -> Polynomial:
    return {powers: coefficient * factor for powers, coefficient in part.items()}


def _sum(left: Polynomial, right: Polynomial) -> Polynomial:
    return {powers: left.get(powers, 0.0) + right.get(powers, 0.0) for powers in {**left, **right}}


def _product(left: Polynomial, right: Polynomial) -> Polynomial:
    result: dict[tuple[int, int], float] = {}
    for (i, j), a in left.items():
        for (k, m), b in right.items():
            result[i + k, j + m] = result.get((i + k, j + m), 0.0) + a * b
    return result


def matches(found: Polynomial | None, expected: Polynomial, relative: float) -> bool:
    """Whether a polynomial is the expected one, up to how constants are rounded."""
    if found is None:
        return False
    significant = {powers for powers, coefficient in found.items() if coefficient != 0.0}
    return significant == set(expected) and all(close(found[p], c, relative) for p, c in expected.items())


def arguments(value: SSAValue, store: ConstantStore, depth: int = 5) -> Iterator[SSAValue]:
    """Values that `value` may be an expression of: itself, and what its arithmetic reads, nearest first."""
    level = [value]
    for _ in range(depth):
        yield from level
        level = list(
            dict.fromkeys(
                operand
                for item in level
                if (made := mapped(widened(item), "add", "sub", "mul", "div", "pow", "neg")) is not None
                for operand in made.inputs
                if scalar(operand, store) is None
            )
        )


def results(value: SSAValue, depth: int = 6) -> Iterator[nn.MapOp]:
    """Arithmetic that `value` goes into, nearest first, as long as each step has one user only."""
    for _ in range(depth):
        user = value.get_user_of_unique_use()
        if isinstance(user, nn.CastOp):
            value = user.result
            continue
        if not isinstance(user, nn.MapOp):
            return
        yield user
        value = user.result
