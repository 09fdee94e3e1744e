"""What makes the shell feel like home: completion, explained errors, machine files to start from, colours."""

import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from pygments import lex
from pygments.token import Error, Keyword

from attnc.compiler.command_line import command_page
from attnc.compiler.command_line.completion import SHELLS
from attnc.isa import error_page
from attnc.isa.assembly import disassemble
from attnc.isa.assembly_lexer import AssemblyLexer
from attnc.isa.errors import AttncError, error_kinds
from attnc.isa.instructions import RECORDS
from attnc.isa.machine import load_machine, machine_names
from attnc.isa.program import Program

ROOT = Path(__file__).parents[2]


def completions(line: str) -> set[str]:
    """How a line may go on: what a shell is told."""
    answer = Path("answer")
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_SHELL": "fish", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    subprocess.run(
        [sys.executable, "-m", "attnc"],
        env={**os.environ, **asked, "COMP_LINE": line, "COMP_POINT": str(len(line))},
        check=True,
        capture_output=True,
    )
    return {word.partition("\t")[0].strip() for word in re.split(r"[\v\n]", answer.read_text())}


def test_commands_options_machines_and_files_complete(folder: Path) -> None:
    assert {"compile", "compare", "completion"} <= completions("attnc com")
    assert {"--machine", "--mode"} <= completions("attnc run --m")
    assert {"edge", "tiny"} <= completions("attnc compile model.onnx --machine ")
    assert completions("attnc compile model.onnx --stop-after s") == {"schedule"}
    assert completions("attnc run mod") == {"model.attn"}


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_its_code(attnc, shell: str) -> None:
    found = attnc("completion", shell)
    assert found.status == 0
    assert "attnc" in found.out
    assert "complet" in found.out.lower()


def test_every_error_is_explained_once() -> None:
    kinds = error_kinds()
    assert len({kind.code for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert kind.code[1] == str(kind.exit_code)
        assert kind.meaning.endswith(".")
        assert kind.advice.endswith(".")
        assert issubclass(kind, AttncError)
    assert (ROOT / "docs" / "errors.md").read_text() == error_page.page()


def test_the_page_of_commands_is_made_from_their_options():
    assert (ROOT / "docs" / "commands.md").read_text() == command_page.page()


def test_explain_prints_meaning_and_advice(attnc) -> None:
    assert attnc("explain").out.count("\n") == len(error_kinds())
    for kind in error_kinds():
        found = attnc("explain", kind.code.lower())
        assert found.status == 0
        assert " ".join(found.out.split()).endswith(kind.advice)
    wrong = attnc("explain", "E999")
    assert wrong.status == 2
    assert "there is no error 'E999'; there are E101" in wrong.err


@pytest.mark.parametrize("base", machine_names())
def test_a_new_machine_is_the_old_one_until_it_is_changed(attnc, tmp_path: Path, base: str) -> None:
    path = tmp_path / "new.toml"
    assert attnc("new-machine", 'a "new" one', "--extends", base, "-o", path).status == 0
    old = load_machine(base).to_dict()
    named = {"name": 'a "new" one', "description": f'a "new" one: as {base}'}
    assert load_machine(path).to_dict() == old | named
    text = path.read_text()
    # With every line uncommented it says all of it itself, whatever it extends.
    keys = "\n".join(line[2:] if line.startswith("# ") and " = " in line else line for line in text.splitlines())
    path.write_text(keys)
    assert load_machine(path).to_dict() == old | named
    path.write_text(keys.replace(f'extends = "{base}"\n', ""))
    assert load_machine(path).to_dict() == old | named
    assert attnc("machines", path).status == 0


def test_a_new_machine_replaces_no_file_and_finds_its_base(attnc, folder: Path) -> None:
    (folder / "machines").mkdir()
    assert attnc("new-machine", "first", "-o", "first.toml").status == 0
    again = attnc("new-machine", "first", "-o", "first.toml")
    assert again.status == 2
    assert "it is there already" in again.err
    assert attnc("new-machine", "second", "--extends", "first.toml", "-o", "machines/second.toml").status == 0
    assert attnc("machines", "machines/second.toml").status == 0
    assert attnc("new-machine", "second", "--extends", "none").status == 2
    assert attnc("new-machine", " ").status == 2


def test_assembly_text_has_colours(folder: Path) -> None:
    text = disassemble(Program.load("model.attn"))
    found = list(lex(text, AssemblyLexer()))
    assert "".join(value for _, value in found) == text
    assert not [value for kind, value in found if kind is Error]
    used = {value for kind, value in found if kind is Keyword}
    assert used == {row.mnemonic for row in RECORDS.values() if row.mnemonic in text}


def test_pygments_finds_the_lexer_where_attnc_is_installed() -> None:
    import tomllib

    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pygments.lexers"]
    assert [EntryPoint(name, value, "pygments.lexers").load() for name, value in points.items()] == [AssemblyLexer]
