"""`attnc machines`: the machines there are, or one of them with everything derived."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from ...isa.machine import load_machine, machine_names


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("machine", metavar="NAME|FILE", nargs="?", help="print this machine in full, as JSON")
    parser.epilog = """examples:
  attnc machines
  attnc machines edge"""


def run(options: Namespace) -> int:
    """Print a line a machine, or one machine."""
    if options.machine is not None:
        print(json.dumps(load_machine(options.machine).to_dict(), indent=2))
        return 0
    names = machine_names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:{width}} {load_machine(name).description}")
    return 0
