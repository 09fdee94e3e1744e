"""`attnc-opt`: reads a module, runs passes on it by name, prints it; for tests and for work by hand."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from xdsl.utils.exceptions import ArgSpecParseError, DiagnosticException, ParseError
from xdsl.xdsl_opt_main import xDSLOptMain

from ..dialects.context import CompilerContext
from ..isa.errors import AttncError
from ..isa.machine import load_machine, machine_names
from .registry import new_context, pass_loader, pass_names


class PipelineError(Exception):
    """A pass that does not exist, or has no such option."""


class AttncOpt(xDSLOptMain):
    """xDSL's driver with attnc's dialects, passes and context."""

    def __init__(self, arguments: Sequence[str] | None) -> None:
        super().__init__(args=arguments)
        assert isinstance(self.ctx, CompilerContext)
        self.ctx.machine = load_machine(self.args.machine)

    def register_all_dialects(self) -> None:
        """A context of ours in the place of the plain one: it has the store and the machine besides dialects."""
        self.ctx = new_context()

    def register_all_passes(self) -> None:
        """Our passes; xDSL's own stay out, since they know nothing of constants by reference."""
        for name in pass_names():
            self.register_pass(name, pass_loader(name))

    def setup_pipeline(self) -> None:
        """The passes asked for. Raises PipelineError."""
        try:
            super().setup_pipeline()
        except (ValueError, ArgSpecParseError) as error:
            raise PipelineError(str(error)) from None

    def register_all_arguments(self, arg_parser: ArgumentParser) -> None:
        """xDSL's options, and the machine that passes compile for."""
        super().register_all_arguments(arg_parser)
        arg_parser.add_argument(
            "--machine", default="edge", help=f"machine name or file (names: {', '.join(machine_names())})"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the driver; returns an exit code."""
    try:
        AttncOpt(arguments).run()
    except AttncError as error:
        return _failed(f"error[{error.code}]: {error}", error.exit_code)
    except ParseError as error:
        return _failed(str(error))
    except DiagnosticException as error:
        # The notes are the module, marked where it is wrong.
        return _failed("\n".join((f"error: {error}", *getattr(error, "__notes__", ()))))
    except (PipelineError, OSError) as error:
        return _failed(f"error: {error}")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _failed(message: str, status: int = 2) -> int:
    print(message, file=sys.stderr)
    return status
