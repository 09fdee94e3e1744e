"""The page of errors, made from their classes; `python -m attnc.isa.error_page` writes docs/errors.md."""

from __future__ import annotations

import textwrap
from pathlib import Path

from .errors import AttncError, error_kinds

_HEAD = """\
# Errors

This page is made from the errors themselves (`python -m attnc.isa.error_page`); a test holds it to them. A command
prints `error[CODE]: what, where, and what would help` to stderr, and `attnc explain CODE` prints the paragraph from
here. In Python each is an exception of `attnc.isa.errors`, with what the message says as attributes.

The exit code is 0 when it is done, 1 when the answer is no, 2 when the question was wrong, 130 when interrupted.
Nothing is ever half-written: an output appears whole, or what was there stays.

| code | exception | exit code |
|---|---|---|
"""


def page() -> str:
    """The text of docs/errors.md."""
    kinds = error_kinds()
    rows = [f"| [{kind.code}](#{kind.code.lower()}) | `{kind.__name__}` | {kind.exit_code} |" for kind in kinds]
    sections = [f"\n## {kind.code}\n\n{_filled(kind.meaning)}\n\n{_filled(kind.advice)}" for kind in kinds]
    return _HEAD + "\n".join((*rows, *sections)) + "\n"


def explanation(kind: type[AttncError]) -> str:
    """What `attnc explain` prints of a kind of error."""
    head = f"{kind.code}, {kind.__name__}, exit code {kind.exit_code}"
    return f"{head}\n\n{_filled(kind.meaning)}\n\n{_filled(kind.advice)}"


def _filled(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    """Write docs/errors.md beside this package."""
    path = Path(__file__).parent.parent / "docs" / "errors.md"
    path.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
