"""`attnc completion`: what a shell needs to complete attnc's commands, options and files; and the completing itself."""

from __future__ import annotations

from argparse import Action, ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from typing import Any, cast

from ...isa.errors import UsageError

SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"one of {', '.join(SHELLS)}")
    parser.epilog = """examples:
  attnc completion bash
  attnc completion fish

In ~/.bashrc or ~/.zshrc: eval "$(attnc completion bash)" (or zsh);
in ~/.config/fish/config.fish: attnc completion fish | source."""


def run(options: Namespace) -> int:
    """Print the shell's code."""
    print(_library().shellcode(["attnc"], shell=options.shell))
    return 0


def autocomplete(parser: ArgumentParser) -> None:
    """Answer a shell that asks for completions, and end the process. The shell's code says so in the environment."""
    library = _library()
    for action in _actions(parser):
        completer = _completer(action, library)
        if completer is not None:
            action.completer = completer  # pyright: ignore[reportAttributeAccessIssue] - where the library looks
    library.autocomplete(parser, default_completer=library.FilesCompleter())


def _library() -> Any:
    try:
        import argcomplete
    except ImportError:
        raise UsageError("completion needs argcomplete", "pip install 'attnc[completion]'") from None
    return argcomplete


def _actions(parser: ArgumentParser) -> Iterable[Action]:
    """The options of a parser and of its commands."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for command in cast("dict[str, ArgumentParser]", action.choices).values():
                yield from _actions(command)
        else:
            yield action


def _completer(action: Action, library: Any) -> Callable[..., Iterable[str]] | None:
    """What completes an option's value, by what stands for it in the help."""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if metavar in _WORDS:
        return _WORDS[metavar]
    suffix = metavar.partition(".")[2]
    return library.FilesCompleter((suffix,)) if suffix and "|" not in suffix else None


def _machines(prefix: str, **_: object) -> Iterable[str]:
    from ...isa.machine import machine_names

    return (*machine_names(), *_library().FilesCompleter(("toml",))(prefix))


def _phases(**_: object) -> Iterable[str]:
    from ..phases import PHASE_NAMES

    return PHASE_NAMES


def _codes(**_: object) -> Iterable[str]:
    from ...isa.errors import error_kinds

    return (kind.code for kind in error_kinds())


_WORDS: dict[str, Callable[..., Iterable[str]]] = {"NAME|FILE": _machines, "PHASE": _phases, "CODE": _codes}
