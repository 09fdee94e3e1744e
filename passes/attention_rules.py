"""What a recipe asks of the forms of attentions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from ..dialects.forms.bitmap import Bitmap
from ..dialects.forms.linear import Linear
from ..dialects.forms.registry import Union
from ..isa.errors import UsageError
from ..isa.frozen import frozen

RULE = re.compile(r"(?P<match>[^=]+)=(?P<form>[^@<]+)(@(?P<heads>\d+(,\d+)*))?(<(?P<file>.+))?")
KEYS = ("match", "form", "heads", "masks", "constants")


@frozen
class AttentionRule:
    """The form of the attentions whose path, or whose part of the model, or whose node name matches the shell pattern
    `match`; of some query `heads` only, unless that is empty. The form `bitmap` takes its bits from `masks`, an .npz
    file; a linear form that has constants may take them from `constants`, another.

    Its text, by which passes are given it, is `match=form@0,2<file.npz`, without what is left out.
    """

    match: str
    form: Union
    heads: tuple[int, ...] = ()
    masks: str = ""
    constants: str = ""

    def __post_init__(self) -> None:
        bits = any(isinstance(form, Bitmap) for form in self.form.forms)
        if bits != bool(self.masks):
            raise UsageError(
                f"the attention rule for {self.match!r} has {'no masks' if bits else 'masks that no form takes'}",
                'form = "bitmap" and masks = "FILE.npz" go together',
            )
        if self.constants and not self.is_linear:
            raise UsageError(
                f"the attention rule for {self.match!r} has constants, which form '{self.form}' does not take",
                "leave `constants` out",
            )

    @property
    def is_linear(self) -> bool:
        """Whether the form replaces the softmax."""
        return any(isinstance(form, Linear) for form in self.form.forms)

    def __str__(self) -> str:
        heads = "@" + ",".join(map(str, self.heads)) if self.heads else ""
        file = self.masks or self.constants
        return f"{self.match}={self.form}{heads}" + (f"<{file}" if file else "")

    @property
    def table(self) -> dict[str, Any]:
        """What a recipe says of it."""
        table: dict[str, Any] = {"match": self.match, "form": str(self.form)}
        if self.heads:
            table["heads"] = list(self.heads)
        files = {"masks": self.masks, "constants": self.constants}
        return table | {key: file for key, file in files.items() if file}

    @staticmethod
    def of(table: Mapping[str, Any]) -> AttentionRule:
        """From a table of a recipe. Raises UsageError for what is unknown or missing."""
        unknown = sorted(set(table) - set(KEYS))
        if unknown:
            raise UsageError(f"[[attention]] has no key {unknown[0]!r}", f"it knows {', '.join(KEYS)}")
        texts = {key: table.get(key, "") for key in ("match", "form", "masks", "constants")}
        if not all(isinstance(value, str) for value in texts.values()) or not (texts["match"] and texts["form"]):
            raise UsageError("each [[attention]] needs `match` and `form`, both text (and so are files)")
        heads: object = table.get("heads", [])
        numbers: list[Any] = cast("list[Any]", heads) if isinstance(heads, list) else [None]
        if not all(type(head) is int and head >= 0 for head in numbers) or ("heads" in table and not numbers):
            raise UsageError("`heads` of [[attention]] is a list of head numbers, counted from 0", "all if left out")
        form = Union.parse(texts["form"])
        return AttentionRule(texts["match"], form, tuple(numbers), texts["masks"], texts["constants"])

    @staticmethod
    def parse(text: str) -> AttentionRule:
        """From its text. Raises UsageError."""
        found = RULE.fullmatch(text)
        if found is None:
            raise UsageError(f"{text!r} is no attention rule", "write match=form, match=form@0,2 or match=bitmap<FILE")
        heads = tuple(map(int, found["heads"].split(","))) if found["heads"] else ()
        form, file = Union.parse(found["form"]), found["file"] or ""
        linear = any(isinstance(part, Linear) for part in form.forms)
        return AttentionRule(found["match"], form, heads, "" if linear else file, file if linear else "")
