"""Co-design techniques beside dense attention: each on the machine, the model and the precision that dense has.

    python benchmarks/codesign.py                         # both tables
    python benchmarks/codesign.py --only sima taylor      # some rows, by a part of their names
    python benchmarks/codesign.py --write docs/codesign.md

The first table tells cycles, energy, DRAM bytes and how far the outputs move, on models of known size with random
weights; the second accuracy and cycles of the trained model of the digits example, which no form was trained for.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import fabnet
import numpy as np
import onnx
from encoders import ENCODERS, build
from measuring import markdown, samples_of, write_json
from whole_models import deit_tiny

import attnc
from attnc.compiler.recipe import Recipe
from attnc.isa.program import Program
from attnc.runtime.evaluate import evaluate
from attnc.runtime.report import Report

DEIT, BERT = "deit-tiny", "bert-base layer, 1,024 tokens"
SMALL, FABNET = "encoder of 4 layers, 256 wide", "fabnet of 4 layers, 256 wide"
MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    DEIT: deit_tiny,
    BERT: lambda: build(ENCODERS["bert-base-layer-1024"]),
    SMALL: lambda: build(fabnet.TRANSFORMER),
    FABNET: fabnet.fabnet,
}
Tables = dict[str, Any]


@dataclass(frozen=True)
class Technique:
    """A technique, what a recipe says for it, and what its paper claims of which relation. `masks` makes the bits of a
    bitmap; `beside` is the dense model that another one is compared with, where the technique is a model."""

    name: str
    model: str
    recipe: Tables
    published: str
    masks: Callable[[], np.ndarray] | None = field(default=None, compare=False)
    beside: str = ""


def form(text: str) -> Tables:
    """A recipe of one form for all attentions."""
    return {"attention": [{"match": "*", "form": text}]}


def structured(text: str) -> Tables:
    """A recipe of one structure for all weights."""
    return {"prune": [{"match": "*", "structure": text}]}


def polarized(heads: int, tokens: int, removed: float) -> np.ndarray:
    """Maps such as ViTCoD shows of trained models, made up: a few columns that every query sees, in front, and a band
    of what is left."""
    columns = round(tokens * (1 - removed) / 2)
    places = np.arange(tokens)
    band = round(tokens * (1 - removed) / 4)
    return np.broadcast_to((np.abs(places[:, None] - places) <= band) | (places < columns), (heads, tokens, tokens))


TOKENS = [{"before": f"encoder.{layer}", "keep": keep} for layer, keep in ((3, 0.7), (6, 0.49), (9, 0.343))]

LEARNED = [{**rule, "by": "cascade", "threshold": 1.0} for rule in TOKENS]
"""Thresholds as Learned Token Pruning has them, given in the place of learnt ones."""

CASCADE = [{**rule, "by": "cascade"} for rule in TOKENS]
HEADS = [{"before": f"encoder.{layer}", "keep": keep} for layer, keep in ((4, 0.67), (8, 0.34))]
"""Of DeiT-tiny's three heads two, then one."""

TECHNIQUES = (
    Technique("ViTCoD, 90 % removed", DEIT, form("vitcod:sparsity=0.9"), "attention 6.8x Sanger"),
    Technique("ViTCoD, 95 % removed", DEIT, form("vitcod:sparsity=0.95"), "5.3x dense (its simulator)"),
    Technique(
        "ViTCoD, 90 %, made-up maps", DEIT, form("bitmap"), "attention 6.8x Sanger", lambda: polarized(3, 197, 0.90)
    ),
    Technique(
        "ViTCoD, 95 %, made-up maps",
        DEIT,
        form("bitmap"),
        "5.3x dense (its simulator)",
        lambda: polarized(3, 197, 0.95),
    ),
    Technique("DynamicViT, 0.7 thrice", DEIT, {"tokens": TOKENS}, "FLOPs -31 % to -37 %, throughput +40 %"),
    Technique("LTP, worth the mean thrice", DEIT, {"tokens": LEARNED}, "FLOPs up to 2.1x less, throughput 1.9x"),
    Technique("SimA", DEIT, form("sima"), "crosses dense at n = d"),
    Technique("ViTALiTy", DEIT, form("taylor"), "3x Sanger, speed and energy"),
    Technique("EcoFormer, 16 bits", DEIT, form("ecoformer"), "attention energy -73 %"),
    Technique("DynaTran, above 0.008", DEIT, form("threshold:0.008"), "1.2x the sparsity of top-k"),
    Technique(
        "DynaTran, activations above 0.1 too",
        DEIT,
        {"sparsity": [{"match": "*", "threshold": 0.1}], **form("threshold:0.008")},
        "1.2x the sparsity of top-k",
    ),
    Technique("Sanger, above 0.008", DEIT, form("sanger:theta=0.008"), "core 3-10x, layer 1.2-1.65x (its simulator)"),
    Technique("Energon, 2 and 4 bits", DEIT, form("energon"), "1.7x SpAtten"),
    Technique("top-k, 32", DEIT, form("topk:32"), "linear in tokens"),
    Technique("STA, weights of 2:4", DEIT, structured("2:4"), "M / N of a product's cycles"),
    Technique("S2TA, weights of 4:8", DEIT, structured("4:8"), "8 / nnz of a product's cycles"),
    Technique("SpAtten, cascade of tokens", DEIT, {"tokens": CASCADE}, "DRAM bytes 1.8x (BERT) to 3.8x (GPT-2)"),
    Technique("SpAtten, cascade of heads", DEIT, {"heads": HEADS}, "DRAM bytes 1.1x"),
    Technique("SpAtten, local values, 32", DEIT, form("values:32"), "part of 10x DRAM bytes"),
    Technique("SpAtten, 4 of 8 bits first", DEIT, form("progressive:0.1"), "DRAM bytes 5x (GPT-2), with static bits"),
    Technique(
        "SpAtten, tokens, heads, values",
        DEIT,
        {"tokens": CASCADE, "heads": HEADS, **form("values:32")},
        "DRAM bytes 10x, with few bits (GPT-2)",
    ),
    Technique("SALO: window and global", BERT, form("window:64,global:1"), "linear in tokens"),
    Technique("BigBird: + random blocks", BERT, form("window:32,global:16,random:2,size=32"), "linear in tokens"),
    Technique("SimA", BERT, form("sima"), "16x fewer multiplications at n = 16 d"),
    Technique("ViTALiTy", BERT, form("taylor"), "16x fewer multiplications at n = 16 d"),
    Technique("EcoFormer, 16 bits", BERT, form("ecoformer"), "attention energy -73 %"),
    Technique("top-k, 32", BERT, form("topk:32"), "linear in tokens"),
    Technique(
        "FABNet",
        FABNET,
        {"detect_structure": True},
        "compute 10-66x less (whole models), 14.2-23.2x over accelerators",
        beside=SMALL,
    ),
)

CALIBRATED = 32
"""Ranges of the digits model are those over so many of its images."""

DIGITS = Path(__file__).parents[1] / "examples" / "digits_vit"
STRENGTHS = (
    "dense",
    *(f"window:{reach},global:1" for reach in (6, 4, 2, 1)),
    *(f"topk:{count}" for count in (8, 4, 2)),
    *(f"vitcod:sparsity={removed}" for removed in (0.5, 0.7, 0.8)),
    *(f"threshold:{least}" for least in (0.02, 0.05, 0.1)),
    *(f"values:{count}" for count in (8, 4, 2)),
    *(f"progressive:{least}" for least in (0.0, 0.1, 0.3, 1.0)),
    *(f"sanger:theta={theta}" for theta in (0.02, 0.05, 0.1)),
    "energon",
    "taylor",
    "sima",
    "ecoformer",
)


@dataclass(frozen=True)
class Measured:
    """What one run tells."""

    report: Report
    outputs: Mapping[str, np.ndarray]

    @property
    def figures(self) -> dict[str, float]:
        """Cycles, those of kernels between projections, energy and DRAM bytes."""
        performance = self.report.summary.performance
        assert performance is not None
        return {
            "cycles": performance.cycles,
            "core": core_cycles(self.report),
            "energy": performance.energy_pj * 1e-6,
            "dram": performance.dram_read_bytes + performance.dram_write_bytes,
        }


def core_cycles(report: Report) -> int:
    """The cycles in which kernels of attention between its projections were at work, added up: those that stand first
    for a node with a form."""
    formed = {node.node for node in report.nodes if node.form}
    return sum(kernel.cycles for kernel in report.kernels if kernel.nodes and kernel.nodes[0] in formed)


def recipe_of(technique: Technique, precision: str, folder: Path) -> Recipe:
    """The recipe of a technique, in the precision of all."""
    tables, masks = technique.recipe, technique.masks
    if masks is not None:
        np.savez(folder / "masks.npz", masks=masks())
        tables = {"attention": [{**rule, "masks": str(folder / "masks.npz")} for rule in tables["attention"]]}
    return Recipe.of({"precision": precision, **tables})


class Bench:
    """Runs techniques on models, each of which is built once and run dense once."""

    def __init__(self, folder: Path, machine: str, precision: str) -> None:
        self._folder = folder
        self._machine = machine
        self._precision = precision
        self.dense = cache(lambda model: self._run(model, Recipe(precision)))

    def row(self, technique: Technique) -> dict[str, Any]:
        """A line of the table: figures, and what dense has of them."""
        dense = self.dense(technique.beside or technique.model)
        run = self._run(technique.model, recipe_of(technique, self._precision, self._folder))
        before, after = dense.figures, run.figures
        return {
            "name": technique.name,
            "model": technique.model,
            "cycles": after["cycles"],
            **{key: before[key] / after[key] for key in ("energy", "dram")},
            "core": None if technique.beside else before["core"] / after["core"],
            "faster": before["cycles"] / after["cycles"],
            "error": None if technique.beside else error(run.outputs, dense.outputs),
            "published": technique.published,
        }

    def _run(self, name: str, recipe: Recipe) -> Measured:
        path = self._folder / f"model{list(MODELS).index(name)}.onnx"
        if not path.exists():
            onnx.save(MODELS[name](), path)
        program = _program(path, recipe, self._machine, samples_of(path))
        result = attnc.Session(program).run(samples_of(path, 1, seed=2))
        return Measured(result.report, result.outputs)


def _program(model: Path, recipe: Recipe, machine: str, samples: Mapping[str, np.ndarray]) -> Program:
    """A model of a batch of one compiled, with static ranges from samples where its formats have ranges."""
    graph = onnx.load(model, load_external_data=False).graph
    given = {item.name: [axis.dim_value or 1 for axis in item.type.tensor_type.shape.dim] for item in graph.input}
    shapes = {name: tuple(shape) for name, shape in given.items()}
    calibrate = samples if recipe.takes_calibration else None
    program = attnc.compile(model, recipe=recipe, machine=machine, shapes=shapes, calibrate=calibrate).program
    assert program is not None
    return program


def error(given: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The root of the mean square difference of all outputs, over that of the expected ones."""
    pairs = [(given[name].astype(np.float64), value.astype(np.float64)) for name, value in expected.items()]
    different = sum(float(np.square(a - b).sum()) for a, b in pairs)
    return float(np.sqrt(different / sum(float(np.square(b).sum()) for _, b in pairs)))


def digits(forms: Iterable[str], machine: str, precision: str) -> list[dict[str, Any]]:
    """Accuracy and cycles of the digits model by form."""
    with np.load(DIGITS / "images.npz") as archive:
        data = {name: archive[name] for name in archive.files}
    samples = {name: array[:CALIBRATED] for name, array in data.items() if name == "image"}
    rows: list[dict[str, Any]] = []
    for text in forms:
        recipe = Recipe.of({"precision": precision, **form(text)})
        found = evaluate(attnc.Session(_program(DIGITS / "model.onnx", recipe, machine, samples)), data)
        figures = Measured(found.report, {}).figures
        rows.append({"form": f"`{text}`", "accuracy": found.accuracy, **figures})
    return rows


COLUMNS = [
    ("name", "technique", "s"),
    ("model", "model", "s"),
    ("cycles", "cycles", ",.0f"),
    ("faster", "dense over it: cycles", ".2f"),
    ("core", "between projections", ".2f"),
    ("energy", "energy", ".2f"),
    ("dram", "DRAM bytes", ".2f"),
    ("error", "error", ".3f"),
    ("published", "published", "s"),
]
DIGITS_COLUMNS = [
    ("form", "form", "s"),
    ("accuracy", "accuracy", ".1%"),
    ("cycles", "cycles", ",.0f"),
    ("core", "between projections", ",.0f"),
    ("energy", "energy uJ", ".2f"),
]


def dense_rows(bench: Bench, models: Iterable[str]) -> list[dict[str, Any]]:
    """Dense attention of each model."""
    shares = dict.fromkeys(("faster", "core", "energy", "dram"), 1.0)
    return [
        {"name": "dense", "model": name, "cycles": bench.dense(name).figures["cycles"], **shares, "error": 0.0}
        for name in models
    ]


def write(path: Path, tables: Sequence[str]) -> None:
    """Put tables in the place of those of a page, each between a pair of marks."""
    parts = path.read_text(encoding="utf-8").split("<!-- measured -->\n")
    parts[1::2] = [f"{table}\n" for table in tables]
    path.write_text("<!-- measured -->\n".join(parts), encoding="utf-8")


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="PART", help="techniques and forms whose names have such a part")
    parser.add_argument("--machine", default="edge", help="unless said: edge")
    parser.add_argument("--precision", default="int8", help="of all, dense too; unless said: int8")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE.md", help="put the tables into a page that has marks for them"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()

    def is_asked(name: str) -> bool:
        return options.only is None or any(part.lower() in name.lower() for part in options.only)

    techniques = [technique for technique in TECHNIQUES if is_asked(technique.name)]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.machine, options.precision)
        rows = dense_rows(bench, dict.fromkeys(technique.beside or technique.model for technique in techniques))
        rows += [bench.row(technique) for technique in techniques]
    answers = digits([text for text in STRENGTHS if is_asked(text)], options.machine, options.precision)
    tables = [markdown(COLUMNS, rows), markdown(DIGITS_COLUMNS, answers)]
    print("\n\n".join(tables))
    if options.write:
        write(options.write, tables)
    write_json(options.json, techniques=rows, digits=answers)


if __name__ == "__main__":
    main()
