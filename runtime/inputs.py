"""A run's inputs: checked against the program's signature, converted to stored formats, split into
batches."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..isa.errors import Fault, InputError, UsageError
from ..isa.formats import Array, Format
from ..isa.frozen import frozen
from ..isa.program import Program, Signature

ELEMENT_DTYPES: Mapping[str, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "bfloat16": Format.BF16.dtype,
    "double": np.dtype(np.float64),
    **{
        name: np.dtype(name)
        for name in (
            "float16",
            "bool",
            *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
        )
    },
}
"""The numpy dtype of each ONNX element type that a signature may name."""


@frozen
class Batches:
    """Inputs as they go to DRAM: `arrays` by name in stored formats, their first axis `count` times the
    program's.

    `nans` counts the NaN values among them.
    """

    arrays: Mapping[str, Array]
    count: int
    nans: int

    def of(self, signature: Signature, index: int) -> Array:
        """The input `signature` of the `index`-th repetition."""
        array = self.arrays[signature.name]
        if self.count == 1 or not signature.shape:
            return array
        size = signature.shape[0]
        return array[index * size : (index + 1) * size]


def element_dtype(signature: Signature) -> np.dtype[Any]:
    """The numpy dtype that the model gives an input or output."""
    return ELEMENT_DTYPES[signature.element_type]


def prepare(program: Program, inputs: Mapping[str, Array], strict: bool = False) -> Batches:
    """Check `inputs` and convert them.

    InputError for names, dtypes and shapes that do not fit, and for NaN values when `strict` (else one
    warning); Fault for a value outside an input's valid range or its stored format.
    """
    _check_names(program, inputs)
    arrays = {item.name: _typed(item, inputs[item.name]) for item in program.inputs}
    count = _batch_count(program, arrays)
    nans = _count_nans(program.inputs, arrays, strict)
    for item in program.inputs:
        _check_range(item, arrays[item.name])
    stored = {item.name: _stored(item, arrays[item.name]) for item in program.inputs}
    return Batches(stored, count, nans)


def random_inputs(signatures: Sequence[Signature], seed: int) -> dict[str, Array]:
    """Inputs of the model's element types within their valid ranges, the same for the same seed.

    Floats are normally distributed (clipped to the range); integers without a range are 0 or 1; masks are
    ones followed by zeros along the last axis, at least one 1 in each row. UsageError for a seed below 0.
    """
    if seed < 0:
        raise UsageError(f"there is no seed {seed}", "give a number from 0 up")
    generator = np.random.default_rng(seed)
    return {item.name: _random(item, generator) for item in signatures}


def _random(item: Signature, generator: np.random.Generator) -> Array:
    dtype = element_dtype(item)
    if item.binary or dtype == np.bool_:
        length = item.shape[-1] if item.shape else 1
        kept = generator.integers(1, max(length, 1) + 1, size=(*item.shape[:-1], 1))
        return (np.arange(length) < kept).reshape(item.shape).astype(dtype)
    if dtype.kind in "iu":
        low = 0 if item.low is None else int(item.low)
        high = max(low, 1) if item.high is None else int(item.high)
        return generator.integers(low, high, size=item.shape, endpoint=True).astype(dtype)
    values = generator.standard_normal(item.shape).astype(np.float32)
    if item.low is not None or item.high is not None:
        values = np.clip(values, item.low, item.high)
    return values.astype(dtype)


def _check_names(program: Program, inputs: Mapping[str, Array]) -> None:
    wanted = {item.name for item in program.inputs}
    expected = ", ".join(_described(item) for item in program.inputs) or "none"
    missing = [item.name for item in program.inputs if item.name not in inputs]
    if missing:
        raise InputError("inputs", f"{', '.join(map(repr, missing))} missing", f"the program takes {expected}")
    unknown = sorted(set(inputs) - wanted)
    if unknown:
        raise InputError("inputs", f"{', '.join(map(repr, unknown))} unknown", f"the program takes {expected}")


def _described(item: Signature) -> str:
    return f"{item.name!r} {item.element_type} {'x'.join(map(str, item.shape)) or 'scalar'}"


def _typed(item: Signature, given: Array) -> Array:
    dtype = element_dtype(item)
    array = np.asarray(given)
    if array.dtype.kind == "V" and array.dtype.itemsize == 2 and dtype == Format.BF16.dtype:
        # A npz file keeps bfloat16 as two bytes without a type.
        array = array.view(dtype)
    if array.dtype != dtype:
        raise InputError(
            f"input {item.name!r}",
            f"is {array.dtype}, the model takes {dtype}",
            f"convert it with .astype({dtype.name!r})",
        )
    return array


def _batch_count(program: Program, arrays: Mapping[str, Array]) -> int:
    counts: dict[str, int] = {}
    for item in program.inputs:
        shape = arrays[item.name].shape
        if shape == item.shape:
            counts[item.name] = 1
            continue
        subject = f"input {item.name!r}"
        whole = len(shape) == len(item.shape) > 0 and shape[1:] == item.shape[1:] and item.shape[0] > 0
        reason = f"has shape {_shape(shape)}, the program takes {_shape(item.shape)}"
        if not whole or shape[0] == 0:
            raise InputError(subject, reason, "compile with --shape for another one")
        if not program.batchable:
            raise InputError(
                subject,
                f"{reason}; the program cannot be repeated over the first axis, because an output depends "
                "on more than the same index of it",
                f"compile with --shape {item.name}={_shape(shape)}",
            )
        if shape[0] % item.shape[0]:
            raise InputError(subject, f"{reason}; {shape[0]} is no multiple of {item.shape[0]}")
        counts[item.name] = shape[0] // item.shape[0]
    batched = {item.name: counts[item.name] for item in program.inputs if item.shape}
    if len(set(batched.values())) > 1:
        told = ", ".join(f"{name!r} is for {count}" for name, count in batched.items())
        raise InputError("inputs", f"differ in how often the program is to be repeated: {told}")
    return max(batched.values(), default=1)


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _count_nans(signatures: Sequence[Signature], arrays: Mapping[str, Array], strict: bool) -> int:
    counts = {
        item.name: int(np.isnan(arrays[item.name].astype(np.float32)).sum())
        for item in signatures
        if item.format.kind == "float"
    }
    total = sum(counts.values())
    if total:
        told = ", ".join(f"{count} in {name!r}" for name, count in counts.items() if count)
        if strict:
            raise InputError("inputs", f"hold NaN values: {told}")
        warnings.warn(f"inputs hold NaN values: {told}; they are computed as IEEE says", RuntimeWarning, stacklevel=2)
    return total


def _check_range(item: Signature, array: Array) -> None:
    low, high = (0, 1) if item.only_bits else (item.low, item.high)
    if array.dtype.kind in "iu" and item.format.kind == "int":
        held = np.iinfo(item.format.dtype)
        low = held.min if low is None else max(low, held.min)
        high = held.max if high is None else min(high, held.max)
    if array.dtype == np.bool_:
        return
    wrong = np.zeros(array.shape, dtype=np.bool_)
    if low is not None:
        wrong |= array < low
    if high is not None:
        wrong |= array > high
    if item.only_bits:
        wrong |= (array != 0) & (array != 1)
    if wrong.any():
        place = tuple(int(index[0]) for index in np.nonzero(np.atleast_1d(wrong)))
        value = np.atleast_1d(array)[place].item()
        allowed = "0 or 1" if item.only_bits else f"{low} to {high}"
        raise Fault(f"input {item.name!r} at {list(place)} is {value}, valid is {allowed}")


def _stored(item: Signature, array: Array) -> Array:
    return array.astype(item.format.dtype) if array.dtype != item.format.dtype else array
