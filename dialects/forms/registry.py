"""The forms there are, and their spelling."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import import_module
from pkgutil import iter_modules

from ...isa.errors import UsageError
from ...isa.extensions import ATTENTION_FORMS, Extension, extensions
from ...isa.frozen import frozen
from ..key_runs import KeyRuns
from .bitmap import Bitmap
from .form import Calibrated, Form, Pattern, Tokens


@cache
def registered_forms() -> Mapping[str, type[Form]]:
    """Every form by its label: those of the modules of this package, and of packages that extend attnc.

    Raises ExtensionError for one that is no form, or has a label that is taken.
    """
    package = __package__ or ""
    modules = [import_module(f"{package}.{found.name}") for found in iter_modules(import_module(package).__path__)]
    found = {
        kind.label: kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Form) and "label" in vars(kind)
    }
    for extension in extensions(ATTENTION_FORMS):
        found[extension.name] = _further(extension, found)
    return dict(sorted(found.items()))


def _further(extension: Extension, taken: Mapping[str, type[Form]]) -> type[Form]:
    kind = extension.load()
    if not (isinstance(kind, type) and issubclass(kind, Form)):
        raise extension.wrong("is not a form of attention")
    if getattr(kind, "label", None) != extension.name:
        raise extension.wrong(f"is the form {getattr(kind, 'label', '?')!r}: name the entry point so")
    if extension.name in taken:
        raise extension.wrong("attnc has a form of that name")
    return kind


@frozen
class Union:
    """What one head computes: a single form, or several patterns at once."""

    forms: tuple[Form, ...]

    def __post_init__(self) -> None:
        alone = [form for form in self.forms if not isinstance(form, Pattern)]
        if alone and len(self.forms) > 1:
            raise UsageError(f"attention form '{alone[0]}' goes with no other", "only patterns unite")

    @staticmethod
    def parse(text: str) -> Union:
        """From its spelling: `window:64,dilation=2,global:1`. Raises UsageError."""
        named: list[tuple[str, list[tuple[str, str]]]] = []
        for item in text.split(","):
            label, colon, rest = (part.strip() for part in item.partition(":"))
            setting = rest if colon else label
            parameter, equals, value = (part.strip() for part in setting.partition("="))
            if not colon and not equals:
                named.append((label, []))
                continue
            if colon:
                named.append((label, []))
            if not named:
                raise UsageError(f"attention {text!r} begins with a parameter", "write form:value")
            named[-1][1].append((parameter, value) if equals else ("", parameter))
        forms = registered_forms()
        for label, _ in named:
            if label not in forms:
                raise UsageError(f"there is no attention form {label!r}", f"the forms are {', '.join(forms)}")
        return Union(tuple(forms[label].read(tuple(settings)) for label, settings in named))

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The forms, where they are patterns; else none."""
        return tuple(form for form in self.forms if isinstance(form, Pattern))

    @property
    def calibrated(self) -> tuple[Calibrated, ...]:
        """The forms that are made of mean attention maps."""
        return tuple(form for form in self.forms if isinstance(form, Calibrated))

    @property
    def as_bits(self) -> Union:
        """What it is once its calibrated forms are bits."""
        return Union(tuple(dict.fromkeys(Bitmap() if isinstance(f, Calibrated) else f for f in self.forms)))

    def runs(self, tokens: Tokens) -> KeyRuns:
        """The keys that each query sees by any of the patterns."""
        if tokens.shown is not None:
            return _united(self.patterns, tokens)
        by_head = any(form.by_head for form in self.patterns)
        return _remembered(self.patterns, tokens.head if by_head else 0, tokens.queries, tokens.keys)

    def misfit(self, queries: int, keys: int) -> str | None:
        """Why the forms cannot be those of so many queries and keys; None where they can."""
        reasons = [f"attention form '{form}': {why}" for form in self.forms if (why := form.misfit(queries, keys))]
        return reasons[0] if reasons else None

    def __str__(self) -> str:
        return ",".join(map(str, self.forms))


def _united(patterns: tuple[Pattern, ...], tokens: Tokens) -> KeyRuns:
    first, *others = (form.runs(tokens) for form in patterns)
    return first.union(*others) if others else first


@lru_cache(maxsize=256)
def _remembered(patterns: tuple[Pattern, ...], head: int, queries: int, keys: int) -> KeyRuns:
    """The layers of a model ask for the same runs."""
    return _united(patterns, Tokens(head, queries, keys))
