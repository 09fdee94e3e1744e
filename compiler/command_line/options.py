"""Options that several commands share, each declared once, and how their values are read."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ...isa.errors import InputError, UsageError


def add_model_options(parser: ArgumentParser) -> None:
    """What says which model and with which shapes."""
    parser.add_argument("model", metavar="MODEL.onnx", type=Path, help="the ONNX model")
    parser.add_argument(
        "--shape",
        metavar="NAME=1x128",
        action="append",
        default=[],
        help="shape of a graph input; fixes its named dimensions everywhere (repeat for more inputs)",
    )


def add_recipe_options(parser: ArgumentParser) -> None:
    """What says how the model is to be changed on its way."""
    parser.add_argument(
        "--precision",
        choices=["model", "fp16", "bf16", "int8"],
        help="number format of the products: as the model says (default), or this one",
    )
    parser.add_argument("--calibrate", metavar="NPZ", type=Path, help="samples for static int8 ranges, one array an input")
    parser.add_argument("--recipe", metavar="FILE", type=Path, help="co-design recipe (TOML); flags override it")


def add_machine_option(
    parser: ArgumentParser, default: str | None = "edge", text: str = "machine name or file (default: edge)"
) -> None:
    """What says for which machine."""
    parser.add_argument("--machine", metavar="NAME|FILE", default=default, help=text)


def add_output_option(parser: ArgumentParser, metavar: str) -> None:
    """Where text goes, if not to stdout."""
    parser.add_argument("-o", "--output", metavar=metavar, type=Path, help="file to write instead of stdout")


def add_quiet_option(parser: ArgumentParser) -> None:
    """What silences progress."""
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def shapes_of(options: Namespace) -> dict[str, tuple[int, ...]]:
    """The `--shape` options as a mapping. Raises UsageError for one that is not NAME=1x128."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in options.shape:
        name, separator, extents = text.rpartition("=")
        try:
            shape = tuple(int(extent) for extent in extents.lower().split("x")) if extents else ()
        except ValueError:
            shape = (-1,)
        if not separator or not name or any(extent < 0 for extent in shape):
            raise UsageError(f"--shape {text!r} is not understood", "write NAME=1x128")
        if name in shapes and shapes[name] != shape:
            raise UsageError(f"--shape gives {name!r} twice")
        shapes[name] = shape
    return shapes


def writable(path: Path) -> None:
    """Raises UsageError where a file cannot be written, before any work is spent on it."""
    folder = path.parent
    if path.is_dir():
        raise UsageError(f"{path} is a folder", "name a file")
    if not folder.is_dir():
        raise UsageError(f"the folder {folder} of {path} does not exist")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise UsageError(f"{path} cannot be written: permission denied")


@contextmanager
def written(path: Path) -> Generator[Path]:
    """A path beside `path` to write to; it takes the place of `path` only when all is written."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        beside.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path | None, text: str) -> None:
    """Write text to a file, or to stdout where there is none."""
    if path is None:
        sys.stdout.write(text)
        return
    writable(path)
    with written(path) as beside:
        beside.write_text(text)


def read_text(path: Path) -> str:
    """The text of a file. Raises InputError where it cannot be read as text."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(str(path), "is not text") from None
