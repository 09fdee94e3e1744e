"""Where, and after which instruction, ONNX values stand complete in memory while a program runs."""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...dialects.provenance import nodes_of
from ...dialects.tile import AllocOp, KernelOp, TensorOp
from ...isa.blocks import Space
from ...isa.formats import Format
from ...isa.frozen import frozen
from .assemble import Assembled


@frozen
class Probe:
    """ONNX value `name`, made by the ONNX nodes `nodes`, stands complete after row `row` of the table: an array of
    `shape` and `strides` (bytes) from byte `address` of `space`."""

    name: str
    nodes: tuple[str, ...]
    row: int
    space: Space
    address: int
    format: Format
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def probes(module: ModuleOp, assembled: Assembled) -> tuple[Probe, ...]:
    """Every value that a kernel of `module` leaves in a buffer, by row.

    `module` holds the instruction templates that `assembled` was made of.
    """
    stream = assembled.stream
    made = (op.result for op in module.walk() if isinstance(op, TensorOp | AllocOp))
    number: dict[SSAValue, int] = {value: index for index, value in enumerate(made)}
    last_rows = np.full(len(stream.origins), -1, dtype=np.int64)
    np.maximum.at(last_rows, stream.origin[assembled.source], np.arange(len(assembled.source)))
    row_of = {origin.kernel: int(row) for origin, row in zip(stream.origins, last_rows, strict=True)}
    found: list[Probe] = []
    row = -1
    for kernel in module.walk():
        if not isinstance(kernel, KernelOp):
            continue
        # Parts of a value may be what earlier kernels wrote in place, and loads are issued ahead of their kernel.
        row = max(row, row_of.get(kernel.label.data, -1))
        for attribute in kernel.values if row >= 0 else ():
            value = attribute.data
            index = number[kernel.outputs[value.operand]]
            stored = stream.buffers[index].format
            start = int(assembled.address[np.searchsorted(stream.instance_buffer, index)])
            found.append(
                Probe(
                    value.name,
                    tuple(node.name for node in nodes_of(kernel)),
                    row,
                    stream.buffers[index].space,
                    start + value.access.offset.constant * stored.bytes,
                    stored,
                    tuple(size.constant or 0 for size in value.access.sizes),
                    tuple(stride * stored.bytes for stride in value.access.strides),
                )
            )
    return tuple(found)
