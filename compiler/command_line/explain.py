"""`attnc explain`: what an error code means, and what to do."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ...isa.errors import UsageError, error_kinds


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("code", metavar="CODE", nargs="?", help="the code of an error, such as E202")
    parser.epilog = """examples:
  attnc explain
  attnc explain E202"""


def run(options: Namespace) -> int:
    """Print a line an error, or one error in full."""
    from ...isa.error_page import explanation

    kinds = {kind.code: kind for kind in error_kinds()}
    if options.code is None:
        for kind in kinds.values():
            print(f"{kind.code}  {kind.__name__:17} {kind.meaning.partition('. ')[0].rstrip('.')}")
        return 0
    kind = kinds.get(options.code.upper())
    if kind is None:
        raise UsageError(f"there is no error {options.code!r}", f"there are {', '.join(kinds)}")
    print(explanation(kind))
    return 0
