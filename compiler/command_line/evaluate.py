"""`attnc evaluate`: accuracy of a program over a labelled set."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path

from .options import STDOUT, add_machine_option, add_quiet_option, check_outputs, write_text


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("program", metavar="OUT.attn", type=Path, help="the program file")
    parser.add_argument(
        "--data",
        metavar="DATA.npz",
        type=Path,
        required=True,
        help="samples, an array an input, and their labels",
    )
    parser.add_argument("--labels", metavar="NAME", help="the array of labels (default: the one that is no input)")
    parser.add_argument("--output", metavar="NAME", help="the output that answers (default: the first)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures; - is stdout")
    add_machine_option(parser, text="cycles and energy as if on this machine: only rates and energies may differ")
    add_quiet_option(parser)
    parser.epilog = """examples:
  attnc evaluate digits.attn --data examples/digits_vit/images.npz
  attnc evaluate model.attn --data test.npz --labels y_test --json accuracy.json"""


def run(options: Namespace) -> int:
    """Run every sample and print accuracy, cycles and energy."""
    from tqdm import tqdm

    from ...runtime.arrays import read_arrays
    from ...runtime.evaluate import evaluate
    from ...runtime.session import load

    check_outputs([options.json], [options.program, options.data])
    session = load(options.program, options.machine)

    def progress(runs: Iterable[int]) -> Iterable[int]:
        return tqdm(runs, desc="evaluate", unit="run", delay=1, leave=False, disable=options.quiet or None)

    data = read_arrays(options.data)
    found = evaluate(session, data, labels=options.labels, output=options.output, progress=progress)
    if options.json is not None:
        write_text(options.json, json.dumps(found.to_dict(), indent=2) + "\n")
    if options.json == STDOUT:
        return 0
    performance = found.report.summary.performance
    print(f"accuracy  {found.correct} of {found.labels}  {found.accuracy:.2%}")
    if performance is not None:
        share = "" if found.samples_each == 1 else f" for {found.samples_each} samples"
        print(f"latency   {performance.cycles:,} cycles{share}, cold")
        print(f"energy    {performance.energy_pj * 1e-6:.4g} uJ{share}")
    for entry in found.report.unlowered:
        print(f"not on its engine: {entry.node}: {entry.reason}")
    return 0
