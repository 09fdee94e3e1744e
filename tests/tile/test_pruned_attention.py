"""Attention that keeps scores by their values: tiled, beside the definitions of its forms."""

import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, f32, i8

from attnc.dialects import nn, sattn
from attnc.dialects.forms.registry import Union

FORMS = [
    "topk:5",
    "topk:3,bits=4",
    "threshold:0.03",
    "sanger:theta=0.03",
    "sanger:theta=0.03,bits=8",
    "energon:0.1",
    "energon:bits=3",
]


def module(tiling, form, queries=17, keys=17, heads=2, groups=2, width=8, element=f32, batch=1, **options):
    def body(q, k, v):
        given = dict(options)
        random = np.random.default_rng(3)
        if element is i8:
            shapes = {"q_scale": (batch, heads, queries, 1), "k_scale": (batch, groups, keys, 1)}
            shapes["v_scale"] = (batch, groups, 1, width)
            given |= {name: nn.ConstantOp((random.random(s) * 0.05).astype(np.float32)) for name, s in shapes.items()}
        return [sattn.AttentionOp(q, k, v, scale=0.3, form=[Union.parse(form)], **given).result]

    right = (element, (batch, groups, keys, width))
    return tiling.module([(element, (batch, heads, queries, width)), right, right], body)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("element", [f32, i8])
def test_forms_have_the_values_of_their_definitions(tiling, form, element):
    made = module(tiling, form, element=element)
    tiling.check(made, tiling.arrays(made))
