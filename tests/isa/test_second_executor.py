"""Random legal programs, run by the records and by a second executor that knows only docs/instructions.md.

The second executor finds fields, codes and formats in the tables of that page, reads the words as bits, and
works element by element on bytes with Python numbers. Values whose last places are open (float sums,
exponentials) go to a sink that nothing reads and compare within rounding; every other byte must be equal.
"""

import math
import re
import struct
from pathlib import Path

import numpy as np
import pytest

MANUAL = (Path(__file__).parents[2] / "docs" / "instructions.md").read_text(encoding="utf-8")


def table_rows(text):
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]


def read_manual():
    fields, opcodes = {}, {}
    for section in MANUAL.split("\n## ")[1:]:
        name = section.splitlines()[0]
        opcode = re.search(r"^Opcode (0x\w+)", section, re.M)
        if opcode:
            opcodes[int(opcode[1], 16)] = name
            fields[name] = [
                (row[0], int(row[1].split("..")[0]), int(row[1].split("..")[-1]), row[2]) for row in table_rows(section)
            ]
    lanes = MANUAL.split("\n## Lane programs")[1]
    functions, reductions = (part for part in lanes.split("| reduction |"))
    formats, modes = MANUAL.split("\n## Number formats")[1].split("| matrix mode |")
    modes, values = modes.split("| operand values |")
    return (
        fields,
        opcodes,
        {int(row[1]): row[0] for row in table_rows(functions)},
        {int(row[1]): row[0] for row in table_rows(reductions.split("\n## ")[0])},
        {int(row[1]): row[0] for row in table_rows(formats)},
        {int(row[1]): (row[2], row[3]) for row in table_rows(modes)},
        {int(row[1]): (row[0], row[2]) for row in table_rows(values)},
        {row[0]: int(row[2]) for row in table_rows(formats)},
    )


FIELDS, OPCODES, FUNCTIONS, REDUCTIONS, FORMATS, MODES, VALUES, BITS = read_manual()
CODES = {"f32": "<f", "f16": "<e", "i32": "<i", "i8": "<b", "u8": "<B"}
SIZES = {"f32": 4, "f16": 2, "i32": 4, "i8": 1, "u8": 1, "bool": 1}


def float32(value):
    with np.errstate(all="ignore"):
        return float(np.float32(value))


def int32(value):
    return (value + 2**31) % 2**32 - 2**31


def saturated(value, low, high):
    return 0 if math.isnan(value) else low if value < low else high if value > high else math.trunc(value)


def lane(name, operands):
    a, b, c = (*operands, None, None)[:3]
    real = isinstance(a, float)
    arithmetic = {"add": lambda: a + b, "sub": lambda: a - b, "mul": lambda: a * b, "neg": lambda: -a}
    if name in arithmetic:
        return float32(arithmetic[name]()) if real else int32(arithmetic[name]())
    return {
        "min": lambda: min(a, b),
        "max": lambda: max(a, b),
        "abs": lambda: abs(a) if real else int32(abs(a)),
        "floor": lambda: float(math.floor(a)),
        "rint": lambda: float(round(a)),
        "sign": lambda: type(a)((a > 0) - (a < 0)),
        "sqrt": lambda: float32(math.sqrt(a)) if a >= 0 else math.nan,
        "exp": lambda: float32(math.exp(min(a, 700.0))),
        "lt": lambda: a < b,
        "ge": lambda: a >= b,
        "above": lambda: a > b,
        "prune": lambda: 0.0 if abs(a) <= b else a,
        "eq": lambda: a == b,
        "and": lambda: a and b,
        "not": lambda: not a,
        "select": lambda: b if a else c,
        "bit_xor": lambda: a ^ b,
        "shift_right": lambda: 0 if b < 0 else a >> min(b, 31),
        "to_float": lambda: float32(a),
        "to_int": lambda: saturated(a, -(2**31), 2**31 - 1) if real else int(a),
        "to_bool": lambda: a != 0,
    }[name]()


class SecondExecutor:
    def __init__(self, dram, sram, acc):
        self.memory = {"dram": dram, "sram": sram, "acc": acc}
        self.registers, self.slots = [0] * 32, {}

    def place(self, address):
        return ("acc", address - 2**31) if address >> 31 else ("sram", address)

    def field(self, place, number, element):
        """Bits of element `element` of a packed row, as int."""
        bits, (memory, address) = BITS[number], place
        byte = int(self.memory[memory][address + element * bits // 8])
        value = byte >> element * bits % 8 & (1 << bits) - 1
        return value - (1 << bits) if number.startswith("i") and value >> bits - 1 else value

    def read(self, place, number, element=0):
        if number in BITS and BITS[number] < 8:
            value = self.field(place, number, element)
            return bool(value) if number == "b1" else value
        memory, address = place[0], place[1] + element * SIZES[number]
        raw = bytes(self.memory[memory][address : address + SIZES[number]])
        if number == "bool":
            return raw[0] != 0
        return struct.unpack(CODES[number], raw)[0]

    def write_packed(self, place, number, values):
        """A packed row; the bits behind its last element become zero."""
        bits, (memory, address) = BITS[number], place
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if number.startswith("i") else (0, (1 << bits) - 1)
        row = 0
        for element, value in enumerate(values):
            if number == "b1":
                whole = int(value != 0)
            else:
                whole = saturated(value, low, high) if isinstance(value, float) else int(value)
            row |= whole % (1 << bits) << element * bits
        raw = row.to_bytes(-(-len(values) * bits // 8), "little")
        self.memory[memory][address : address + len(raw)] = np.frombuffer(raw, np.uint8)

    def write(self, place, number, value):
        memory, address = place
        if number == "bool":
            raw = bytes([value != 0])
        elif number in ("i8", "u8", "i32"):
            bits = 8 * SIZES[number]
            low, high = (0, 255) if number == "u8" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            whole = saturated(value, low, high) if isinstance(value, float) else int(value)
            raw = (whole % 2**bits).to_bytes(SIZES[number], "little")
        else:
            with np.errstate(over="ignore"):
                raw = np.array([value]).astype(np.float32 if number == "f32" else np.float16).tobytes()
        self.memory[memory][address : address + len(raw)] = np.frombuffer(raw, np.uint8)

    def run(self, words):
        for word in words:
            bits = int.from_bytes(word.tobytes(), "little")
            name = OPCODES[bits & 0xFF]
            values, zero = {}, False
            for field, first, last, kind in FIELDS[name]:
                width = last - first + 1
                value = bits >> first & (1 << width) - 1
                if kind.startswith(("stride", "signed")) and value >> width - 1:
                    value -= 1 << width
                if kind == "extent":
                    value = self.registers[value & 31] if value >> 16 else value
                    zero |= value == 0 and (name, field) != ("mx.masked", "packed")
                values[field] = value
            if not zero:
                getattr(self, name.replace(".", "_"))(values, bits >> 8 & 15)

    def sync(self, v, queue):
        pass

    def set_extent(self, v, queue):
        self.registers[v["register"]] = v["value"]

    def load_extent(self, v, queue):
        self.registers[v["register"]] = self.read(self.place(v["address"]), "i32")

    def block(self, v, load):
        width, (memory, chip) = 1 << v["element"], self.place(v["chip"])
        source, target = ("dram", memory) if load else (memory, "dram")
        for index in np.ndindex(v["n0"], v["n1"], v["n2"], v["n3"]):
            outer = v["dram"] + sum(i * v[f"dram_stride{d}"] for d, i in enumerate(index))
            inner = chip + sum(i * v[f"chip_stride{d}"] for d, i in enumerate(index))
            start, stop = (outer, inner) if load else (inner, outer)
            self.memory[target][stop : stop + width] = self.memory[source][start : start + width]

    def ld_block(self, v, queue):
        self.block(v, True)

    def st_block(self, v, queue):
        self.block(v, False)

    def rows(self, v, load):
        memory, chip = self.place(v["chip"])
        for place in range(v["count"]):
            row = self.read((self.place(v["ids"])[0], self.place(v["ids"])[1] + 4 * place), "i32")
            outer, inner = v["table"] + row * v["pitch"], chip + place * v["chip_stride"]
            for byte in range(v["row_bytes"]):
                if load:
                    self.memory[memory][inner + byte] = self.memory["dram"][outer + byte]
                else:
                    self.memory["dram"][outer + byte] = self.memory[memory][inner + byte]

    def ld_gather(self, v, queue):
        self.rows(v, True)

    def st_scatter(self, v, queue):
        self.rows(v, False)

    def mx_product(self, v, queue, kept=lambda i, j, k: True):
        operand, result = MODES[v["mode"]]
        if BITS[operand] < 8:
            self.packed_product(v, operand, kept)
            return
        size = SIZES[operand]
        for i in range(v["m"]):
            for j in range(v["n"]):
                total = 0
                for k in filter(lambda k: kept(i, j, k), range(v["k"])):
                    row, column = (j, k) if v["transpose_b"] else (k, j)
                    left = self.read(("sram", v["a"] + i * v["a_stride"] + k * size), operand)
                    total += left * self.read(("sram", v["b"] + row * v["b_stride"] + column * size), operand)
                place = ("acc", v["acc"] - 2**31 + i * v["acc_stride"] + 4 * j)
                if v["accumulate"]:
                    total += self.read(place, result)
                self.write(place, result, int32(total) if result == "i32" else float(total))

    def packed_product(self, v, own, kept):
        def operand(name, row, k):
            values, stored = VALUES[v[f"{name}_values"]]
            stored = own if values == "own" else stored
            value = int(self.read(("sram", v[name] + row * v[f"{name}_stride"]), stored, k))
            return 2 * value - 1 if values == "bipolar" or (values == "own" and own == "b1") else value

        for i in range(v["m"]):
            for j in range(v["n"]):
                total = sum(operand("a", i, k) * operand("b", j, k) for k in range(v["k"]) if kept(i, j, k))
                place = ("acc", v["acc"] - 2**31 + i * v["acc_stride"] + 4 * j)
                self.write(place, "i32", int32(total + (self.read(place, "i32") if v["accumulate"] else 0)))

    def bit(self, v, row, column):
        return self.field(self.place(v["mask"] + row * v["mask_stride"]), "b1", column)

    def mx_masked(self, v, queue):
        left = v["masked"]
        self.mx_product(v, queue, lambda i, j, k: self.bit(v, i, k if left else j))

    def mx_structured(self, v, queue):
        operand, result = MODES[v["mode"]]
        kept, group, size = v["kept"], 2 << v["group"], SIZES[operand]
        index = {2: "b1", 4: "u2", 8: "u4", 16: "u4"}[group]
        for i in range(v["m"]):
            for n in range(v["n"]):
                total = 0
                for j in range(kept * math.ceil(v["k"] / group)):
                    place = self.place(v["indices"] + j * v["indices_stride"])
                    k = group * (j // kept) + int(self.field(place, index, n)) % group
                    if k < v["k"]:
                        left = self.read(("sram", v["a"] + i * v["a_stride"] + k * size), operand)
                        total += left * self.read(("sram", v["b"] + j * v["b_stride"] + n * size), operand)
                place = ("acc", v["acc"] - 2**31 + i * v["acc_stride"] + 4 * n)
                if v["accumulate"]:
                    total += self.read(place, result)
                self.write(place, result, int32(total) if result == "i32" else float(total))

    def sx_top(self, v, queue):
        for row in range(v["rows"]):
            place = self.place(v["values"] + row * v["values_stride"])
            values = [self.read(place, FORMATS[v["format"]], column) for column in range(v["columns"])]
            best = sorted(range(len(values)), key=lambda column: (-values[column], column))[: v["keep"]]
            target = self.place(v["mask"] + row * v["mask_stride"])
            self.write_packed(target, "b1", [column in best for column in range(v["columns"])])

    def sx_compact(self, v, queue):
        columns = [c for c in range(v["columns"]) if any(self.bit(v, row, c) for row in range(v["rows"]))]
        for place in range(v["columns"]):
            value = columns[place] if place < len(columns) else 0
            self.write(self.place(v["ids"] + 4 * place), "i32", value)
        self.write(self.place(v["count"]), "i32", len(columns))

    def sx_pack(self, v, queue):
        total = 0
        for first in range(0, v["rows"], v["height"]):
            strip = range(first, min(first + v["height"], v["rows"]))
            for start in range(0, v["columns"], v["window"]):
                window = range(start, min(start + v["window"], v["columns"]))
                kept = sum(self.bit(v, row, column) for row in strip for column in window)
                total += math.ceil(kept / v["width"])
        self.write(self.place(v["count"]), "i32", total)

    def sx_gather(self, v, queue):
        rows = []
        for place in range(v["count"]):
            memory, start = self.place(v["table"])
            start += self.read(self.place(v["ids"] + 4 * place), "i32") * v["table_stride"]
            rows.append(self.memory[memory][start : start + v["row_bytes"]].copy())
        for place, row in enumerate(rows):
            memory, start = self.place(v["out"] + place * v["out_stride"])
            self.memory[memory][start : start + v["row_bytes"]] = row

    def vx_program(self, v, queue):
        self.slots[queue, v["slot"]] = v

    def vx_pass(self, v, queue):
        program, rows, columns = self.slots[queue, v["slot"]], v["rows"], v["columns"]
        kept = {}
        for row in range(rows):
            for column in range(columns):
                kept[row, column] = self.element(v, program, row, column)
        if program["output"] != 31:
            memory, base = self.place(v["out"])
            number = FORMATS[v["out_format"]]
            for row in range(rows):
                values = [kept[row, column][program["output"]] for column in range(columns)]
                place = base + row * v["out_stride"]
                if BITS[number] < 8:
                    self.write_packed((memory, place), number, values)
                    continue
                for column, value in enumerate(values):
                    self.write((memory, place + column * SIZES[number]), number, value)
        for which in ("reduction0", "reduction1"):
            if program[which] & 7:
                self.reduce(v, which, REDUCTIONS[program[which] & 7], program[which] >> 3, kept)

    def element(self, v, program, row, column):
        sources = {10: row, 11: column}
        for code, name in enumerate("ab"):
            if v[f"{name}_format"] != 15:
                number = FORMATS[v[f"{name}_format"]]
                memory, base = self.place(v[name])
                sources[code] = self.read((memory, base + row * v[f"{name}_stride"]), number, column)
        for index in range(4):
            kind = v[f"c{index}_kind"]
            if kind:
                number = FORMATS[v[f"c{index}_format"]]
                memory, base = self.place(v[f"c{index}"])
                sources[2 + index] = self.read((memory, base + (0, 0, column, row)[kind] * SIZES[number]), number)
        for index in range(4):
            raw = program[f"immediate{index}"].to_bytes(4, "little")
            sources[6 + index] = struct.unpack("<f" if program["floats"] >> index & 1 else "<i", raw)[0]
        for index in range(8):
            operation = program[f"operation{index}"]
            if operation & 0x7F:
                codes = [operation >> shift & 31 for shift in (7, 12, 17)]
                operands = [sources[code] for code in codes if code != 31]
                sources[16 + index] = lane(FUNCTIONS[operation & 0x7F], operands)
        return sources

    def reduce(self, v, which, name, source, kept):
        memory, base = self.place(v[which])
        axis = v[f"{which}_direction"] - 1
        groups = {}
        for place, sources in kept.items():
            groups.setdefault(place[axis], []).append(sources[source])
        for place, values in groups.items():
            number = "f32" if isinstance(values[0], float) or name in ("mean", "variance") else "i32"
            mean = sum(values) / len(values)
            result = {
                "sum": lambda: sum(values),  # noqa: B023 - called at once
                "max": lambda: max(values),  # noqa: B023
                "min": lambda: min(values),  # noqa: B023
                "mean": lambda: mean,  # noqa: B023
                "variance": lambda: sum((x - mean) ** 2 for x in values) / len(values),  # noqa: B023
            }[name]()
            target = (memory, base + 4 * place)
            if v["accumulate"]:
                old = self.read(target, number)
                result = {"sum": old + result, "max": max(old, result), "min": min(old, result)}[name]
            self.write(target, number, int32(int(result)) if number == "i32" else float(result))


# ------------------------------------------------------------------------------------------------ programs

from attnc.isa.analysis import Analysis  # noqa: E402 - not known above
from attnc.isa.fields import ACC_BIT, extent_register  # noqa: E402
from attnc.isa.formats import Format  # noqa: E402
from attnc.isa.instructions import VectorProgram  # noqa: E402
from attnc.isa.lanes import LaneProgram  # noqa: E402
from attnc.isa.machine import load_machine  # noqa: E402
from attnc.isa.state import State  # noqa: E402
from attnc.isa.table import TableBuilder  # noqa: E402

MACHINE = load_machine("edge-structured")
DRAM, USED = 2048, 3072
# Regions of SRAM (and of DRAM, at the same places) hold one format each: no byte is read as another.
REGION = {"f32": 0, "i32": 512, "i8": 1024, "bool": 1536, "f16": 1792}
REGION |= dict.fromkeys(("b1", "i2", "u2", "i4", "u4"), REGION["i8"])
IDS, SINK = 2048, 2560

EXACT = [
    ("f32", "f32", "r0 = add(a, c0); r1 = max(r0, 0.5); out r1; reduce max(r1)"),
    ("f32", "f32", "r0 = mul(a, b); r1 = abs(r0); r2 = sqrt(r1); out r2; reduce min(r2)"),
    ("f32", "i8", "r0 = mul(a, 3.25); r1 = rint(r0); out r1"),
    ("f32", "bool", "r0 = lt(a, b); r1 = not(r0); out r1; reduce sum(r1)"),
    ("f32", "f16", "r0 = sub(a, c0); r1 = floor(r0); out r1"),
    ("f16", "f32", "r0 = sign(a); r1 = neg(r0); r2 = ge(col, row); r3 = select(r2, a, r1); out r3"),
    (
        "i32",
        "i32",
        "r0 = sub(a, b); r1 = shift_right(r0, 3); r2 = bit_xor(r1, c0); out r2; reduce sum(r2)",
    ),
    ("i32", "i8", "r0 = mul(a, c0); out r0; reduce min(r0)"),
    ("i32", "f32", "r0 = to_float(a); r1 = mul(r0, 1.4901161e-08); out r1"),
    ("i8", "f16", "r0 = to_float(a); r1 = to_bool(b); r2 = to_float(r1); r3 = add(r0, r2); out r3"),
    ("i8", "i32", "r0 = add(a, row); r1 = mul(r0, col); out r1; reduce max(r1)"),
    ("bool", "bool", "r0 = and(a, b); out r0; reduce sum(r0)"),
    ("f32", "b1", "r0 = ge(a, c0); out r0; reduce sum(r0)"),
    ("i32", "b1", "r0 = lt(a, c0); r1 = not(r0); out r1"),
    ("i8", "bool", "r0 = above(a, 1000); out r0"),
    ("f32", "i2", "r0 = rint(a); out r0"),
    ("i32", "u4", "r0 = shift_right(a, 24); out r0"),
    ("b1", "i32", "r0 = to_int(a); r1 = add(r0, row); out r1; reduce max(r1)"),
    ("u2", "i8", "r0 = mul(a, col); out r0"),
    ("i4", "i4", "r0 = neg(a); out r0; reduce sum(a)"),
]
OPEN = [
    ("f32", "r0 = exp(a); out r0; reduce sum(a)"),
    ("f32", "r0 = mul(a, b); out r0; reduce mean(r0); reduce variance(a)"),
]


class Generator:
    """Random legal programs of every instruction, on extents of a few elements."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.builder = TableBuilder()
        self.builder.append("set.extent", 0, {"register": 1, "value": self.pick(0, 4), "maximum": 4})

    def pick(self, low, high):
        return int(self.random.integers(low, high + 1))

    def extent(self):
        return extent_register(1) if self.pick(0, 9) == 0 else self.pick(1, 4)

    def inside(self, number):
        """A place in a region of SRAM from which 4 x 8 elements with a pitch of 32 bytes fit."""
        return REGION[number] + 4 * self.pick(0, 16)

    def copy(self):
        number = str(self.random.choice([number for number in REGION if number in SIZES]))
        width = SIZES[number]
        fields = {"element": {1: 0, 2: 1, 4: 2}[width], "n2": self.extent(), "n3": self.extent()}
        dram = REGION[number] + 4 * self.pick(0, 8)
        if self.pick(0, 1):  # rows backwards
            fields |= {"dram": dram + 96, "dram_stride2": -32}
        else:
            fields |= {"dram": dram, "dram_stride2": 32}
        fields |= {
            "chip": self.inside(number),
            "chip_stride2": 32,
            "dram_stride3": width,
            "chip_stride3": width,
        }
        load = self.pick(0, 1)
        if load and self.pick(0, 1):  # transposed
            fields |= {"chip_stride2": width, "chip_stride3": 32}
        self.builder.append("ld.block" if load else "st.block", 0 if load else 1, fields)

    def rows(self):
        load = self.pick(0, 1)
        fields = {
            "table": REGION["i8"],
            "pitch": 20,
            "limit": 8,
            "ids": IDS,
            "count": self.extent(),
            "row_bytes": self.pick(1, 20),
            "chip": REGION["i8"] + self.pick(0, 99),
            "chip_stride": 24,
        }
        self.builder.append("ld.gather" if load else "st.scatter", 0 if load else 1, fields)

    def operands(self, number):
        """Fields of a product of int8 or float32 numbers."""
        mode, acc = {"i8": (3, 0), "f32": (0, 512)}[number]
        return {
            "mode": mode,
            "acc": ACC_BIT + acc,
            "a": self.inside(number),
            "b": self.inside(number),
            "m": self.extent(),
            "n": self.extent(),
            "k": self.extent(),
            "acc_stride": 32,
            "a_stride": 32,
            "b_stride": 32,
            "accumulate": self.pick(0, 1),
        }

    def number(self):
        return ("f32", "i8")[self.pick(0, 1)]

    def product(self):
        if self.pick(0, 1):
            self.packed_product()
            return
        self.builder.append("mx.product", 2, {**self.operands(self.number()), "transpose_b": self.pick(0, 1)})

    def packed_product(self):
        mode = self.pick(4, 6)
        fields = {
            "mode": mode,
            "acc": ACC_BIT,
            "a": self.inside("i8") + self.pick(0, 3),
            "b": self.inside("i8") + self.pick(0, 3),
            "m": self.extent(),
            "n": self.extent(),
            "k": self.pick(1, 40),
            "acc_stride": 32,
            "a_stride": 44,
            "b_stride": 24,
            "accumulate": self.pick(0, 1),
            "transpose_b": 1,
            "a_values": self.pick(0, 8),
            "b_values": int(self.random.choice({4: [0, 5, 6], 5: [0, 3], 6: [0, 1, 2]}[mode])),
        }
        self.builder.append("mx.product", 2, fields)

    def masked_product(self):
        left, number = self.pick(0, 1), self.number()
        fields = {
            "mask": self.inside("i8"),
            "mask_stride": 8,
            "masked": left,
            "packed": 16,
            "window": self.pick(1, 9),
            "width": {"i8": 32, "f32": 4}[number] if left else 32,
        }
        self.builder.append("mx.masked", 2, {**self.operands(number), **fields})

    def structured_product(self):
        kept, group = ((1, 0), (1, 1), (2, 1), (1, 2), (2, 2), (4, 2))[self.pick(0, 5)]
        fields = {"indices": self.inside("i8"), "indices_stride": self.pick(4, 8), "kept": kept, "group": group}
        self.builder.append("mx.structured", 2, {**self.operands(self.number()), **fields})

    def sparse(self):
        mask = {"mask": self.inside("i8"), "mask_stride": 8, "rows": self.extent(), "columns": self.pick(1, 8)}
        match self.pick(0, 3):
            case 0:
                number = ("f32", "i32")[self.pick(0, 1)]
                values = {"values": self.inside(number), "values_stride": 32, "format": Format.parse(number).code}
                self.builder.append("sx.top", 4, {**mask, **values, "keep": self.extent()})
            case 1:
                self.builder.append("sx.compact", 4, {**mask, "ids": IDS, "count": self.inside("i32")})
            case 2:
                counted = {"count": self.inside("i32"), "window": self.pick(1, 5), "width": self.pick(1, 3)}
                self.builder.append("sx.pack", 4, {**mask, **counted})
            case _:
                fields = {"table": REGION["i8"], "table_stride": 20, "limit": 8, "ids": IDS, "count": self.extent()}
                fields |= {"row_bytes": self.pick(1, 20), "out": REGION["i8"] + self.pick(0, 99), "out_stride": 24}
                self.builder.append("sx.gather", 4, fields)

    def vector(self):
        open_ended = self.pick(0, 4) == 0
        if open_ended:
            (number, text), output = OPEN[self.pick(0, len(OPEN) - 1)], "f32"
        else:
            number, output, text = EXACT[self.pick(0, len(EXACT) - 1)]
        program, slot = LaneProgram.parse(text), self.pick(0, 31)
        self.builder.append("vx.program", 3, VectorProgram.encoded(slot, program))
        code, out_code = Format.parse(number).code, Format.parse(output).code
        out = SINK if open_ended else self.inside(output)
        fields = {"slot": slot, "rows": self.extent(), "columns": self.extent(), "out": out, "out_stride": 32}
        fields |= {"out_format": out_code, "a": self.inside(number), "a_stride": 32, "a_format": code}
        if number == "i32" and self.pick(0, 1):
            fields["a"] = ACC_BIT + 4 * self.pick(0, 8)
        if "b" in {source.text for source in program.used}:
            fields |= {"b": self.inside(number), "b_stride": self.pick(0, 1) * 32, "b_format": code}
        if "c0" in {source.text for source in program.used}:
            fields |= {"c0": self.inside(number), "c0_kind": self.pick(1, 3), "c0_format": code}
        for index, (name, source) in enumerate(program.reductions):
            real = open_ended or (number == "f32" and not (name == "sum" and output == "bool"))
            place = SINK + 256 + 32 * index if open_ended else self.inside("f32" if real else "i32")
            del source
            fields |= {f"reduction{index}": place, f"reduction{index}_direction": self.pick(1, 2)}
        accumulates = not any(name in ("mean", "variance") for name, _ in program.reductions)
        fields["accumulate"] = int(bool(program.reductions) and accumulates and self.pick(0, 1))
        self.builder.append("vx.pass", 3, fields)

    def control(self):
        if self.pick(0, 1):
            self.builder.append("set.extent", 1, {"register": 1, "value": self.pick(0, 4), "maximum": 4})
        else:
            self.builder.append("load.extent", 2, {"register": 1, "address": IDS + 4 * self.pick(0, 3), "maximum": 8})
            self.builder.append("set.extent", 1, {"register": 1, "value": self.pick(0, 4), "maximum": 4})
        self.builder.append("sync", 1, {})

    def table(self):
        products = (self.product, self.masked_product, self.structured_product)
        every = (self.copy, self.rows, *products, self.sparse, self.vector, self.vector)
        for _ in range(6):
            (*every, self.control)[self.pick(0, 7)]()
        return self.builder.build()

    def memory(self):
        memory = np.zeros(USED, dtype=np.uint8)
        floats = (self.random.integers(-40, 41, 128) / 8).astype(np.float32)
        memory[:512] = floats.view(np.uint8)
        memory[512:1024] = self.random.integers(-(2**31), 2**31, 128).astype(np.int32).view(np.uint8)
        memory[1024:1536] = self.random.integers(0, 256, 512)
        memory[1536:1792] = self.random.integers(0, 2, 256)
        memory[1792:2048] = (self.random.integers(-40, 41, 128) / 8).astype(np.float16).view(np.uint8)
        memory[IDS : IDS + 64] = self.random.integers(0, 8, 16).astype(np.int32).view(np.uint8)
        return memory


def compare(seed):
    generator = Generator(seed)
    table = generator.table()
    Analysis(table).check(MACHINE, DRAM)
    dram, sram = generator.memory()[:DRAM], generator.memory()
    acc = generator.memory()[512:1536]
    acc[512:] = (np.arange(128) / 4).astype(np.float32).view(np.uint8)
    state = State(MACHINE, dram.copy())
    state.sram[:USED], state.acc[:1024] = sram, acc
    second = SecondExecutor(dram.copy(), sram.copy(), acc.copy())
    for _, instruction in table.walk():
        instruction.perform(state)
    second.run(table.encode())
    message = f"seed {seed}:\n" + "\n".join(table.text(row) for row in range(len(table)))
    np.testing.assert_array_equal(state.dram, second.memory["dram"], message)
    np.testing.assert_array_equal(state.sram[:SINK], second.memory["sram"][:SINK], message)
    np.testing.assert_array_equal(state.acc[:512], second.memory["acc"][:512], message)
    for got, wanted in (
        (state.sram[SINK:USED], second.memory["sram"][SINK:]),
        (state.acc[512:1024], second.memory["acc"][512:]),
    ):
        np.testing.assert_allclose(got.view(np.float32), wanted.view(np.float32), rtol=1e-5, atol=1e-5, err_msg=message)


@pytest.mark.parametrize("block", [0, 1, *(pytest.param(block, marks=pytest.mark.slow) for block in range(2, 10))])
def test_random_programs_agree_with_the_manual(block):
    for seed in range(100 * block, 100 * block + 100):
        compare(seed)
