"""`attnc new-machine`: a machine file to start from."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ...isa.errors import OutputError, UsageError
from ...isa.machine import DEFAULT_MACHINE, load_machine, machine_names
from .options import add_output_option, check_outputs, write_text


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME", help="what the machine is to be called in reports")
    add_output_option(parser, "FILE.toml")
    parser.add_argument(
        "--extends",
        metavar="NAME|FILE",
        default=DEFAULT_MACHINE,
        help=f"the machine that it takes over what it does not change from (default: {DEFAULT_MACHINE})",
    )
    parser.epilog = """examples:
  attnc new-machine wide -o wide.toml
  attnc new-machine smaller --extends tiny"""


def run(options: Namespace) -> int:
    """Write the file, which must not be there yet."""
    from ...isa.machine_template import machine_template

    if not options.name.strip():
        raise UsageError("a machine needs a name")
    output: Path | None = options.output
    check_outputs([output])
    if output is not None and output.exists():
        raise OutputError(str(output), "it is there already")
    base = load_machine(options.extends)
    extends: str = options.extends
    if extends not in machine_names() and output is not None:
        # A file is sought beside the file that extends it.
        extends = os.path.relpath(extends, output.parent)
    write_text(output, machine_template(options.name, base, extends))
    if output is not None:
        print(f"{output}: machine {options.name}, as {base.name} until you change it")
    return 0
