"""Norms too large to stay on chip are computed again where they are added to a product."""

import numpy as np
import pytest
from xdsl.dialects.builtin import f32

from attnc.dialects import nn

ROWS, WIDTH = 32, 64
NORM_BYTES = 4 * ROWS * WIDTH


def residual_block(tiling):
    """norm(x + x w) through a product, added to itself."""
    random = np.random.default_rng(2)

    def constant(*shape):
        return nn.ConstantOp((random.standard_normal(shape) / WIDTH**0.5).astype(np.float32)).result

    def body(x):
        total = nn.MapOp("add", [nn.MatmulOp(x, constant(WIDTH, WIDTH)).result, x]).result
        normal = nn.LayerNormOp(total, constant(WIDTH), constant(WIDTH), 1, 1e-5).result
        hidden = nn.MapOp("gelu", [nn.MatmulOp(normal, constant(WIDTH, WIDTH)).result]).result
        last = nn.MapOp("add", [nn.MatmulOp(hidden, constant(WIDTH, WIDTH)).result, constant(WIDTH)]).result
        return [nn.MapOp("add", [last, normal]).result]

    return tiling.module([(f32, (ROWS, WIDTH))], body)


@pytest.mark.parametrize("sram_bytes", [6 * NORM_BYTES // 4, 8 * NORM_BYTES])
def test_only_statistics_outlive_a_norm_without_room(tiling, sram_bytes):
    module = residual_block(tiling)
    kernels = tiling.check(module, tiling.arrays(module), sram_bytes)
    again = sram_bytes < 2 * NORM_BYTES
    total, *rest = kernels[0].outputs
    # The product that makes the sum leaves its statistics.
    assert [output.type.bytes for output in rest] == ([4 * ROWS, 4 * ROWS] if again else [])
    norm = [kernel for kernel in kernels if kernel.label.data.startswith("rowwise")][-1]
    assert [output.type.bytes for output in norm.outputs] == [NORM_BYTES]
    assert total.type.bytes == NORM_BYTES
    assert len(kernels) == 4
