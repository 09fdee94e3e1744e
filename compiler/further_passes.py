"""Passes that a recipe adds behind a phase: any of attnc's, and those of packages that extend it."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.utils.arg_spec import parse_spec
from xdsl.utils.exceptions import ArgSpecParseError

from ..dialects.context import CompilerContext
from ..isa.errors import AttncError, UsageError
from .phases import PHASES
from .recipe import Recipe
from .registry import further_passes as extensions_by_name
from .registry import pass_class

LOWERINGS = ("tile-kernels", "lower-tile")
"""Passes that leave another level than they find, which later phases would not."""


def further_passes(recipe: Recipe, phase: str) -> tuple[ModulePass, ...]:
    """The passes that a recipe runs behind a phase. Raises UsageError for a pass or an option that does not exist,
    ExtensionError for a package that cannot be loaded."""
    return tuple(_made(rule.run) for rule in recipe.passes if rule.after == phase)


def check_passes(recipe: Recipe) -> None:
    """Refuse at once, before any work is spent, what `further_passes` would refuse."""
    names = [phase.name for phase in PHASES]
    for rule in recipe.passes:
        if rule.after not in names:
            raise UsageError(f"[[pass]] after {rule.after!r} is no phase", f"choose one of {', '.join(names)}")
        made = _made(rule.run)
        if made.name in LOWERINGS:
            raise UsageError(f"[[pass]] run {rule.run!r}: every model is lowered by it once", "leave it out")


def apply_further(step: ModulePass, phase: str, context: CompilerContext, module: ModuleOp) -> None:
    """Apply a pass that a recipe asks for, and verify what it leaves. Raises UsageError or, for a pass of another
    package, ExtensionError where it fails: it may have been written for another phase, or be wrong."""
    try:
        step.apply(context, module)
        module.verify()
    except AttncError:
        raise
    except Exception as error:
        # The message of a failed verification is the whole module; what it was made from is the sentence.
        reason = f"fails after phase {phase}: {type(error).__name__}: {error.__cause__ or error}"
        extension = extensions_by_name().get(step.name)
        if extension is None:
            raise UsageError(f"pass {step.name} {reason}") from error
        raise extension.wrong(reason) from error


def _made(run: str) -> ModulePass:
    try:
        spec = parse_spec(run)
    except ArgSpecParseError as error:
        raise UsageError(f"[[pass]] run {run!r} is not understood", "write 'name' or 'name{option=value}'") from error
    kind = pass_class(spec.name)
    try:
        return kind.from_spec(spec)
    except (ValueError, TypeError) as error:
        raise UsageError(f"[[pass]] run {run!r}: {error}") from None
