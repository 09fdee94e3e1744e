"""How the cycles of attention follow its work: tokens, kept scores, linear forms, structured weights, machines.

    python benchmarks/attention_scaling.py                     # every table
    python benchmarks/attention_scaling.py window blocks       # some
    python benchmarks/attention_scaling.py --write docs/attention-scaling.md --json figures.json

One encoder layer unless said, on `edge`: int8 with ranges from samples, and float32. The core of attention is what lies
between its projections.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from codesign import DEIT, MODELS, TOKENS, core_cycles, error, form, polarized, write
from encoders import ENCODERS, Encoder, Graph, attention_of, build
from measuring import markdown, samples_of, write_json
from onnx import TensorProto

import attnc
from attnc.compiler.recipe import Recipe
from attnc.dialects.forms.form import Tokens
from attnc.dialects.forms.linear import Linear
from attnc.dialects.forms.registry import Union
from attnc.dialects.forms.work import Extents
from attnc.runtime.measure import Measurement
from attnc.runtime.session import Result

Row = dict[str, Any]
PRECISIONS = ("model", "int8")
NAMES = {"model": "float32", "fp16": "fp16", "bf16": "bf16", "int8": "int8"}


@dataclass(frozen=True)
class Measured:
    """What one program takes: cycles of it all and of attention's core, DRAM bytes, cycles in which array and vector
    engine are busy, the least share of scores that a product keeps, and processor seconds of compilation."""

    cycles: int
    core: int
    dram_bytes: int
    array: int
    vector: int
    kept: float
    seconds: float


class Bench:
    """Compiles and runs models in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._models = 0

    def path(self, build_model: Callable[[], onnx.ModelProto]) -> Path:
        """A model's file."""
        self._models += 1
        path = self._folder / f"model{self._models}.onnx"
        onnx.save(build_model(), path)
        return path

    def masks(self, bits: np.ndarray) -> str:
        """The file of a bitmap."""
        path = self._folder / "masks.npz"
        np.savez(path, masks=bits)
        return str(path)

    def result(self, path: Path, machine: str = "edge", **tables: Any) -> tuple[Result, float]:
        """A model compiled by a recipe's tables and run once, and the processor seconds of compilation."""
        recipe, samples = Recipe.of(tables), samples_of(path, 1)
        statistics = any(rule["form"].startswith("sanger") for rule in tables.get("attention", ()))
        shapes = {name: values.shape for name, values in samples.items()}
        calibrate = samples if recipe.takes_calibration else None
        begun = time.process_time()
        made = attnc.compile(path, recipe=recipe, machine=machine, calibrate=calibrate, shapes=shapes)
        seconds = time.process_time() - begun
        assert made.program is not None
        return attnc.Session(made.program).run(samples, statistics=statistics), seconds

    def run(self, path: Path, machine: str = "edge", **tables: Any) -> Measured:
        """What a model compiled by a recipe's tables takes."""
        result, seconds = self.result(path, machine, **tables)
        measured = result.measurement
        assert measured is not None
        performance = result.report.performance
        return Measured(
            performance.cycles,
            core_cycles(result.report),
            performance.dram_read_bytes + performance.dram_write_bytes,
            _busy(measured, "mx."),
            _busy(measured, "vx."),
            min((row.kept for row in result.report.operands), default=1.0),
            seconds,
        )


def _busy(measured: Measurement, engine: str) -> int:
    groups = measured.program.table.groups
    return sum(int(measured.costs.busy[group.rows].sum()) for name, group in groups.items() if name.startswith(engine))


def asked(text: str, tokens: int, width: int = 64) -> int:
    """Multiply-accumulates that a head of a form asks for."""
    union, extents = Union.parse(text), Extents(tokens, tokens, width, width)
    if union.patterns:
        return 2 * width * union.runs(Tokens(0, tokens, tokens)).pairs
    (alone,) = union.forms
    assert isinstance(alone, Linear)
    return alone.macs(extents)


WINDOW, WINDOW_TOKENS = "window:64,global:1", (512, 1024, 2048, 4096, 8192)
TWO_HEADS = Encoder(layers=1, width=128, heads=2, tokens=0, hidden=512)


def window(bench: Bench) -> list[Row]:
    """A window over more and more tokens; the last row has the exponents of growth."""
    rows: list[Row] = []
    for tokens in WINDOW_TOKENS:
        path = bench.path(partial(build, replace(TWO_HEADS, tokens=tokens)))
        row: Row = {"tokens": str(tokens)}
        for precision in PRECISIONS:
            found = bench.run(path, precision=precision, **form(WINDOW))
            row[f"{precision} core"] = found.core / tokens
            if precision == "model":
                row["seconds"] = found.seconds
        rows.append(row)
    slopes: Row = {"tokens": "exponent"}
    for key in rows[0]:
        if key != "tokens":
            per_token = 0 if key == "seconds" else 1
            slopes[key] = per_token + exponent(WINDOW_TOKENS, [row[key] for row in rows])
    return [*rows, slopes]


def exponent(sizes: tuple[int, ...], values: list[float]) -> float:
    """The slope of values over sizes, both as logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


WINDOW_COLUMNS = [
    ("tokens", "tokens", "s"),
    ("model core", "float32: core cycles a token", ".2f"),
    ("int8 core", "int8: core cycles a token", ".2f"),
    ("seconds", "compile CPU s", ".1f"),
]

BLOCKS = ("block:32,neighbours=1", "random:3,size=32")
FOUR_HEADS = Encoder(layers=1, width=256, heads=4, tokens=1024, hidden=1024)


def blocks(bench: Bench) -> list[Row]:
    """Block-sparse patterns that keep about a tenth, beside dense attention."""
    path, rows = bench.path(partial(build, FOUR_HEADS)), list[Row]()
    for precision in PRECISIONS:
        dense = bench.run(path, precision=precision)
        for text in BLOCKS:
            found = bench.run(path, precision=precision, **form(text))
            rows.append(
                {
                    "form": f"`{text}`",
                    "precision": NAMES[precision],
                    "kept": asked(text, FOUR_HEADS.tokens) / asked("dense", FOUR_HEADS.tokens),
                    "core": dense.core / found.core,
                    "whole": dense.cycles / found.cycles,
                    "share": dense.core / dense.cycles,
                }
            )
    return rows


BLOCK_COLUMNS = [
    ("form", "form", "s"),
    ("precision", "precision", "s"),
    ("kept", "scores kept", ".1%"),
    ("core", "core faster", ".2f"),
    ("whole", "layer faster", ".2f"),
    ("share", "core of a dense layer's cycles", ".0%"),
]


def attention_model(heads: int, tokens: int, width: int = 64, gain: float = 1.0) -> onnx.ModelProto:
    """Attention and its projections, without a feed-forward part. Inputs of variance 1 give scores of variance about
    gain squared."""
    size = Encoder(layers=1, width=heads * width, heads=heads, tokens=tokens, hidden=0)
    graph = Graph(0)
    graph.node("Identity", [attention_of(graph, size, gain=gain)("hidden", "attention")], "output")
    shape = [1, tokens, size.width]
    given, result = (("hidden", TensorProto.FLOAT, shape), ("output", TensorProto.FLOAT, shape))
    return graph.model("attention", given, result)


THETAS = (0.002, 0.0046, 0.0095)
"""Thresholds that leave about 0.27, 0.15 and 0.08 of scores of variance 4 over 256 keys."""

SANGER = (("edge", "model"), ("edge", "bf16"), ("edge", "int8"), ("sanger", "fp16"), ("sanger", "int8"))


def sanger(bench: Bench) -> list[Row]:
    """Sanger's prune by predicted probabilities, with everything charged, beside dense attention."""
    path, rows = bench.path(partial(attention_model, 4, 256, gain=2.0)), list[Row]()
    for machine, precision in SANGER:
        dense = bench.run(path, machine, precision=precision)
        for theta in THETAS:
            found = bench.run(path, machine, precision=precision, **form(f"sanger:theta={theta}"))
            rows.append(
                {
                    "machine": machine,
                    "precision": NAMES[precision],
                    "kept": found.kept,
                    "core": dense.core / found.core,
                    "whole": dense.cycles / found.cycles,
                    "array": dense.array / found.array,
                    "vector": found.vector / found.cycles,
                }
            )
    return rows


SANGER_COLUMNS = [
    ("machine", "machine", "s"),
    ("precision", "precision", "s"),
    ("kept", "scores kept", ".3f"),
    ("core", "core faster", ".2f"),
    ("whole", "with projections", ".2f"),
    ("array", "array cycles, dense over it", ".2f"),
    ("vector", "vector engine busy", ".0%"),
]

LINEAR, LINEAR_TOKENS = ("sima", "taylor"), (16, 32, 64, 128, 256, 512)


def linear(bench: Bench) -> list[Row]:
    """Linear forms over dense attention where tokens pass the 64 channels of a head."""
    rows: list[Row] = []
    for tokens in LINEAR_TOKENS:
        path = bench.path(partial(attention_model, 3, tokens))
        row: Row = {"tokens": tokens, "macs": asked("dense", tokens) / asked("sima:order=context", tokens)}
        for precision in PRECISIONS:
            dense = bench.run(path, precision=precision)
            row[f"{precision} dense"] = dense.cycles
            for text in LINEAR:
                row[f"{precision} {text}"] = dense.cycles / bench.run(path, precision=precision, **form(text)).cycles
        rows.append(row)
    return rows


LINEAR_COLUMNS = [
    ("tokens", "tokens", ",d"),
    ("macs", "MACs of scores over those of K^T V", ".2f"),
    *(
        column
        for precision in PRECISIONS
        for column in (
            (f"{precision} dense", f"{NAMES[precision]}: dense cycles", ",d"),
            *((f"{precision} {text}", f"dense over {text}", ".2f") for text in LINEAR),
        )
    ),
]

STRUCTURES = ("4:8", "2:8", "1:8", "1:2", "2:4", "1:4")


def product_model(tokens: int = 256, width: int = 512) -> onnx.ModelProto:
    """One matrix product with a weight."""
    graph, shape = Graph(0), [1, tokens, width]
    graph.node("MatMul", ["hidden", graph.weight("weight", width, width)], "output")
    return graph.model("product", ("hidden", TensorProto.FLOAT, shape), ("output", TensorProto.FLOAT, shape))


def structures(bench: Bench) -> list[Row]:
    """A product with a weight of each structure on `edge-structured`: dense over it. Those of 8 are density-bound
    blocks."""
    path, rows = bench.path(product_model), list[Row]()
    dense = {precision: bench.run(path, "edge-structured", precision=precision) for precision in PRECISIONS}
    for text in STRUCTURES:
        kept, group = map(int, text.split(":"))
        row: Row = {"structure": text, "expected": group / kept}
        for precision, whole in dense.items():
            prune = [{"match": "*", "structure": text}]
            found = bench.run(path, "edge-structured", precision=precision, prune=prune)
            row[f"{precision} array"] = whole.array / found.array
            row[f"{precision} cycles"] = whole.cycles / found.cycles
        rows.append(row)
    return rows


STRUCTURE_COLUMNS = [
    ("structure", "structure", "s"),
    ("expected", "M / N", ".2f"),
    *(
        column
        for precision in PRECISIONS
        for column in (
            (f"{precision} array", f"{NAMES[precision]}: array cycles", ".2f"),
            (f"{precision} cycles", "all cycles", ".2f"),
        )
    ),
]


def tokens(bench: Bench) -> list[Row]:
    """What DynamicViT's schedule leaves of DeiT-tiny's 196 patches, by layer."""
    path = bench.path(MODELS[DEIT])
    found = attnc.check(path, recipe=Recipe.of({"tokens": TOKENS}), shapes={"pixel_values": (1, 3, 224, 224)})
    counts = [layer.shape[2] - 1 for layer in found.layers if layer.operator == "sattn.attention"]
    return [
        {"layers": f"{counts.index(count)} to {len(counts) - 1 - counts[::-1].index(count)}", "patches": count}
        for count in dict.fromkeys(counts)
    ]


TOKEN_COLUMNS = [("layers", "layers", "s"), ("patches", "patches beside the class token", "d")]

THRESHOLDS = (0, 0.7, 0.8, 0.85, 0.9, 1.0, 1.5)


def thresholds(bench: Bench) -> list[Row]:
    """Tokens that the run finds to be worth a threshold before layer 3 of DeiT-tiny, beside so many fixed ones."""
    path = bench.path(MODELS[DEIT])
    dense, _ = bench.result(path, precision="int8")
    rows: list[Row] = []
    for least in THRESHOLDS:
        rule: Row = {"before": "encoder.3", "keep": 1.0}
        found, _ = bench.result(path, precision="int8", tokens=[{**rule, "threshold": least or TINY}])
        (count,) = (row.greatest for row in found.report.chosen)
        # A little more than the share, which is rounded down.
        share = (count - 0.5) / (DEIT_TOKENS - 1)
        fixed, _ = bench.result(path, precision="int8", tokens=[{**rule, "keep": min(1.0, share)}])
        row: Row = {"threshold": least, "tokens": count}
        for name, result in (("found", found), ("fixed", fixed)):
            performance = result.report.performance
            row[f"{name} cycles"] = performance.cycles
            row[f"{name} bytes"] = performance.dram_read_bytes + performance.dram_write_bytes
            row[f"{name} error"] = error(result.outputs, dense.outputs)
        rows.append(row)
    return rows


DEIT_TOKENS = 197
TINY = 1e-9
"""A threshold that every token reaches."""

THRESHOLD_COLUMNS = [
    ("threshold", "threshold", "g"),
    ("tokens", "tokens that go on", "d"),
    *(
        column
        for name in ("found", "fixed")
        for column in (
            (f"{name} cycles", f"{name}: cycles", ",d"),
            (f"{name} bytes", "DRAM bytes", ",d"),
            (f"{name} error", "error", ".3f"),
        )
    ),
]

FUSED_TOKENS = (256, 512, 1024)


def fusion(bench: Bench) -> list[Row]:
    """An encoder layer with its attention written out, over the fused one; `scores` are bytes of storing and loading
    scores and weights once, each in four bytes."""
    rows: list[Row] = []
    for count in FUSED_TOKENS:
        path = bench.path(partial(build, replace(FOUR_HEADS, tokens=count)))
        for precision in PRECISIONS:
            fused, unfused = (
                bench.run(path, precision=precision, schedule={"fuse_attention": fuse}) for fuse in (True, False)
            )
            rows.append(
                {
                    "tokens": count,
                    "precision": NAMES[precision],
                    "fused": fused.dram_bytes,
                    "unfused": unfused.dram_bytes,
                    "scores": 2 * 2 * 4 * FOUR_HEADS.heads * count**2,
                    "faster": unfused.cycles / fused.cycles,
                }
            )
    return rows


FUSION_COLUMNS = [
    ("tokens", "tokens", ",d"),
    ("precision", "precision", "s"),
    ("fused", "DRAM bytes, fused", ",d"),
    ("unfused", "unfused", ",d"),
    ("scores", "scores and weights stored and loaded", ",d"),
    ("faster", "fused faster", ".2f"),
]

SYSTEMS: dict[str, tuple[str, str]] = {
    "acceltran-edge": ("int8", "threshold:0.008"),
    "acceltran-server": ("fp16", "threshold:0.008"),
    "vitcod": ("int8", "bitmap"),
    "sanger": ("fp16", "sanger:theta=0.008"),
    "spatten": ("int8", "values:32"),
    "salo": ("int8", "window:32,global:1"),
}
"""Machines of the sizes of published designs: a precision that each has, and a form of its system."""


def machines(bench: Bench) -> list[Row]:
    """DeiT-tiny and BERT-tiny on machines of the sizes of published designs, dense and with a form of each system."""
    rows: list[Row] = []
    sizes = {DEIT: (MODELS[DEIT], 3, 197), "bert-tiny": (partial(build, ENCODERS["bert-tiny"]), 2, 128)}
    for name, (make, heads, count) in sizes.items():
        path = bench.path(make)
        masks = bench.masks(polarized(heads, count, 0.9))
        for machine, (precision, text) in SYSTEMS.items():
            rule = {"match": "*", "form": text, **({"masks": masks} if text == "bitmap" else {})}
            dense = bench.run(path, machine, precision=precision)
            found = bench.run(path, machine, precision=precision, attention=[rule])
            rows.append(
                {
                    "model": name,
                    "machine": f"{machine}-sized",
                    "precision": NAMES[precision],
                    "dense": dense.cycles,
                    "form": f"`{text}`",
                    "core": dense.core / found.core,
                    "whole": dense.cycles / found.cycles,
                }
            )
    return rows


MACHINE_COLUMNS = [
    ("model", "model", "s"),
    ("machine", "machine", "s"),
    ("precision", "precision", "s"),
    ("dense", "dense cycles", ",d"),
    ("form", "form", "s"),
    ("core", "core faster", ".2f"),
    ("whole", "whole faster", ".2f"),
]

TABLES: dict[str, tuple[Callable[[Bench], list[Row]], list[tuple[str, str, str]]]] = {
    "window": (window, WINDOW_COLUMNS),
    "blocks": (blocks, BLOCK_COLUMNS),
    "sanger": (sanger, SANGER_COLUMNS),
    "linear": (linear, LINEAR_COLUMNS),
    "structures": (structures, STRUCTURE_COLUMNS),
    "tokens": (tokens, TOKEN_COLUMNS),
    "thresholds": (thresholds, THRESHOLD_COLUMNS),
    "fusion": (fusion, FUSION_COLUMNS),
    "machines": (machines, MACHINE_COLUMNS),
}


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"{', '.join(TABLES)}; all, unless said")
    parser.add_argument("--write", type=Path, metavar="PAGE.md", help="put all tables into a page that has marks")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    names = options.tables or list(TABLES)
    unknown = sorted(set(names) - set(TABLES))
    if unknown or (options.write and list(names) != list(TABLES)):
        parser.error(f"no table {', '.join(unknown)}" if unknown else "--write takes all tables")
    found: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            measure, columns = TABLES[name]
            found[name] = measure(Bench(Path(folder)))
            print(f"## {name}\n\n{markdown(columns, found[name])}\n", flush=True)
    if options.write:
        write(options.write, [markdown(TABLES[name][1], rows) for name, rows in found.items()])
    write_json(options.json, **found)


if __name__ == "__main__":
    main()
