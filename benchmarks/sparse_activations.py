"""Thresholds of activations beside dense products: kept shares, cycles, energy and error, on models of known size with
random weights.

    python benchmarks/sparse_activations.py
    python benchmarks/sparse_activations.py --write docs/sparse-activations.md
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import onnx
from codesign import error, write
from encoders import ENCODERS, build
from measuring import markdown, samples_of, write_json
from onnx import TensorProto, helper, numpy_helper
from whole_models import deit_tiny

import attnc

ROWS, DEPTH, COLUMNS = 256, 512, 512
SHARES = (1.0, 0.75, 0.5, 0.25, 0.1)
THRESHOLDS = (0.0, 0.02, 0.1, 0.3, 0.6)
PROBABILITY = 0.05
"""Probabilities are compared with this part of the threshold: they are a hundredth of an activation in size."""

MACHINES = (("edge", "model"), ("acceltran-edge", "fp16"))


def product() -> onnx.ModelProto:
    """Normal numbers times a constant: float32 [256, 512] by [512, 512]."""
    weight = np.random.default_rng(0).normal(size=(DEPTH, COLUMNS)).astype(np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"], name="product")],
        "product",
        [value("x", TensorProto.FLOAT, [ROWS, DEPTH])],
        [value("y", TensorProto.FLOAT, [ROWS, COLUMNS])],
        [numpy_helper.from_array(weight, "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: Path, inputs: Mapping[str, np.ndarray], machine: str, precision: str, threshold: float | None) -> Any:
    """One inference, with what its products met."""
    form = None if threshold is None else f"threshold:{threshold * PROBABILITY!r}"
    given = {"attention": form} if form and model.stem != "product" else {}
    made = attnc.compile(model, machine=machine, precision=precision, sparsify=threshold, **given)
    return attnc.Session(made.program).run(inputs, statistics=True)


def figures(result: Any, dense: Any) -> dict[str, float]:
    """Of one run, beside those of dense products. Kept is what masks left of left operands, a mean over kernels with
    products: of those without a mask, all."""
    after, before = result.report.summary.performance, dense.report.summary.performance
    return {
        "kept": float(np.mean([row.kept for row in result.report.operands])),
        "array": after.bound_cycles["mx"] / before.bound_cycles["mx"],
        "cycles": after.cycles,
        "faster": before.cycles / after.cycles,
        "energy": before.energy_pj / after.energy_pj,
        "error": error(result.outputs, dense.outputs),
    }


def product_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """One product, by the share of its left operand that is kept."""
    path = folder / "product.onnx"
    onnx.save(product(), path)
    for machine, precision in (*MACHINES, ("edge", "int8")):
        inputs = samples_of(path, ROWS, seed=2)
        dense = run(path, inputs, machine, precision, None)
        for share in SHARES:
            threshold = NormalDist().inv_cdf(1 - share / 2)
            found = figures(run(path, inputs, machine, precision, threshold), dense)
            yield {"machine": machine, "precision": precision, "threshold": threshold, **found}


def model_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Whole models by threshold."""
    for name, make in (("bert-tiny", lambda: build(ENCODERS["bert-tiny"])), ("deit-tiny", deit_tiny)):
        path = folder / f"{name}.onnx"
        onnx.save(make(), path)
        inputs = samples_of(path, 1, seed=2)
        for machine, precision in MACHINES:
            dense = run(path, inputs, machine, precision, None)
            for threshold in THRESHOLDS:
                found = figures(run(path, inputs, machine, precision, threshold), dense)
                yield {"model": name, "machine": machine, "threshold": threshold, **found}


MEASURED = [
    ("threshold", "threshold", ".2f"),
    ("kept", "kept", ".2f"),
    ("array", "array cycles, of dense", ".2f"),
    ("cycles", "cycles", ",.0f"),
    ("faster", "dense over it: cycles", ".2f"),
    ("energy", "energy", ".2f"),
    ("error", "error", ".3f"),
]
PRODUCT_COLUMNS = [("machine", "machine", "s"), ("precision", "precision", "s"), *MEASURED]
MODEL_COLUMNS = [("model", "model", "s"), ("machine", "machine", "s"), *MEASURED]


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="PAGE.md", help="put the tables into a page with marks for them")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        products, models = list(product_rows(Path(folder))), list(model_rows(Path(folder)))
    tables = [markdown(PRODUCT_COLUMNS, products), markdown(MODEL_COLUMNS, models)]
    print("\n\n".join(tables))
    if options.write:
        write(options.write, tables)
    write_json(options.json, products=products, models=models)


if __name__ == "__main__":
    main()
