"""Broken inputs for every command: files changed at random, words that do not belong, places that cannot be written.

A case is made of the command, which must have been right before, and a number; equal numbers give equal cases.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attnc.isa.container import container_parts, read_container

from .conftest import SHAPE

Words = list[str]

COMMANDS: dict[str, Words] = {
    "compile": ["compile", "model.onnx", *SHAPE, "-o", "new.attn", "--recipe", "recipe.toml"],
    "compile for a machine": ["compile", "model.onnx", *SHAPE, "-o", "new.attn", "--machine", "machine.toml"],
    "compile calibrated": [
        *["compile", "model.onnx", *SHAPE, "-o", "new.attn"],
        *["--precision", "int8", "--calibrate", "samples.npz"],
    ],
    "compile and dump": ["compile", "model.onnx", *SHAPE, "--dump-ir", "new", "--stop-after", "graph"],
    "go on from a dump": ["compile", "phases", "-o", "new.attn", "--start-from", "tile"],
    "run": ["run", "model.attn", "--input", "inputs.npz", "--output", "new.npz", "--json", "new.json", "--check"],
    "run and trace": ["run", "model.attn", "--random", "0", "--trace", "new.trace", "--instructions", "new.csv"],
    "run on a machine": ["run", "model.attn", "--random", "0", "--mode", "timing", "--machine", "machine.toml"],
    "evaluate": ["evaluate", "model.attn", "--data", "labelled.npz", "--json", "new.json"],
    "check": ["check", "model.onnx", *SHAPE, "--recipe", "recipe.toml", "--machine", "machine.toml"],
    "compare": ["compare", "model.onnx", *SHAPE, "--input", "inputs.npz"],
    "explore": ["explore", "model.onnx", *SHAPE, "--space", "space.toml", "--trials", "1", "--study", "new.db"],
    "diff": ["diff", "report.json", "model.attn"],
    "inspect": ["inspect", "model.attn"],
    "disasm": ["disasm", "model.attn", "-o", "new.asm"],
    "asm": ["asm", "model.asm", "-o", "new.attn"],
    "asm alone": ["asm", "alone.asm", "-o", "new.attn"],
    "machines": ["machines", "machine.toml"],
    "new-machine": ["new-machine", "wide", "--extends", "machine.toml", "-o", "new.toml"],
    "completion": ["completion", "bash"],
    "explain": ["explain", "E202"],
}
"""A right use of every command; its files are those of `prepare`, and what it writes is called new."""

RECIPE = """precision = "int8"
residual = "bf16"

[[layer]]
match = "encoder.0.*"
precision = "bf16"

[schedule]
prefetch = false
"""

MACHINE = """extends = "edge"
name = "other"
description = "edge with more bandwidth"

[dram]
bytes_per_cycle = 32

[energy_pj]
fetch = { value = 100.0, source = "guessed", assumed = true }
"""

SPACE = """[machine]
extends = "tiny"

[machine.dram]
bytes_per_cycle = { choice = [8, 16] }
"""

ALONE = """.machine "edge"
.input "x" type=float format=f32 shape=4 at=dram+0
.weight "w" at=dram+64 format=f32 shape=2 bytes=0000803F0000803F
.output "y" type=float format=f32 shape=4 at=dram+128
.label "scores" at=sram+64 bytes=128
ld ld.block element=4 dram=dram+0 chip=<scores> n3=4 dram_stride3=4 chip_stride3=4
st st.block element=4 dram=dram+128 chip=<scores> n3=4 dram_stride3=4 chip_stride3=4 @ld:1
"""


@dataclass(frozen=True)
class Case:
    """What is done: a command, and what is wrong with it."""

    words: Words
    wrong: str


def files_of(words: Words, folder: Path) -> list[Path]:
    """The files that a command reads."""
    found: list[Path] = []
    for word in words:
        path = folder / word
        if path.is_dir():
            found.extend(sorted(item for item in path.iterdir() if item.is_file()))
        elif path.is_file():
            found.append(path)
    return found


def fuzzed(words: Words, folder: Path, number: int) -> Case:
    """Make one thing wrong, in the files of `folder` or in the words."""
    chance = random.Random(f"{' '.join(words)} {number}")
    files = files_of(words, folder)
    if files and chance.random() < 0.7:
        path = chance.choice(files)
        change = chance.choice(_changes(path))
        path.write_bytes(change(path, chance))
        return Case(words, f"{change.__name__} of {path.name}")
    change = chance.choice(_WORD_CHANGES)
    return Case(change(list(words), chance), change.__name__)


Change = Callable[[Path, random.Random], bytes]


def _changes(path: Path) -> list[Change]:
    special: dict[str, list[Change]] = {
        ".attn": [entry_changed, tensor_changed, entry_changed, tensor_changed],
        ".onnx": [bytes_flipped, part_removed],
        ".toml": [word_replaced, line_lost, word_replaced],
        ".asm": [word_replaced, line_lost, word_replaced],
        ".mlir": [word_replaced, line_lost],
        ".json": [word_replaced, line_lost],
        ".npz": [arrays_changed, arrays_changed],
    }
    return [*special.get(path.suffix, []), bytes_flipped, cut_off, part_removed, part_repeated, replaced]


def bytes_flipped(path: Path, chance: random.Random) -> bytes:
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 4, 32))):
        if content:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(content)


def cut_off(path: Path, chance: random.Random) -> bytes:
    content = path.read_bytes()
    return content[: chance.randrange(len(content) + 1)]


def part_removed(path: Path, chance: random.Random) -> bytes:
    content = path.read_bytes()
    start = chance.randrange(len(content) + 1)
    return content[:start] + content[start + chance.randrange(1, 64) :]


def part_repeated(path: Path, chance: random.Random) -> bytes:
    content = path.read_bytes()
    start = chance.randrange(len(content) + 1)
    stop = start + chance.randrange(1, 256)
    return content[:stop] + content[start:]


def replaced(path: Path, chance: random.Random) -> bytes:
    del path
    return chance.choice((b"", b"\0" * 64, b"text\n", chance.randbytes(200), b"PK\x03\x04", b"[" * 3000, b"a = 1\n"))


def line_lost(path: Path, chance: random.Random) -> bytes:
    lines = path.read_bytes().split(b"\n")
    del lines[chance.randrange(len(lines))]
    return b"\n".join(lines)


def word_replaced(path: Path, chance: random.Random) -> bytes:
    words = path.read_text().split(" ")
    words[chance.randrange(len(words))] = chance.choice(_ODD)
    return " ".join(words).encode("utf-8", "surrogatepass")


_ODD = (
    *("", "0", "-1", "1e999", "nan", "99999999999999999999", '""', '"a"', "true", "[]", "{}", "null", "=", "1.5", "\n"),
    *("dram+0", "sram-64", "e99", "@ld:9", "@zz:1", "0x", "model.attn", "\u00e4\u20ac", "[[", "]", '"', "%0", "!"),
)


def entry_changed(path: Path, chance: random.Random) -> bytes:
    """Another value somewhere in a program's metadata, and a digest that fits."""
    metadata, tensors = _opened(path)
    table: Any = metadata
    while True:
        keys = list(table) if isinstance(table, dict) else list(range(len(table)))
        key = chance.choice(keys)
        if isinstance(table[key], dict | list) and table[key] and chance.random() < 0.8:
            table = table[key]
            continue
        table[key] = chance.choice((0, -1, 1 << 40, 1.5, "", "f32", None, [], {}, True, [0, 0], {"a": 1}))
        return b"".join(container_parts(metadata, tensors))


def tensor_changed(path: Path, chance: random.Random) -> bytes:
    """Other bytes, another shape or type of one of a program's tensors, or none."""
    metadata, tensors = _opened(path)
    name = chance.choice(list(tensors))
    array = tensors[name]
    match chance.randrange(4):
        case 0:
            del tensors[name]
        case 1:
            tensors[name] = array[: len(array) // 2] if array.ndim else array
        case 2:
            tensors[name] = np.frombuffer(array.tobytes(), np.uint8)
        case _:
            content = bytearray(array.tobytes())
            for _ in range(chance.choice((1, 8))):
                if content:
                    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            tensors[name] = np.frombuffer(bytes(content), array.dtype).reshape(array.shape)
    return b"".join(container_parts(metadata, tensors))


def _opened(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    metadata, tensors = read_container(path.read_bytes(), str(path))
    return {key: value for key, value in metadata.items() if key != "digest"}, tensors


def arrays_changed(path: Path, chance: random.Random) -> bytes:
    """Another shape, type or name of an array, or another value in it."""
    with np.load(path) as stored:
        arrays = dict(stored)
    name = chance.choice(list(arrays))
    array = arrays.pop(name)
    others: list[Callable[[], Any]] = [
        lambda: array.astype(chance.choice((np.float64, np.float16, np.int8, np.uint64, np.complex64, np.bool_, "U3"))),
        lambda: array.reshape(-1),
        lambda: array[..., :0],
        lambda: array[None],
        lambda: np.repeat(array, 2, chance.randrange(array.ndim) if array.ndim else None),
        lambda: np.where(np.arange(array.size).reshape(array.shape) == 0, np.iinfo(np.int64).max, array),
        lambda: -array,
        lambda: np.zeros((), array.dtype),
    ]
    arrays[chance.choice((name, name, name, "other", "../up", ""))] = chance.choice(others)()
    new = path.with_suffix(".new.npz")
    np.savez(new, **{key or "_": value for key, value in arrays.items()})
    content = new.read_bytes()
    new.unlink()
    return content


def word_lost(words: Words, chance: random.Random) -> Words:
    del words[chance.randrange(len(words))]
    return words


def word_doubled(words: Words, chance: random.Random) -> Words:
    place = chance.randrange(len(words))
    return [*words[:place], words[place], *words[place:]]


def word_odd(words: Words, chance: random.Random) -> Words:
    odd = (
        "",
        "-",
        "--",
        "-1",
        "nobody",
        ".",
        "..",
        "none/none",
        "x" * 300,
        "a\nb",
        "\u00e4\u20ac",
        "--all",
        "--json",
        "/",
    )
    if len(words) > 1:
        words[chance.randrange(1, len(words))] = chance.choice(odd)
    return words


def word_changed(words: Words, chance: random.Random) -> Words:
    place = chance.randrange(len(words))
    word = list(words[place])
    word[chance.randrange(len(word))] = chance.choice(string.printable.strip())
    words[place] = "".join(word)
    return words


def option_added(words: Words, chance: random.Random) -> Words:
    options = (
        *(["--shape", "ids=0x6"], ["--shape", "ids=1x99999999"], ["--shape", "ids=1x7"], ["--shape", "ids=6"]),
        *(["--machine", "tiny"], ["--machine", "/"], ["--recipe", "."], ["--precision", "bf16"], ["--calibrate", "/"]),
        *(["--random", "-1"], ["--random", str(1 << 70)], ["--rtol", "nan"], ["--rtol", "-1"], ["--atol", "inf"]),
        *(
            ["--log", "--until", "3"],
            ["--mode", "values"],
            ["--mode", "timing"],
            ["--labels", "ids"],
            ["--output", "y"],
        ),
        *(["--stop-after", "emit"], ["--start-from", "import"], ["--start-from", "emit"], ["--trials", "-1"]),
        *(["--workers", "0"], ["--at-most", "area=x"], ["--objective", "beauty"], ["--scheduler", "nowhere"]),
        *(
            ["-o", "locked/new"],
            ["-o", "taken"],
            ["--json", "taken"],
            ["--report", "none/new.html"],
            ["--save", "model.onnx"],
        ),
        *(["--dump-ir", "model.onnx"], ["--dump-ir", "none/new"], ["--ir", "none"], ["--extends", "none"]),
    )
    return [*words, *chance.choice(options)]


_WORD_CHANGES = (word_lost, word_doubled, word_odd, word_changed, option_added, option_added)
