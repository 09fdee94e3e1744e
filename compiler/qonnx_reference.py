"""The QONNX quantizers for the reference evaluator of the onnx package, in float32 as their definitions say.

Source: the operator definitions of QONNX (docs/qonnx-custom-ops of fastmachinelearning/qonnx), versions 1 and 2. They
are written out here once more, apart from the lowering, so that one is checked by the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

from ..dialects.constants import Array
from ..dialects.onnx_signatures import QONNX_DOMAINS

_ROUNDINGS: Mapping[str, Callable[[Array], Array]] = {
    "ROUND": np.rint,
    "HALF_EVEN": np.rint,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "DOWN": np.trunc,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + np.float32(0.5)),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - np.float32(0.5)),
}


def quantizers() -> list[type[OpRun]]:
    """The operators, in each of the domains that they are written in."""
    operators: dict[str, Callable[..., tuple[Array]]] = {
        "BipolarQuant": _bipolar_quant,
        "Quant": _quant,
        "IntQuant": _quant,
        "Trunc": _trunc,
    }
    return [
        type(name, (OpRun,), {"op_domain": domain, "_run": run})
        for domain in QONNX_DOMAINS
        for name, run in operators.items()
    ]


def _bipolar_quant(_: OpRun, x: Array, scale: Array) -> tuple[Array]:
    return (np.where(x >= 0, scale, -scale).astype(np.float32),)


def _quant(
    _: OpRun, x: Array, scale: Array, zeropt: Array, bitwidth: Array, signed: Any = 1, narrow: Any = 0,
    rounding_mode: Any = "ROUND",
) -> tuple[Array]:  # fmt: skip
    whole = (x / scale + zeropt).astype(np.float32)
    if signed and float(bitwidth) == 1:
        whole = np.where(whole >= 0, np.float32(1), np.float32(-1))
    else:
        whole = _ROUNDINGS[rounding_mode.upper()](np.clip(whole, *_range(float(bitwidth), signed, narrow)))
    return (((whole - zeropt) * scale).astype(np.float32),)


def _trunc(
    _: OpRun, x: Array, scale: Array, zeropt: Array, in_bitwidth: Array, out: Array, out_bitwidth: Array | None = None,
    rounding_mode: Any = "FLOOR", signed: Any = 1, narrow: Any = 0,
) -> tuple[Array]:  # fmt: skip
    """`out` is the width of the result in version 1, its scale in version 2."""
    round_off = _ROUNDINGS[rounding_mode.upper()]
    whole = np.rint((x / scale + zeropt).astype(np.float32))
    if out_bitwidth is None:
        kept = round_off(whole / np.exp2(in_bitwidth - out))
        return (((kept - zeropt) * scale).astype(np.float32),)
    ratio = np.exp2(np.round(np.log2(out / scale)))
    kept = round_off(np.clip(whole / ratio, *_range(float(out_bitwidth), signed, narrow)))
    return (((kept - zeropt / ratio) * out).astype(np.float32),)


def _range(bits: float, signed: Any, narrow: Any) -> tuple[float, float]:
    """The least and the greatest integer of a quantizer."""
    if signed:
        return -(2.0 ** (bits - 1)) + narrow, 2.0 ** (bits - 1) - 1
    return 0.0, 2.0**bits - 1 - narrow
