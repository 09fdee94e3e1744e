"""`attnc compile`: an ONNX model to a program file, or to the IR of any phase."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from .options import add_compilation_options, add_quiet_option, asked_of, check_outputs, write_text


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-o", "--output", metavar="OUT.attn", type=Path, help="the program file to write")
    add_compilation_options(parser)
    phases = "import, graph, precision, attention, tile, schedule or emit"
    parser.add_argument("--dump-ir", metavar="DIR", type=Path, help="write the IR of every phase to this folder")
    parser.add_argument("--stop-after", metavar="PHASE", help=f"stop after {phases}, and write or print its IR")
    parser.add_argument("--start-from", metavar="PHASE", help="go on from this phase; MODEL.onnx is a --dump-ir folder")
    parser.add_argument("--time-passes", action="store_true", help="print the seconds of each phase and pass to stderr")
    add_quiet_option(parser)
    parser.epilog = """examples:
  attnc compile model.onnx -o model.attn
  attnc compile model.onnx -o model.attn --shape input_ids=1x128 --shape attention_mask=1x128
  attnc compile model.onnx -o model.attn --precision int8 --calibrate samples.npz
  attnc compile model.onnx --stop-after graph
  attnc compile model.onnx -o model.attn --dump-ir phases
  attnc compile phases -o model.attn --start-from tile"""


def run(options: Namespace) -> int:
    """Compile, write, and say on stdout what was made."""
    from ..compile import compile
    from ..dump import text_of

    check_outputs([options.output], [options.model, options.constants, options.calibrate, options.recipe])
    result = compile(
        options.model,
        **asked_of(options),
        dump_ir=options.dump_ir,
        stop_after=options.stop_after,
        start_from=options.start_from,
        progress=not options.quiet and sys.stderr.isatty(),
    )
    if options.time_passes:
        for name, seconds in (*result.phase_seconds.items(), *result.pass_seconds.items()):
            print(f"{seconds:8.3f} s  {name}", file=sys.stderr)
    if result.program is None:
        if options.output is not None or options.dump_ir is None:
            write_text(options.output, text_of(result.module))
    elif options.output is not None:
        result.program.save(options.output)
        print(f"{options.output}: {result.program.describe()}")
    elif options.dump_ir is None:
        print(f"compiles: {result.program.describe()} (nothing written: no -o)")
    return 0
