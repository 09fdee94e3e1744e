"""`attnc run`: a program file on the simulator."""

from __future__ import annotations

import json
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ...isa.errors import UsageError
from .options import STDOUT, add_machine_option, add_quiet_option, check_outputs, warn, write_text

if TYPE_CHECKING:
    from ...isa.formats import Array

SHOWN_VALUES = 10
"""Values of an output that the answer prints."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("program", metavar="OUT.attn", type=Path, help="the program file")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--input", metavar="IN.npz", type=Path, help="inputs, one array each, named as in the model")
    source.add_argument("--random", metavar="SEED", type=int, help="random inputs within their valid ranges")
    parser.add_argument("--output", metavar="OUT.npz", type=Path, help="write the outputs, named as in the model")
    parser.add_argument("--json", metavar="REPORT.json", type=Path, help="write the report; - is stdout")
    parser.add_argument("--mode", choices=["both", "values", "timing"], default="both", help="default: both")
    parser.add_argument("--check", action="store_true", help="check for races and reads of unwritten memory too")
    parser.add_argument("--strict", action="store_true", help="refuse NaN in inputs")
    parser.add_argument(
        "--statistics", action="store_true", help="count zeros and set bits in operands of products, as --report does"
    )
    add_machine_option(parser, text="run as if on this machine: only rates and energies may differ")
    parser.add_argument("--instructions", metavar="OUT.csv", type=Path, help="write every instruction with its times")
    parser.add_argument(
        "--trace", metavar="OUT.perfetto-trace", type=Path, help="write the engines in time, for ui.perfetto.dev"
    )
    parser.add_argument(
        "--report", metavar="OUT.html", type=Path, help="write a page of tables and plots, for a browser"
    )
    parser.add_argument(
        "--ir",
        metavar="DIR",
        type=Path,
        help="with --report: show the phases in this folder of `compile --dump-ir` too",
    )
    parser.add_argument("--log", action="store_true", help="print a line for each instruction as it starts")
    parser.add_argument("--until", metavar="N", type=int, help="with --log: only the first N instructions")
    add_quiet_option(parser)
    parser.epilog = """examples:
  attnc run model.attn --input inputs.npz
  attnc run model.attn --random 0 --mode timing
  attnc run model.attn --input inputs.npz --output outputs.npz --json report.json
  attnc run model.attn --random 0 --check --log --until 20
  attnc run model.attn --random 0 --mode timing --trace model.perfetto-trace
  attnc run model.attn --input inputs.npz --report model.html"""


def run(options: Namespace) -> int:
    """Run the program and print the answer and the summary."""
    from tqdm import tqdm

    from ...runtime.arrays import read_arrays, write_arrays
    from ...runtime.instruction_log import log_lines, write_instructions
    from ...runtime.session import load
    from ...runtime.summary import summary_text

    _check_consistent(options)
    outputs = [options.output, options.json, options.instructions, options.trace, options.report]
    check_outputs(outputs, [options.program, options.input])
    session = load(options.program, options.machine)

    def progress(repetitions: Iterable[int]) -> Iterable[int]:
        return tqdm(repetitions, desc="run", unit="inference", delay=1, leave=False, disable=options.quiet or None)

    if options.random is not None:
        inputs = session.random_inputs(options.random)
    else:
        inputs = None if options.input is None else read_arrays(options.input)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = session.run(
            inputs,
            options.mode,
            check=options.check,
            strict=options.strict,
            statistics=options.statistics or options.report is not None,
            progress=progress,
        )
    for warning in caught:
        warn(options, str(warning.message))
    if options.instructions is not None and result.measurement is not None:
        write_instructions(result.measurement, options.instructions)
    if options.trace is not None and result.measurement is not None:
        from ...runtime.trace import write_trace

        write_trace(result.measurement, options.trace)
    if options.report is not None:
        from ...runtime.pages.run_page import write_run_page

        write_run_page(result, options.report, options.ir)
    if options.output is not None:
        write_arrays(options.output, result.outputs)
    if options.json is not None:
        write_text(options.json, json.dumps(result.to_dict(), indent=2) + "\n")
    if options.json == STDOUT:
        return 0
    if options.log and result.measurement is not None:
        for line in log_lines(result.measurement, options.until):
            print(line)
    for name, array in result.outputs.items():
        print(_answer(name, array))
    print(summary_text(result.report))
    return 0


def _check_consistent(options: Namespace) -> None:
    timed = (options.instructions, options.trace, options.report)
    if options.mode == "values" and (options.log or any(path is not None for path in timed)):
        raise UsageError("--instructions, --trace, --report and --log need timing", "leave out --mode values")
    if options.ir is not None and options.report is None:
        raise UsageError("--ir goes with --report")
    if options.mode == "timing" and options.output is not None:
        raise UsageError("--output needs values", "leave out --mode timing")
    if options.until is not None and not options.log:
        raise UsageError("--until goes with --log")
    if options.until is not None and options.until < 0:
        raise UsageError("--until counts instructions", "give a number from 0 up")
    if options.log and options.json == STDOUT:
        raise UsageError("--log and --json - would both write to stdout", "name a file for the report")


def _answer(name: str, array: Array) -> str:
    """An output in a line: type, shape, its first values, and the greatest one's place where it is one row."""
    import numpy as np

    shape = "x".join(map(str, array.shape)) or "scalar"
    flat = array.reshape(-1)
    shown = flat[:SHOWN_VALUES].astype(np.float32) if array.dtype.kind == "V" else flat[:SHOWN_VALUES]
    values = np.array2string(shown, precision=4, separator=", ", max_line_width=10_000)
    more = "" if flat.size <= SHOWN_VALUES else f" ... ({flat.size:,} values)"
    rows = flat.size // array.shape[-1] if array.ndim and array.shape[-1] else 0
    best = f", greatest at {int(flat.argmax())}" if rows == 1 and flat.size > 1 else ""
    return f"{name}: {array.dtype} {shape} {values}{more}{best}"
