"""Options that several commands share, each declared once, and how their values are read and written."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from ...isa.errors import InputError, OutputError, UsageError
from ...isa.files import write_beside
from ...passes.few_bit_options import SIGNS
from ...passes.precisions import PRECISIONS, UNTRAINED

if TYPE_CHECKING:
    from ...isa.formats import Array

STDOUT = Path("-")


class Asked(TypedDict):
    """Arguments that `attnc.compile`, `attnc.check` and `attnc.compare` all take."""

    machine: str | None
    shapes: dict[str, tuple[int, ...]]
    constants: dict[str, Array]
    precision: str | None
    sign: str | None
    attention: str | None
    detect_structure: bool
    sparsify: float | None
    calibrate: Path | None
    recipe: Path | None


def add_compilation_options(parser: ArgumentParser) -> None:
    """What says which model is compiled, with which shapes, for which machine, and how it is changed on its way."""
    parser.add_argument("model", metavar="MODEL.onnx", type=Path, help="the ONNX model")
    parser.add_argument(
        "--shape",
        metavar="NAME=1x128",
        action="append",
        default=[],
        help="shape of a graph input; fixes its named dimensions everywhere (repeat for more inputs)",
    )
    parser.add_argument(
        "--constants",
        metavar="NPZ",
        type=Path,
        help="graph inputs bound to these values now, one array each: the program takes them no more",
    )
    add_machine_option(parser)
    parser.add_argument(
        "--precision",
        metavar="FORMAT",
        choices=PRECISIONS,
        help="number format of the products: model (as it says, the default), fp16, bf16, int8, or for exploring,"
        f" untrained: {', '.join(UNTRAINED)} (bits of weights and activations)",
    )
    parser.add_argument(
        "--sign",
        choices=SIGNS,
        help="the zero of Sign where one bit takes it: a fault (default), a third value, or +1",
    )
    parser.add_argument(
        "--attention",
        metavar="FORM",
        help="form of the attentions: window:64,global:1 and others (docs/attention-forms.md)",
    )
    parser.add_argument(
        "--detect-structure",
        action="store_true",
        help="find weights that obey an N:M of the machine's array, and multiply them compressed; find butterfly"
        " matrices written in stages, and merge these",
    )
    parser.add_argument(
        "--sparsify",
        metavar="THRESHOLD",
        type=float,
        help="activations that enter products and whose magnitude is not above this are zero, and are skipped",
    )
    parser.add_argument(
        "--calibrate",
        metavar="NPZ",
        type=Path,
        help="samples for static ranges of activations and for attention maps, one array an input",
    )
    parser.add_argument("--recipe", metavar="FILE", type=Path, help="co-design recipe (TOML); flags override it")


def add_machine_option(parser: ArgumentParser, text: str = "machine name or file (default: edge)") -> None:
    """What says for which machine."""
    parser.add_argument("--machine", metavar="NAME|FILE", help=text)


def add_output_option(parser: ArgumentParser, metavar: str) -> None:
    """Where text goes, if not to stdout."""
    parser.add_argument("-o", "--output", metavar=metavar, type=Path, help="file to write instead of stdout")


def add_quiet_option(parser: ArgumentParser) -> None:
    """What silences progress."""
    parser.add_argument("--quiet", action="store_true", help="no progress and no warnings on stderr")


def asked_of(options: Namespace) -> Asked:
    """What the options of `add_compilation_options` say. Raises InputError for an array file that cannot be read, and
    what `shapes_of` raises."""
    from ...runtime.arrays import read_arrays

    return {
        "machine": options.machine,
        "shapes": shapes_of(options),
        "constants": {} if options.constants is None else read_arrays(options.constants),
        "precision": options.precision,
        "sign": options.sign,
        "attention": options.attention,
        "detect_structure": options.detect_structure,
        "sparsify": options.sparsify,
        "calibrate": options.calibrate,
        "recipe": options.recipe,
    }


def shapes_of(options: Namespace) -> dict[str, tuple[int, ...]]:
    """The `--shape` options as a mapping. Raises UsageError for one that is not NAME=1x128."""
    shapes: dict[str, tuple[int, ...]] = {}
    given: list[str] = options.shape
    for text in given:
        name, separator, extents = text.rpartition("=")
        parts: list[str] = extents.lower().split("x") if extents else []
        if not separator or not name or not all(part.isascii() and part.isdigit() for part in parts):
            raise UsageError(f"--shape {text!r} is not understood", "write NAME=1x128")
        shape = tuple(map(int, parts))
        if shapes.setdefault(name, shape) != shape:
            raise UsageError(f"--shape gives {name!r} twice")
    return shapes


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path | None] = ()) -> None:
    """Refuse, before any work is spent on them, outputs that cannot be written or would replace each other or an
    input. None is an option that was not given; `-` is stdout.

    Raises OutputError and UsageError.
    """
    taken = {os.path.realpath(path): "the input" for path in inputs if path is not None}
    for path in outputs:
        if path is None or path == STDOUT:
            continue
        _check_writable(path)
        use = taken.get(os.path.realpath(path))
        if use is not None:
            raise UsageError(f"{path} is {use} too", "name another file")
        taken[os.path.realpath(path)] = "another output"


def _check_writable(path: Path) -> None:
    try:
        if path.is_dir():
            raise OutputError(str(path), "it is a folder")
    except OSError as error:
        raise OutputError(str(path), error.strerror or str(error)) from None
    if not path.parent.is_dir():
        raise OutputError(str(path), "its folder does not exist")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(str(path), "permission denied")


def write_text(path: Path | None, text: str) -> None:
    """Write text to a file, whole or not at all, or to stdout where there is none."""
    if path is None or path == STDOUT:
        sys.stdout.write(text)
    else:
        write_beside(path, text.encode())


def read_text(path: Path) -> str:
    """The text of a file. Raises InputError where it cannot be read as text."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(str(path), "is not text") from None


def warn(options: Namespace, text: str) -> None:
    """Print a warning, unless it was asked to be quiet."""
    if not options.quiet:
        print(f"warning: {text}", file=sys.stderr)
