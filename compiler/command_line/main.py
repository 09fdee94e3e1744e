"""`attnc`: finds the command, reads its options, turns every expected error into one sentence and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from argparse import Action, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from ...isa.errors import AttncError, OutputError

COMMANDS = {
    "compile": "compile an ONNX model to an accelerator binary",
    "run": "run a binary on the simulator: outputs, cycles, energy",
    "evaluate": "accuracy of a binary over a labelled set, with its cycles and energy",
    "check": "say what of a model can run on the accelerator, and why the rest cannot",
    "compare": "find the node where values first part from the reference",
    "explore": "search machines and recipes for the designs that no other beats",
    "diff": "say what changed between two programs or reports: cycles, bytes and energy by node",
    "inspect": "describe a binary: machine, signature, memory map, nodes",
    "disasm": "write a binary as assembly text",
    "asm": "assemble a binary from text",
    "machines": "list the machines, or print one in full",
    "new-machine": "write a machine file to start from, every key explained",
    "completion": "print what a shell needs to complete attnc's commands",
    "explain": "say what an error code means, and what to do",
}
"""Every command and what it does; each is a module of this package, imported only when it is the one asked for."""

INTERRUPTED = 130

COMPLETING = "_ARGCOMPLETE"
"""The variable by which a shell's completion code asks for completions."""

_EPILOG = """examples:
  attnc compile model.onnx -o model.attn
  attnc run model.attn --input inputs.npz
  attnc compile model.onnx --dump-ir phases

`attnc COMMAND --help` explains a command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 done, 1 the answer is no, 2 wrong usage or input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = words[0] if words and words[0] in COMMANDS else None
    try:
        if COMPLETING in os.environ:
            _complete(os.environ.get("COMP_LINE", ""))
        return _run(command, words)
    except SystemExit as ended:
        # argparse leaves so, its message printed.
        return ended.code if isinstance(ended.code, int) else 0
    except AttncError as error:
        print(f"error[{error.code}]: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has closed it.
        _discard_output()
        return 0
    except OSError as error:
        # A name that the system does not take, or stdout on a full disk.
        _discard_output()
        what = "stdout" if error.filename is None else str(error.filename)
        failed = OutputError(what, error.strerror or str(error))
        print(f"error[{failed.code}]: {failed}", file=sys.stderr)
        return failed.exit_code


def process() -> NoReturn:
    """Run the command that this process was started for.

    A compilation only ever builds up: looking for what could be freed, and taking apart at the end what the system
    takes back anyway, would be a tenth of the command's time.
    """
    is_compilation = sys.argv[1:2] == ["compile"]
    if is_compilation:
        gc.disable()
        # Samples are calibrated side by side: with threads of its own the matrix library would get in their way.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    status = main()
    if is_compilation:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(status)
    gc.freeze()
    sys.exit(status)


def _discard_output() -> None:
    """What is still in the buffer has nowhere to go, and must not fail again when the process ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:
        # No file stands behind it (a test's capture).
        return


def _run(command: str | None, words: Sequence[str]) -> int:
    parser = _parser(command)
    options = parser.parse_args(words)
    if command is None:
        parser.print_help(sys.stderr)
        return 2
    status: int = options.action(options)
    sys.stdout.flush()
    return status


def _complete(line: str) -> None:
    """Answer a shell that asks how `line`, what was typed so far, may go on."""
    from .completion import autocomplete

    typed = line.split()[1:2]
    autocomplete(_parser(typed[0] if typed and typed[0] in COMMANDS else None))


def _parser(command: str | None) -> ArgumentParser:
    """The parser, with the options of `command` alone: the other commands' modules stay unloaded."""
    parser = ArgumentParser(
        prog="attnc",
        description="Compile ONNX Transformers for an edge accelerator and run the binary on its simulator.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        description = f"{summary[0].upper()}{summary[1:]}."
        chosen = subparsers.add_parser(
            name, help=summary, description=description, formatter_class=RawDescriptionHelpFormatter
        )
        if name == command:
            module = import_module(f".{name.replace('-', '_')}", __package__)
            module.add_arguments(chosen)
            chosen.set_defaults(action=module.run)
    return parser


class _Version(Action):
    """Prints the installed version; it is looked up only when asked for."""

    def __call__(self, parser: ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"attnc {version('attnc')}")
        except PackageNotFoundError:
            print("attnc, not installed: it runs from its source folder")
        parser.exit()
