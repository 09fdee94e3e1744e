"""The page of commands, made from their options; `python -m attnc.compiler.command_line.command_page` writes
docs/commands.md."""

from __future__ import annotations

from argparse import Action, ArgumentParser
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from .main import COMMANDS

_HEAD = """\
# Commands

This page is made from the options themselves (`python -m attnc.compiler.command_line.command_page`); a test holds it to
them. `attnc COMMAND --help` prints the same. The exit code is 0 when it is done, 1 when the answer is no, 2 for wrong
usage or input ([errors](errors.md)).
"""


def page() -> str:
    """The text of docs/commands.md."""
    return _HEAD + "".join(_section(name, summary) for name, summary in COMMANDS.items())


def _section(name: str, summary: str) -> str:
    parser = ArgumentParser(prog=f"attnc {name}", add_help=False)
    import_module(f".{name.replace('-', '_')}", __package__).add_arguments(parser)
    actions: list[Action] = vars(parser)["_actions"]
    lines = [f"\n## attnc {name}\n", f"{summary[0].upper()}{summary[1:]}."]
    if actions:
        lines += ["\n| argument | meaning |", "|---|---|", *_rows(actions)]
    if parser.epilog:
        examples = [line.strip() for line in parser.epilog.splitlines() if line.strip().startswith("attnc ")]
        lines += ["\n```sh", *examples, "```"]
    return "\n".join(lines) + "\n"


def _rows(actions: list[Action]) -> Iterator[str]:
    for action in actions:
        told = (action.help or "") % {**vars(action), "prog": "attnc"}
        yield "| {} | {} |".format(*(text.replace("|", r"\|") for text in (f"`{_spelled(action)}`", told)))


def _spelled(action: Action) -> str:
    """An argument as it is written on a command line."""
    metavar = action.metavar
    if action.choices is not None and metavar is None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        value = " ".join(metavar) if isinstance(metavar, tuple) else metavar or action.dest.upper()
    if action.nargs in ("+", "*"):
        value += " ..."
    if not action.option_strings:
        return value
    names = ", ".join(action.option_strings)
    return names if action.nargs == 0 else f"{names} {value}"


def main() -> None:
    """Write docs/commands.md beside this package."""
    path = Path(__file__).parents[2] / "docs" / "commands.md"
    path.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
