"""Where, and after which instruction, ONNX values stand complete in memory while a program runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...dialects.tile import AllocOp, KernelOp, TensorOp
from ...isa.blocks import Space
from ...isa.formats import Format
from .assemble import Assembled


@dataclass(frozen=True)
class Probe:
    """ONNX value `name` after row `row` of the table: `shape` and `strides` (elements) from byte `address` of `space`."""

    name: str
    row: int
    space: Space
    address: int
    format: Format
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def probes(module: ModuleOp, assembled: Assembled) -> tuple[Probe, ...]:
    """Every value that a kernel of `module` leaves in a buffer, by row.

    `module` holds instruction templates; `assembled` was made of it.
    """
    stream = assembled.stream
    made = (op.result for op in module.walk() if isinstance(op, TensorOp | AllocOp))
    number: dict[SSAValue, int] = {value: index for index, value in enumerate(made)}
    last_row: dict[str, int] = {}
    for row, origin in enumerate(stream.origin[assembled.source].tolist()):
        last_row[stream.origins[origin].kernel] = row
    found: list[Probe] = []
    for kernel in module.walk():
        if not isinstance(kernel, KernelOp) or kernel.label.data not in last_row:
            continue
        for attribute in kernel.values:
            value = attribute.data
            index = number[kernel.outputs[value.operand]]
            buffer = stream.buffers[index]
            start = int(assembled.address[np.searchsorted(stream.instance_buffer, index)])
            offset = value.access.offset.constant * buffer.format.bytes
            found.append(
                Probe(
                    value.name,
                    last_row[kernel.label.data],
                    buffer.space,
                    start + offset,
                    buffer.format,
                    tuple(size.constant or 0 for size in value.access.sizes),
                    value.access.strides,
                )
            )
    return tuple(sorted(found, key=lambda probe: probe.row))
