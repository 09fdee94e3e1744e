"""`attnc asm`: assembly text to a program file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from .options import check_outputs, read_text


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("source", metavar="FILE.asm", type=Path, help="assembly text")
    parser.add_argument("-o", "--output", metavar="OUT.attn", type=Path, required=True, help="the program to write")
    parser.epilog = """examples:
  attnc disasm model.attn -o model.asm
  attnc asm model.asm -o again.attn"""


def run(options: Namespace) -> int:
    """Assemble and write."""
    from ...isa.assembly import assemble

    check_outputs([options.output], [options.source])
    program = assemble(read_text(options.source), str(options.source), options.source.parent)
    program.save(options.output)
    print(f"{options.output}: {program.describe()}")
    return 0
