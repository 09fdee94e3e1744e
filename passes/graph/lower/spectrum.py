"""The discrete Fourier transform along one axis, as products with cosines and sines: of the whole axis, or in two steps
of Cooley and Tukey (1965), which are butterflies of any radix, where they take far fewer multiplications."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ....dialects.constants import Array
from ....dialects.elements import is_float, shape_of
from ....isa.frozen import frozen
from .conditions import attribute_is, condition, constant_operand
from .lowering import Lowering, Rules

WORTH = 10
"""Two steps are taken where the whole product takes so many times as many multiplications: each of their products is a
small one, and what is between them passes through the vector engine and memory. On `edge` float32 gains from 512 on."""


@condition(remedy="transform floats")
def is_of_floats(rule: Lowering) -> bool:
    """the input holds floats"""
    return is_float(rule.element("input"))


@frozen
class Complex:
    """Real and imaginary parts; None where the latter are zero."""

    real: SSAValue
    imaginary: SSAValue | None = None


class Fourier(Lowering):
    """`matmul` with constant cosines and sines: two for a real input, four for a complex one, and those alone whose
    results are used. A long axis is transformed in two steps, with a `map` by the turns between them."""

    operators = ("DFT",)
    conditions = (constant_operand("axis", "dft_length"), is_of_floats, attribute_is("inverse", 0))

    def lower(self) -> SSAValue:
        """Real and imaginary parts apart, joined along a last axis of two."""
        build, (*given, parts) = self.build, self.shape("input")
        value = self.wide("input")
        # Counted with the last axis, which holds real and imaginary parts.
        axis = (int(self.constant("axis")) if self.has("axis") else -2) % (len(given) + 1)
        length = int(self.constant("dft_length")) if self.has("dft_length") else given[axis]
        used, frequencies = min(length, given[axis]), self.result_shape()[axis]
        pieces = [
            build.slice_axis(build.reshape(build.slice_axis(value, len(given), part, 1), given), axis, 0, used)
            for part in range(parts)
        ]
        signal = Complex(*pieces)
        first = radix(length) if used == frequencies == length else 1
        if first == 1:
            found = self.product(signal, waves(used, frequencies, length), axis)
        else:
            found = self.two_steps(signal, axis, length, first)
        assert found.imaginary is not None
        joined = [build.unsqueeze(part, len(given)) for part in (found.real, found.imaginary)]
        return build.concat(joined, len(given))

    def two_steps(self, signal: Complex, axis: int, length: int, first: int) -> Complex:
        """With n = n1 N2 + n2 and k = k1 + N1 k2: over n1, then a turn by n2 k1 / N, then over n2."""
        build, second = self.build, length // first
        shape = shape_of(signal.real)
        split = self.each(signal, lambda part: build.reshape(part, (*shape[:axis], first, second, *shape[axis + 1 :])))
        turned = self.product(split, waves(first, first, first), axis)
        cosines, sines = (
            build.constant(wave.reshape(first, second, *[1] * (len(shape) - axis - 1)))
            for wave in waves(first, second, length)
        )
        real, imaginary = turned.real, turned.imaginary
        assert imaginary is not None
        turned = Complex(
            build.map("sub", build.map("mul", real, cosines), build.map("mul", imaginary, sines)),
            build.map("add", build.map("mul", imaginary, cosines), build.map("mul", real, sines)),
        )
        found = self.product(turned, waves(second, second, second), axis + 1)
        return self.each(found, lambda part: build.reshape(build.move_axis(part, axis, axis + 1), shape))

    @staticmethod
    def each(value: Complex, function: Callable[[SSAValue], SSAValue]) -> Complex:
        """The function of both parts."""
        return Complex(function(value.real), None if value.imaginary is None else function(value.imaginary))

    def product(self, value: Complex, matrix: tuple[Array, Array], axis: int) -> Complex:
        """The product over one axis with a complex matrix [extent, extent of the result]."""
        cosines, sines = matrix
        real, imaginary = self.real_product(value.real, cosines, axis), self.real_product(value.real, sines, axis)
        if value.imaginary is None:
            return Complex(real, imaginary)
        build = self.build
        return Complex(
            build.map("sub", real, self.real_product(value.imaginary, sines, axis)),
            build.map("add", imaginary, self.real_product(value.imaginary, cosines, axis)),
        )

    def real_product(self, value: SSAValue, matrix: Array, axis: int) -> SSAValue:
        """The product over one axis with a matrix [extent, extent of the result]."""
        build, rank = self.build, len(shape_of(value))
        if axis == rank - 1:
            flat = build.unsqueeze(value, 0) if rank == 1 else value
            result = build.matmul(flat, build.constant(matrix), element=f32)
            return build.reshape(result, shape_of(result)[1:]) if rank == 1 else result
        moved = build.move_axis(value, axis, rank - 2)
        result = build.matmul(build.constant(np.ascontiguousarray(matrix.T)), moved, element=f32)
        return build.move_axis(result, rank - 2, axis)


def waves(extent: int, frequencies: int, length: int) -> tuple[Array, Array]:
    """Real and imaginary parts of exp(-2 pi i n k / length), [extent, frequencies], float32 from float64 angles of
    n k mod length."""
    turns = np.outer(np.arange(extent, dtype=np.int64), np.arange(frequencies, dtype=np.int64)) % length
    angles = 2 * np.pi * turns / length
    return np.cos(angles).astype(np.float32), -np.sin(angles).astype(np.float32)


def radix(length: int) -> int:
    """The first of two factors of a length in which its transform is done in two steps; 1 where it is done in one.

    A value takes 2 `length` multiplications in one step, and 2 N1 + 4 N2 in steps of N1 and N2 values (of a real
    signal; twice as many of a complex one, but for the second).
    """
    factors = [factor for factor in range(1, length + 1) if length % factor == 0 and factor * factor < 4 * length]
    best = min(factors, key=lambda factor: factor + 2 * (length // factor))
    return best if WORTH * (best + 2 * (length // best)) <= length and best > 1 else 1


RULES: Rules = (Fourier,)
