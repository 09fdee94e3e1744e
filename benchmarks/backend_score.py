"""The official ONNX node tests through compiler and simulator, scored.

    python benchmarks/backend_score.py [--write] [PATTERN]

Prints the score of all plain node tests (or of those whose names hold PATTERN); `--write` renews
docs/onnx-backend-score.md, which `tests/backend` compares.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import attnc.compiler.backend as backend
import numpy as np
import onnx
from attnc.isa.errors import AttncError, UnsupportedError
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner
from tqdm import tqdm

PAGE = Path(__file__).parents[1] / "docs" / "onnx-backend-score.md"

TYPES = ("float32", "float16", "bfloat16", "int8", "uint8", "int32", "int64", "bool")
"""Element types of the machine, and int64, which travels as int32."""

_CODES = frozenset(
    (
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.BOOL,
    )
)

COMMON = frozenset(
    (
        "Add",
        "And",
        "Attention",
        "Cast",
        "Clip",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Conv",
        "CumSum",
        "DequantizeLinear",
        "Div",
        "DynamicQuantizeLinear",
        "Equal",
        "Erf",
        "Expand",
        "Flatten",
        "Gather",
        "GatherND",
        "Gelu",
        "Gemm",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "IsNaN",
        "LayerNormalization",
        "Less",
        "Log",
        "MatMul",
        "MatMulInteger",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Not",
        "Pow",
        "Range",
        "ReduceMean",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Shape",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tanh",
        "Transpose",
        "Unsqueeze",
        "Where",
    )
)
"""Operators that at least three of 29 families of exported Transformers use."""

_SAME_OUTPUTS: Callable[..., None] = Runner.assert_similar_outputs
"""The comparison that the onnx package makes: shapes, element types, and values to the test's tolerance."""


@dataclass(frozen=True)
class Outcome:
    """What became of a node test.

    `verdict` is passed, refused, wrong or excluded (by type); `reason` says why it did not pass; `bound` are
    the inputs that had to be known when compiling; `instructions` counts those of the program.
    """

    test: str
    operators: tuple[str, ...]
    verdict: str
    reason: str = ""
    instructions: int = 0
    bound: tuple[str, ...] = ()

    @property
    def is_common(self) -> bool:
        """Whether the test is of an operator that is common in Transformers."""
        return not COMMON.isdisjoint(self.operators)


def plain_tests() -> list[Any]:
    """The node tests, without those that spell an operator out in others (`_expanded`)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [test for test in load_model_tests(kind="node") if "_expanded" not in test.name]


def outcome(test: Any) -> Outcome:
    """Run one test through the backend, with the race and memory checks."""
    operators = tuple(sorted({_spelled(node) for node in test.model.graph.node}))
    foreign = _foreign_type(test.model)
    if foreign:
        return Outcome(test.name, operators, "excluded", foreign)
    representation = backend.prepare(test.model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for data in test.data_sets:
                inputs, expected = ([_array(item) for item in items] for items in data)
                outputs = representation.run(inputs, check=True)
                _SAME_OUTPUTS(expected, outputs, test.rtol, test.atol)
    except UnsupportedError as error:
        return Outcome(test.name, operators, "refused", "; ".join(item.reason for item in error.blocking))
    except AssertionError as error:
        return Outcome(test.name, operators, "wrong", f"values differ: {str(error).strip()}")
    except AttncError as error:
        return Outcome(test.name, operators, "refused", str(error))
    except Exception as error:
        # Whatever crashes is counted as wrong, and told.
        return Outcome(test.name, operators, "wrong", f"{type(error).__name__}: {error}")
    session = representation.session
    count = 0 if session is None else len(session.program.table)
    return Outcome(test.name, operators, "passed", "", count, representation.bound)


def _spelled(node: onnx.NodeProto) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def _array(item: Any) -> Any:
    return numpy_helper.to_array(item) if isinstance(item, TensorProto) else item


def _foreign_type(model: onnx.ModelProto) -> str:
    """The first type of an input or output that the machine does not have, "" if it has all."""
    for value in (*model.graph.input, *model.graph.output):
        kind = value.type.WhichOneof("value") or "none"
        if kind != "tensor_type":
            return kind.removesuffix("_type")
        code = value.type.tensor_type.elem_type
        if code not in _CODES:
            return str(TensorProto.DataType.Name(code)).lower().replace("double", "float64")
    return ""


def run(tests: Sequence[Any]) -> list[Outcome]:
    """The outcomes of tests, with a progress bar on stderr."""
    return [outcome(test) for test in tqdm(tests, desc="node tests", leave=False, delay=1)]


VERDICTS = ("passed", "refused", "wrong", "excluded")


def counts(outcomes: Iterable[Outcome]) -> Counter[str]:
    """How many outcomes there are of each verdict."""
    return Counter(item.verdict for item in outcomes)


def score(outcomes: Collection[Outcome]) -> float:
    """The share of passed tests among those that are not excluded by type."""
    found = counts(outcomes)
    tried = len(outcomes) - found["excluded"]
    return found["passed"] / tried if tried else 1.0


def page(outcomes: Sequence[Outcome]) -> str:
    """docs/onnx-backend-score.md."""
    common = [item for item in outcomes if item.is_common]
    rows = [("all plain node tests", outcomes), ("of common operators", common)]
    passed = [item for item in outcomes if item.verdict == "passed"]
    still = [item for item in passed if item.instructions == 0]
    lines = [
        "# Score of the official ONNX backend suite",
        "",
        "This page is written by `benchmarks/backend_score.py --write`; a slow test compares it. It counts the"
        f" {len(outcomes)} plain node tests of onnx {onnx.__version__} (opset {onnx.defs.onnx_opset_version()});"
        " the `_expanded` forms, which spell the same operators out in others, are left out. Every test is"
        " compiled for the machine `edge` and run on the simulator with the race and memory checks, and compared"
        " with the tolerance of the test itself.",
        "",
        "| tests | together | passed | refused | wrong | excluded by type | passed of those not excluded |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, chosen in rows:
        found = counts(chosen)
        numbers = " | ".join(str(found[verdict]) for verdict in VERDICTS)
        lines.append(f"| {title} | {len(chosen)} | {numbers} | {score(chosen):.1%} |")
    lines += [
        "",
        "*Refused*: the compiler or the simulator says clearly why it cannot, and counts as not passed. *Wrong*:"
        " other values than expected, or a crash. *Excluded by type*: an input or output of the test has a type"
        f" that the machine does not have; it has {', '.join(TYPES)}. *Common operators* are those that three or"
        f" more of 29 families of exported Transformers use: {', '.join(sorted(COMMON))}.",
        "",
        "Inputs that determine shapes, axes and directions are bound to their values when compiling, as"
        f" [operators.md](operators.md) says operator by operator ({_number(passed, lambda item: item.bound)} of"
        f" the passed tests have such inputs). {len(still)} of the passed tests then have nothing left to compute,"
        " and their programs are empty or only copy constants.",
        "",
        "## Refused",
        "",
        "| operators | tests | reason |",
        "|---|---|---|",
        *_table((item for item in outcomes if item.verdict == "refused"), by_reason=True),
        "",
        "## Wrong",
        "",
        *(f"- `{item.test}`: {item.reason.splitlines()[0]}" for item in outcomes if item.verdict == "wrong"),
        *(["None."] if not counts(outcomes)["wrong"] else []),
        "",
        "## Excluded by type",
        "",
        "| type | tests | operators |",
        "|---|---|---|",
        *_types(item for item in outcomes if item.verdict == "excluded"),
        "",
        "## By operator",
        "",
        "Operators with a test that is not excluded.",
        "",
        "| operators | passed | refused | wrong | excluded by type |",
        "|---|---|---|---|---|",
        *_operators(outcomes),
    ]
    return "\n".join(lines) + "\n"


def _number(outcomes: Iterable[Outcome], holds: Callable[[Outcome], object]) -> int:
    return sum(1 for item in outcomes if holds(item))


def _table(outcomes: Iterable[Outcome], by_reason: bool) -> list[str]:
    groups: dict[str, list[Outcome]] = {}
    for item in outcomes:
        groups.setdefault(item.reason, []).append(item)
    ranked = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return [f"| {_names(items)} | {len(items)} | {_cell(reason)} |" for reason, items in ranked]


def _types(outcomes: Iterable[Outcome]) -> list[str]:
    groups: dict[str, list[Outcome]] = {}
    for item in outcomes:
        groups.setdefault(item.reason, []).append(item)
    ranked = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return [f"| {kind} | {len(items)} | {_names(items)} |" for kind, items in ranked]


def _operators(outcomes: Iterable[Outcome]) -> list[str]:
    groups: dict[str, list[Outcome]] = {}
    for item in outcomes:
        groups.setdefault(", ".join(item.operators), []).append(item)
    lines: list[str] = []
    for name, items in sorted(groups.items()):
        found = counts(items)
        if found["excluded"] < len(items):
            lines.append(f"| {name} | " + " | ".join(str(found[verdict]) for verdict in VERDICTS) + " |")
    return lines


def _names(outcomes: Iterable[Outcome]) -> str:
    return ", ".join(sorted({name for item in outcomes for name in item.operators}))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: Sequence[str]) -> int:
    """Run the tests and print the score; 1 if any value is wrong."""
    parser = argparse.ArgumentParser(description="Score the official ONNX node tests on the simulator.")
    parser.add_argument("pattern", nargs="?", default="", help="only tests whose names hold it")
    parser.add_argument("--write", action="store_true", help=f"renew {PAGE.name}")
    options = parser.parse_args(arguments)
    outcomes = run([test for test in plain_tests() if options.pattern in test.name])
    for item in outcomes:
        if item.verdict in ("wrong", "refused") or options.pattern:
            print(f"{item.verdict:9} {item.test}: {item.reason[:300] if item.reason else ''}")
    for title, chosen in (("all", outcomes), ("common", [item for item in outcomes if item.is_common])):
        print(f"{title}: {dict(counts(chosen))}, {score(chosen):.1%} of those not excluded")
    if options.write and not options.pattern:
        PAGE.write_text(page(outcomes), encoding="utf-8")
    return 1 if counts(outcomes)["wrong"] else 0


if __name__ == "__main__":
    np.seterr(all="ignore")
    sys.exit(main(sys.argv[1:]))
