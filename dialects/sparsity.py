"""Which values of a matrix a threshold leaves (Tuli and Jha, 2023, AccelTran, arXiv 2302.14705: DynaTran)."""

from __future__ import annotations

import numpy as np

from .constants import Array


def passes(values: Array, threshold: float) -> Array:
    """Which values are kept, as bools: those whose magnitude is above the threshold, a float32, and NaN, which is no
    small value. Integers and 16-bit floats are compared as float32."""
    return ~(np.abs(values.astype(np.float32)) <= np.float32(threshold))


def sparse(values: Array, threshold: float) -> Array:
    """The values with zero in the place of those that are not kept."""
    return np.where(passes(values, threshold), values, values.dtype.type(0))
