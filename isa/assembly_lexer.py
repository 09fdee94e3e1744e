"""The Pygments lexer of assembly text, which installing attnc registers with Pygments as `attnc`."""

from __future__ import annotations

from typing import ClassVar

from pygments.lexer import RegexLexer, bygroups, words  # pyright: ignore[reportUnknownVariableType]
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Whitespace

from .assembly_data import DIRECTIVES
from .instructions import RECORDS


class AssemblyLexer(RegexLexer):
    """Assembly text as `attnc disasm` writes it: mnemonics and directives are those that the assembler knows."""

    name = "attnc assembly"
    aliases: ClassVar = ["attnc", "attnc-asm"]
    filenames: ClassVar = ["*.asm"]
    mimetypes: ClassVar = []
    url = ""

    tokens: ClassVar = {
        "root": [
            (r"\s+", Whitespace),
            (r"#[^\n]*", Comment.Single),
            (words(tuple(DIRECTIVES), suffix=r"(?=\s|$)"), Keyword.Declaration),
            (words(tuple(RECORDS), suffix=r"(?=\s|$)"), Keyword),
            # A wait: a queue, and how many of its instructions have retired.
            (r"(@)([a-z]+[0-9]*)(:)([0-9]+)", bygroups(Operator, Name.Label, Punctuation, Number.Integer)),
            (r"([a-z_][a-z_0-9]*)(=)", bygroups(Name.Attribute, Operator), "value"),
            (r'"(\\.|[^"\\\n])*"', String.Double),
            (r"^[a-z]+[0-9]*(?=\s)", Name.Label),
            (r"[a-z_][a-z_0-9]*", Name.Attribute),
            (r",", Punctuation),
        ],
        "value": [
            (r'"(\\.|[^"\\\n])*"', String.Double, "#pop"),
            (r"-?(0x[0-9a-fA-F]+|[0-9]+)(?=[\s,]|$)", Number, "#pop"),
            (r'[^\s,"]+', Name.Constant, "#pop"),
            (r"", Whitespace, "#pop"),
        ],
    }
