"""Which number format each product gets: the default, unless a rule of the recipe names its path or its nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Operation

from ...dialects.provenance import nodes_of
from ...isa.errors import UsageError


@dataclass
class Layers:
    """Decides formats by rules `pattern=precision`; `unmatched` tells afterwards which rules named nothing.

    A pattern is a shell pattern over structural paths first, over ONNX node names second.
    """

    default: str
    rules: tuple[str, ...]
    used: set[str] = field(default_factory=set[str], init=False)

    def precision(self, operation: Operation) -> str:
        """The precision asked for this operation: that of the first rule that matches it."""
        path = operation.attributes.get("path")
        names = [node.name for node in nodes_of(operation)]
        for rule in self.rules:
            pattern, _, precision = rule.rpartition("=")
            by_path = isinstance(path, StringAttr) and fnmatchcase(path.data, pattern)
            if by_path or any(fnmatchcase(name, pattern) for name in names):
                self.used.add(rule)
                return precision
        return self.default

    def check(self) -> None:
        """Raises UsageError naming the rules that matched no product."""
        unmatched = [rule.rpartition("=")[0] for rule in self.rules if rule not in self.used]
        if unmatched:
            raise UsageError(
                f"recipe layer {', '.join(map(repr, unmatched))} matches no product of the model",
                "`attnc check` lists the paths",
            )

