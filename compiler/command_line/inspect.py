"""`attnc inspect`: what a program file says of itself."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...isa.program import Program, Signature


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("program", metavar="OUT.attn", type=Path, help="the program file")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.epilog = """examples:
  attnc inspect model.attn
  attnc inspect model.attn --json"""


def run(options: Namespace) -> int:
    """Print the description."""
    from ...isa.program import Program

    program = Program.load(options.program)
    print(json.dumps(program.to_dict(), indent=2) if options.json else _text(program))
    return 0


def _text(program: Program) -> str:
    lines = [program.describe(), f"digest {program.digest}", "", "inputs"]
    lines += [f"  {_signature(item)}" for item in program.inputs]
    lines += ["outputs", *(f"  {_signature(item)}" for item in program.outputs), "", "instructions"]
    groups = sorted(program.table.groups.values(), key=lambda group: group.record.mnemonic)
    lines += [f"  {group.record.mnemonic:12} {len(group.rows):,}" for group in groups]
    lines += ["", "memory"]
    for entry in program.memory_map:
        end = entry.address + entry.bytes
        lines.append(
            f"  {entry.space.text:5} {entry.address:#010x}-{end:#010x} {entry.bytes:>12,}  {entry.role:10} {entry.name}"
        )
    lines += ["", f"nodes ({len(program.nodes)}; {len(program.folded)} folded)"]
    lines += [f"  {node.operator:28} {node.path:28} {node.name}" for node in program.nodes]
    if program.unlowered:
        lines += ["", "written quantized, not on an integer engine"]
        lines += [f"  {note.node}: {note.reason}" for note in program.unlowered]
    return "\n".join(lines)


def _signature(item: Signature) -> str:
    shape = "x".join(map(str, item.shape)) or "scalar"
    limits = "" if item.low is None or item.binary else f", from {item.low} to {item.high}"
    truth = "" if not item.binary else ", 0 or 1" if item.only_bits else ", true where it is not 0"
    return f"{item.name}: {item.element_type} {shape}, {item.format.label} at {item.address:#x}{limits}{truth}"
