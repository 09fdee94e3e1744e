"""The official ONNX node tests through compiler and simulator, scored.

    python benchmarks/backend_score.py [--write] [PATTERN]

Prints the score of all plain node tests, or of those whose names hold PATTERN; `--write` renews
docs/onnx-backend-score.md and the table in README.md. It takes about a minute.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner
from tqdm import tqdm

import attnc.backend as backend
from attnc.isa.errors import AttncError, UnsupportedError

README = Path(__file__).parents[1] / "README.md"
PAGE = README.parent / "docs" / "onnx-backend-score.md"

TYPES = ("float32", "float16", "bfloat16", "int8", "uint8", "int32", "int64", "bool")
"""Element types of the machine, and int64, which travels as int32."""

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
    foreign = foreign_type(test.model)
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


def foreign_type(model: onnx.ModelProto) -> str:
    """The first type of an input or output that the machine does not have, "" if it has all."""
    for value in (*model.graph.input, *model.graph.output):
        kind = value.type.WhichOneof("value") or "none"
        if kind != "tensor_type":
            return kind.removesuffix("_type")
        name = str(TensorProto.DataType.Name(value.type.tensor_type.elem_type)).lower()
        name = {"float": "float32", "double": "float64"}.get(name, name)
        if name not in TYPES:
            return name
    return ""


def run(tests: Sequence[Any]) -> list[Outcome]:
    """The outcomes of tests, with a progress bar on stderr."""
    return [outcome(test) for test in tqdm(tests, desc="node tests", leave=False, delay=1, disable=None)]


VERDICTS = ("passed", "refused", "wrong", "excluded")


def counts(outcomes: Iterable[Outcome]) -> Counter[str]:
    """How many outcomes there are of each verdict."""
    return Counter(item.verdict for item in outcomes)


def score(outcomes: Collection[Outcome]) -> float:
    """The share of passed tests among those that are not excluded by type."""
    found = counts(outcomes)
    tried = len(outcomes) - found["excluded"]
    return found["passed"] / tried if tried else 1.0


_FOREIGN = {
    "float64": "the machine computes in float32",
    "int16": "integers are stored in 8 bits, signed or not, or in 32, signed",
    "uint16": "as int16",
    "uint32": "as int16",
    "uint64": "as int16",
    "float8": "floats of 8 bits and less are no formats of the machine",
    "float4": "as float8",
    "int4": "integers of less than 8 bits come with later formats",
    "int2": "as int4",
    "uint4": "as int4",
    "uint2": "as int4",
    "string": "texts do not exist on the machine",
    "sequence": "values that are no tensors do not exist on the machine",
    "optional": "as sequence",
}
"""Why a test is excluded: the first of its types that the machine does not have, by the beginning of its name."""

_PAGE = """\
# Score of the official ONNX backend suite

This page is written by `benchmarks/backend_score.py --write`; a slow test compares it. It counts the {plain} plain node
tests of onnx {version} (opset {opset}); the `_expanded` forms, which spell the same operators out in others, are left
out. Every test is compiled for the machine `edge`, run on the simulator with the race and memory checks, and compared
with the tolerance of the test itself.

{summary}

- *Refused*: compiler or simulator say clearly why not; that counts as not passed.
- *Wrong*: other values than expected, or a crash.
- *Excluded by type*: an input or output of the test has an element type that the machine does not have. It has {types}.
- *Common operators* are those that three or more of 29 families of exported Transformers use: {common}.

Inputs that determine shapes, axes and directions are bound to their values when compiling, as far as
[operators.md](operators.md) asks for constants; {bound} of the passed tests have such inputs. {still} of the passed
tests leave nothing to compute: their outputs are constants or empty.

## Refused

| operators | tests | reason |
|---|---|---|
{refused}

## Wrong

{wrong}

## Excluded by type

| type | tests | reason | operators |
|---|---|---|---|
{excluded}

## By operator

Operators with a test that is not excluded.

| operators | passed | refused | wrong | excluded by type |
|---|---|---|---|---|
{operators}
"""


def summary(outcomes: Sequence[Outcome]) -> str:
    """The table of the score; README shows it too."""
    lines = [
        "| node tests | together | passed | refused | wrong | excluded by type | passed of those not excluded |",
        "|---|---|---|---|---|---|---|",
    ]
    chosen = (("all", outcomes), ("of common operators", [item for item in outcomes if item.is_common]))
    for title, items in chosen:
        numbers = " | ".join(str(counts(items)[verdict]) for verdict in VERDICTS)
        lines.append(f"| {title} | {len(items)} | {numbers} | {score(items):.1%} |")
    return "\n".join(lines)


def page(outcomes: Sequence[Outcome]) -> str:
    """docs/onnx-backend-score.md."""
    passed = [item for item in outcomes if item.verdict == "passed"]
    wrong = [f"- `{item.test}`: {_cell(item.reason)}" for item in outcomes if item.verdict == "wrong"]
    return _PAGE.format(
        plain=len(outcomes),
        version=onnx.__version__,
        opset=onnx.defs.onnx_opset_version(),
        summary=summary(outcomes),
        types=", ".join(TYPES),
        common=", ".join(sorted(COMMON)),
        bound=sum(1 for item in passed if item.bound),
        still=sum(1 for item in passed if not item.instructions),
        refused="\n".join(
            f"| {_names(items)} | {len(items)} | {_cell(reason)} |" for reason, items in _by_reason(outcomes, "refused")
        ),
        wrong="\n".join(wrong) or "None.",
        excluded="\n".join(
            f"| {kind} | {len(items)} | {_why_foreign(kind)} | {_names(items)} |"
            for kind, items in _by_reason(outcomes, "excluded")
        ),
        operators="\n".join(_operators(outcomes)),
    )


def _by_reason(outcomes: Iterable[Outcome], verdict: str) -> list[tuple[str, list[Outcome]]]:
    """Outcomes of a verdict in groups of one reason, the largest first."""
    groups: dict[str, list[Outcome]] = {}
    for item in outcomes:
        if item.verdict == verdict:
            groups.setdefault(item.reason, []).append(item)
    return sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))


def _why_foreign(kind: str) -> str:
    return next((reason for name, reason in _FOREIGN.items() if kind.startswith(name)), "")


def _operators(outcomes: Iterable[Outcome]) -> list[str]:
    groups: dict[str, list[Outcome]] = {}
    for item in outcomes:
        groups.setdefault(", ".join(item.operators), []).append(item)
    return [
        f"| {name} | " + " | ".join(str(counts(items)[verdict]) for verdict in VERDICTS) + " |"
        for name, items in sorted(groups.items())
        if counts(items)["excluded"] < len(items)
    ]


def _names(outcomes: Iterable[Outcome]) -> str:
    return ", ".join(sorted({name for item in outcomes for name in item.operators}))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: Sequence[str]) -> int:
    """Run the tests and print the score; 1 if any value is wrong."""
    parser = argparse.ArgumentParser(description="Score the official ONNX node tests on the simulator.")
    parser.add_argument("pattern", nargs="?", default="", help="only tests whose names hold it")
    parser.add_argument("--write", action="store_true", help=f"renew {PAGE.name} and {README.name}")
    options = parser.parse_args(arguments)
    outcomes = run([test for test in plain_tests() if options.pattern in test.name])
    for item in outcomes:
        if item.verdict == "wrong" or options.pattern:
            print(f"{item.verdict:8} {item.test}: {_cell(item.reason)[:300]}")
    print(summary(outcomes))
    if options.write and not options.pattern:
        PAGE.write_text(page(outcomes), encoding="utf-8")
        text = README.read_text(encoding="utf-8")
        table = re.compile(r"^\| node tests .*(?:\n\|.*)+", re.MULTILINE)
        README.write_text(table.sub(summary(outcomes), text), encoding="utf-8")
    return 1 if counts(outcomes)["wrong"] else 0


if __name__ == "__main__":
    np.seterr(all="ignore")
    sys.exit(main(sys.argv[1:]))
