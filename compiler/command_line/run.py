"""`attnc run`: a program file on the simulator."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...isa.errors import UsageError
from .options import add_machine_option, add_quiet_option, writable, written

if TYPE_CHECKING:
    from ...isa.formats import Array
    from ...runtime.session import Result

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
    add_machine_option(parser, default=None, text="run as if on this machine: only rates and energies may differ")
    parser.add_argument("--instructions", metavar="OUT.csv", type=Path, help="write every instruction with its times")
    parser.add_argument("--log", action="store_true", help="print a line for each instruction as it starts")
    parser.add_argument("--until", metavar="N", type=int, help="with --log: only the first N instructions")
    add_quiet_option(parser)
    parser.epilog = """examples:
  attnc run model.attn --input inputs.npz
  attnc run model.attn --random 0 --mode timing
  attnc run model.attn --input inputs.npz --output outputs.npz --json report.json
  attnc run model.attn --random 0 --check --log --until 20"""


def run(options: Namespace) -> int:
    """Run the program and print the answer and the summary."""
    from tqdm import tqdm

    from ...runtime.instruction_log import log_lines, write_instructions
    from ...runtime.session import load
    from ...runtime.summary import summary_text

    _consistent(options)
    for path in (options.output, options.json, options.instructions):
        if path is not None and str(path) != "-":
            writable(path)
    session = load(options.program, options.machine)

    def progress(repetitions: Iterable[int]) -> Iterable[int]:
        return tqdm(repetitions, desc="run", unit="inference", delay=1, leave=False, disable=options.quiet)

    inputs = _inputs(options)
    if inputs is None and options.random is not None:
        inputs = session.random_inputs(options.random)
    result = session.run(inputs, options.mode, check=options.check, strict=options.strict, progress=progress)
    if result.measurement is not None:
        if options.instructions is not None:
            with written(options.instructions) as beside:
                write_instructions(result.measurement, beside)
        if options.log:
            for line in log_lines(result.measurement, options.until):
                print(line)
    if options.output is not None:
        _save_outputs(options.output, result)
    text = json.dumps(result.to_dict(), indent=2)
    if str(options.json) == "-":
        print(text)
        return 0
    if options.json is not None:
        with written(options.json) as beside:
            beside.write_text(text + "\n")
    if result.report.summary.nan_inputs and not options.quiet:
        print(f"warning: {result.report.summary.nan_inputs} NaN values in the inputs", file=sys.stderr)
    for name, array in result.outputs.items():
        print(_answer(name, array))
    print(summary_text(result.report))
    return 0


def _consistent(options: Namespace) -> None:
    if options.mode == "values" and (options.instructions is not None or options.log):
        raise UsageError("--instructions and --log need timing", "leave out --mode values")
    if options.mode == "timing" and options.output is not None:
        raise UsageError("--output needs values", "leave out --mode timing")
    if options.until is not None and not options.log:
        raise UsageError("--until goes with --log")


def _inputs(options: Namespace) -> Mapping[str, Array] | None:
    if options.input is None:
        return None
    from ...runtime.arrays import read_arrays

    return read_arrays(options.input)


def _save_outputs(path: Path, result: Result) -> None:
    import numpy as np

    with written(path) as beside, beside.open("wb") as file:
        # npz knows no bfloat16: such outputs are saved as float32, which holds them exactly.
        arrays = {
            name: array.astype(np.float32) if array.dtype.name == "bfloat16" else array
            for name, array in result.outputs.items()
        }
        np.savez(file, **arrays)


def _answer(name: str, array: Array) -> str:
    """An output in a line: type, shape, its first values, and the greatest one's place where it is one row."""
    import numpy as np

    shape = "x".join(map(str, array.shape)) or "scalar"
    flat = array.reshape(-1)
    values = np.array2string(
        flat[:SHOWN_VALUES].astype(np.float32) if array.dtype.kind == "V" else flat[:SHOWN_VALUES],
        precision=4, separator=", ", max_line_width=10_000,
    )  # fmt: skip
    more = "" if flat.size <= SHOWN_VALUES else f" ... ({flat.size:,} values)"
    rows = flat.size // array.shape[-1] if array.ndim and array.shape[-1] else 0
    best = f", greatest at {int(flat.argmax())}" if rows == 1 and flat.size > 1 else ""
    return f"{name}: {array.dtype} {shape} {values}{more}{best}"
