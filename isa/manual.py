"""The instruction manual, made from the records; `python -m attnc.isa.manual` writes docs/instructions.md."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from .engines import ENGINE_ROLES, Engine
from .formats import Format
from .instructions import OWN_RECORDS
from .lane_functions import LANE_FUNCTIONS, REDUCTIONS
from .matrix import MatrixMode, Values
from .record import HEADER_BITS, WORD_BYTES, Instruction

_HEAD = f"""\
# The instruction set

This page is made from the instruction records (`python -m attnc.isa.manual`); a test holds it to them.

A program is a list of words of {WORD_BYTES} bytes. Each goes to the in-order queue of one engine;
engines run side by side. An instruction starts when those before it in its queue allow it and every
instruction that it waits for has retired. A wait names a queue and how many of its instructions must
have retired; it can only name an instruction that stands earlier in the program, so programs cannot
deadlock, and executing the words one after another gives the reference values. There are no branches.
An instruction with an extent of zero does nothing but retire.

Bit 0 is the lowest bit of byte 0. The header takes bits 0 to {HEADER_BITS - 1}: opcode (bits 0 to 7),
queue (8 to 11), three waits of 20 bits (retire count modulo 65536 in the low 16, queue in the next 3,
valid bit on top; waits stand without gaps). Fields follow as listed; all bits after the last are zero.
Addresses and strides are in bytes. On-chip addresses of 32 bits select ACC with bit 31, else SRAM. An
extent is an immediate of 16 bits, or with bit 16 set the number of an extent register. Elements are
little-endian.

Nothing may be read or written outside a memory. Operands stand at multiples of their element size.
Within an instruction all reads precede all writes.
"""

_LANES = """\
## Lane programs

`vx.program` holds up to eight operations, at most one of them transcendental. Lanes compute on float
(float32), int (int32, wrapping) and bool. Reading widens: f16, bf16 and f32 to float; integers to int; a
bool byte is true when it is not zero, a b1 bit when it is 1. Writing converts: float to an integer format goes toward
zero and saturates, NaN gives 0; int to a narrower integer keeps the low bits; float to f16 or bf16 and
int to a float format round half to even; anything to bool is 1 where it is not zero, else 0.

Sources of an operation: streams `a` (code 0) and `b` (1); broadcasts `c0` to `c3` (2 to 5); immediates
(6 to 9); `row` (10) and `col` (11), the element's place in the pass as int from 0; results `r0` to `r7`
(16 to 23).
"""

_PACKED = """\

In the packed modes (i4, ternary, binary) a and b may hold other values than the mode's own, which are i4,
i2 and bipolar. Bits are bipolar (1 is +1, 0 is -1) or unipolar (1 and 0); i2, i4 and i8 are two's complement.
Formats of less than 8 bits are packed: element e of a row is in byte e // (8 / bits) of the row, at bit
(e % (8 / bits)) * bits; bits behind the last element are written as zero.
"""

_COSTS = """\
## Costs

Cycles follow from the fields and the machine file. They depend on values only where an extent stands in a register that
`load.extent` reads.

- `ld.block`, `st.block`: dimensions in order of their DRAM stride, smallest first, join into runs: a
  stride no longer than the run so far, or below one burst, extends the run over the dimension's span.
  Each remaining run moves every burst that it touches. On chip, each piece that is contiguous in both
  memories costs one cycle for each line of `transfer.access_bytes` that it touches. The engine is busy
  for the longer of bursts on the channel (`dram.bytes_per_cycle`) and accesses; the instruction retires
  `dram.latency_cycles` later, while the engine may go on with the next.
- `ld.gather`, `st.scatter`: each row moves the bursts that it touches (when the pitch is not whole
  bursts, the most that any alignment could touch); accesses are the lines of each row on chip and of
  the ids.
- `mx.product`, with r the mode's rate on R x C PEs, D = R r (in a packed mode with an a of more bits than
  the mode's own, r divided by how many times as many): `pipelined_ws` ceil(k / D) ceil(n / C)
  max(m, R), and `fill_cycles` + `drain_cycles` whenever the array was not running just before;
  `plain_ws` ceil(k / D) ceil(n / C) (2 R + C + m - 2); `plain_os` ceil(m / R) ceil(n / C) (2 R + C +
  ceil(k / r) - 2).
- `mx.masked`: as a product of `packed` rows, by C columns where the mask belongs to the result, with D values of k
  where it belongs to a: what a mask leaves out costs nothing, what it scatters costs rows that are not full.
- `mx.structured`: as a product of kept ceil(k / group) values of k, with D rounded down to a multiple of `kept`: the
  array chooses from `group` values of a for each `kept` that it multiplies by.
- `sx.top`: rows 5 ceil(columns / E), with E = `sparse.elements_per_cycle`; `sx.compact`: (rows + 1) ceil(columns / E);
  `sx.pack`: rows ceil(columns / E); `sx.gather`: count ceil(row_bytes / 4 E).
- `vx.pass`: `start_cycles` + ceil(rows columns / `lanes`), the second term times the largest of 1,
  stream bytes from SRAM over `sram_bytes_per_lane`, stream bytes from ACC over `acc_bytes_per_lane`,
  rounded up.
- `vx.program`: `program_cycles`. `sync`, `set.extent`, `load.extent`: `control_cycles`.
"""


def manual() -> str:
    """The text of docs/instructions.md."""
    return "\n".join(_sections()).rstrip() + "\n"


def _sections() -> Iterator[str]:
    yield _HEAD
    yield from _summary()
    for record in OWN_RECORDS.values():
        yield from _instruction(record)
    yield _COSTS
    yield _LANES
    yield from _functions()
    yield from _formats()


def _engine(record: type[Instruction]) -> str:
    return "any" if record.engine is None else record.engine.value


def _summary() -> Iterator[str]:
    yield "| engine | does |\n|---|---|"
    for engine in Engine:
        yield f"| {engine} | {ENGINE_ROLES[engine]} |"
    yield "\n| instruction | opcode | engine |\n|---|---|---|"
    for record in OWN_RECORDS.values():
        anchor = record.mnemonic.replace(".", "")
        yield f"| [`{record.mnemonic}`](#{anchor}) | {record.opcode:#04x} | {_engine(record)} |"
    yield ""


def _sentence(method: object) -> str:
    return " ".join((inspect.getdoc(method) or "").split())


def _instruction(record: type[Instruction]) -> Iterator[str]:
    yield f"## {record.mnemonic}\n"
    yield f"{inspect.getdoc(record)}\n"
    queues = "any queue" if record.engine is None else f"queues of engine {record.engine}"
    yield f"Opcode {record.opcode:#04x}, {queues}, semantics version {record.version}.\n"
    yield f"- Reads: {_sentence(record.reads)}"
    yield f"- Writes: {_sentence(record.writes)}"
    yield f"- Costs: {_sentence(record.cost)}"
    if record.faults is not Instruction.faults:
        yield f"- Faults: {_sentence(record.faults)}"
    if record.structured:
        yield f"- Faults: {_sentence(record.structure_fault)}"
    yield "\n| field | bits | kind | unit | meaning | values | default |\n|---|---|---|---|---|---|---|"
    for item in record.fields:
        last = item.offset + item.kind.bits - 1
        bits = f"{item.offset}" if last == item.offset else f"{item.offset}..{last}"
        default = "" if item.default is None else item.kind.format(item.default)
        yield (
            f"| `{item.name}` | {bits} | {item.kind.label} | {item.unit} | {item.doc} "
            f"| {item.kind.describe()} | {default} |"
        )
    yield ""


def _functions() -> Iterator[str]:
    yield "| function | code | transcendental | forms | value |\n|---|---|---|---|---|"
    for function in LANE_FUNCTIONS.values():
        forms = "; ".join(f"({', '.join(kinds)}) to {result}" for kinds, result in function.signatures.items())
        heavy = "yes" if function.transcendental else ""
        yield f"| `{function.name}` | {function.code} | {heavy} | {forms} | {function.doc} |"
    yield "\n| reduction | code | forms | accumulates | value |\n|---|---|---|---|---|"
    for reduction in REDUCTIONS.values():
        forms = ", ".join(f"{kind} to {result}" for kind, result in reduction.signatures.items())
        accumulates = "yes" if reduction.accumulates else ""
        yield f"| `{reduction.name}` | {reduction.code} | {forms} | {accumulates} | {reduction.doc} |"
    yield ""


def _formats() -> Iterator[str]:
    yield "## Number formats\n\n| format | code | bits | kind in lanes |\n|---|---|---|---|"
    for item in Format:
        yield f"| `{item}` | {item.code} | {item.bits} | {item.kind} |"
    yield "\n| matrix mode | code | a and b | acc |\n|---|---|---|---|"
    for mode in MatrixMode:
        yield f"| `{mode}` | {mode.code} | {mode.operand} | {mode.accumulator} |"
    yield _PACKED
    yield "| operand values | code | format |\n|---|---|---|"
    for values in Values:
        yield f"| `{values.label}` | {values.code} | {values.stored or '-'} |"


def main() -> None:
    """Write docs/instructions.md beside this package."""
    path = Path(__file__).parent.parent / "docs" / "instructions.md"
    path.write_text(manual(), encoding="utf-8")


if __name__ == "__main__":
    main()
