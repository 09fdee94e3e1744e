"""What a recipe says of tokens: before which layer, how many go on, and by what they are chosen."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from ..isa.errors import UsageError
from ..isa.frozen import frozen

MEASURES = ("class", "norm", "cascade")
RULE = re.compile(
    r"(?P<before>.+?)=(?P<keep>[^,]+),(?P<by>\w+),(?P<always>\d+),(?P<package>true|false),(?P<restore>true|false)"
    r",(?P<threshold>[^,]+)"
)


@frozen
class TokenRule:
    """Tokens that go on into the layer at the structural path `before`.

    keep: their share of the model's tokens, without the `always` first ones, which go on whatever they are worth.
    threshold: of these only those go on that are worth so many times the mean of all that there are, or more; how many
    is known when the program runs (Kim et al., "Learned Token Pruning for Transformers", KDD 2022). by: what they are
    worth: "class", the attention that the first token pays them in the layer before, mean over heads; "norm", the sum
    of their squares; "cascade", the attention that all tokens paid them in all layers before, summed over heads (Wang
    et al., "SpAtten", HPCA 2021). package: those that do not go on are joined into one token, their mean weighted by
    what they are worth (Kong et al., "SPViT", ECCV 2022), which stands last. restore: behind the last layer all tokens
    stand in their places again, those that did not go on as they were.
    """

    before: str
    keep: float
    by: str = "class"
    always: int = 1
    package: bool = False
    restore: bool = False
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise UsageError(f"`keep` of [[tokens]] is a share above 0 and up to 1, not {self.keep}")
        if self.by not in MEASURES:
            raise UsageError(f"`by` of [[tokens]] is one of {', '.join(MEASURES)}, not {self.by!r}")
        if self.by == "cascade" and self.package:
            raise UsageError('a package has no attention of layers before: by = "cascade" drops tokens')
        if self.package and self.restore:
            raise UsageError("[[tokens]] that are joined in a package are not restored: leave one of the two out")
        if self.by == "class" and not self.always:
            raise UsageError('by = "class" measures what the first token attends to: `always` keeps at least one')
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise UsageError(f"`threshold` of [[tokens]] is a number of 0 or more, not {self.threshold}")
        if self.threshold and not self.always:
            raise UsageError("a `threshold` may drop every token: `always` keeps at least one")
        if self.threshold and self.package:
            raise UsageError("a package stands behind a fixed number of tokens: leave out `threshold` or `package`")

    def __str__(self) -> str:
        flags = ",".join(str(flag).lower() for flag in (self.package, self.restore))
        return f"{self.before}={self.keep},{self.by},{self.always},{flags},{self.threshold}"

    def kept(self, tokens: int) -> int:
        """How many of the model's `tokens` go on, those that always do among them (Rao et al., "DynamicViT", NeurIPS
        2021: the share rounded down)."""
        return min(tokens, self.always + max(int(self.keep * (tokens - self.always)), 1))

    def to_dict(self) -> dict[str, object]:
        """The table of a recipe."""
        return {
            "before": self.before,
            "keep": self.keep,
            "by": self.by,
            "always": self.always,
            "package": self.package,
            **({"restore": True} if self.restore else {}),
            **({"threshold": self.threshold} if self.threshold else {}),
        }

    @staticmethod
    def of(table: Mapping[str, object]) -> TokenRule:
        """From a recipe's table. Raises UsageError for what is unknown or out of range."""
        known = {
            "before": str,
            "keep": float,
            "by": str,
            "always": int,
            "package": bool,
            "restore": bool,
            "threshold": float,
        }
        unknown = sorted(set(table) - set(known))
        if unknown:
            raise UsageError(f"[[tokens]] has no key {unknown[0]!r}", f"it knows {', '.join(known)}")
        if "before" not in table:
            raise UsageError("each [[tokens]] needs `before`")
        if not {"keep", "threshold"} & set(table):
            raise UsageError("each [[tokens]] needs `keep`, a `threshold`, or both")
        given: dict[str, object] = {"keep": 1.0} | {
            key: float(value) if known[key] is float and type(value) is int else value for key, value in table.items()
        }
        for key, value in given.items():
            if type(value) is not known[key]:
                raise UsageError(f"`{key}` of [[tokens]] is of the kind {known[key].__name__}, not {value!r}")
        if isinstance(always := given.get("always", 1), int) and always < 0:
            raise UsageError("`always` of [[tokens]] is 0 or more")
        return TokenRule(**given)  # pyright: ignore[reportArgumentType] - the kinds are checked above

    @staticmethod
    def parse(text: str) -> TokenRule:
        """From its text. Raises UsageError."""
        found = RULE.fullmatch(text)
        if found is None:
            raise UsageError(f"{text!r} is no token rule", "write path=keep,by,always,package,restore,threshold")
        try:
            keep, threshold = float(found["keep"]), float(found["threshold"])
        except ValueError:
            raise UsageError(f"{text!r} has no numbers for keep and threshold") from None
        package, restore = (found[name] == "true" for name in ("package", "restore"))
        return TokenRule(found["before"], keep, found["by"], int(found["always"]), package, restore, threshold)
