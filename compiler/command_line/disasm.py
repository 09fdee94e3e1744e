"""`attnc disasm`: a program file as assembly text."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from .options import add_output_option, check_outputs, write_text


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("program", metavar="OUT.attn", type=Path, help="the program file")
    add_output_option(parser, "FILE.asm")
    parser.epilog = """examples:
  attnc disasm model.attn
  attnc disasm model.attn -o model.asm"""


def run(options: Namespace) -> int:
    """Write the text, which `attnc asm` turns into the same bytes."""
    from ...isa.assembly import disassemble
    from ...isa.program import Program

    check_outputs([options.output], [options.program])
    program = Program.load(options.program)
    write_text(options.output, disassemble(program, options.program.name))
    return 0
