"""attnc-opt knows every pass and every dialect."""

from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest
from xdsl.passes import ModulePass

import attnc.passes
from attnc.compiler.opt import main
from attnc.compiler.registry import DIALECTS, MADE_DIALECTS, PASSES, new_context, pass_loader


def all_passes() -> set[type[ModulePass]]:
    """Every pass that a module of the package of passes defines."""
    found: set[type[ModulePass]] = set()
    for info in walk_packages(attnc.passes.__path__, "attnc.passes."):
        module = import_module(info.name)
        found |= {
            item
            for item in vars(module).values()
            if isinstance(item, type) and issubclass(item, ModulePass) and item.__module__ == info.name
        }
    return found


def test_every_pass_is_registered() -> None:
    assert {pass_loader(name)() for name in PASSES} == all_passes()


@pytest.mark.parametrize("name", PASSES)
def test_pass_is_registered_under_its_name(name: str) -> None:
    found = pass_loader(name)()
    assert found.name == name
    assert found.__doc__
    assert not found.__name__.endswith("Pass")
    words = "".join(word.capitalize() for word in name.split("-"))
    assert found.__name__ == words


def test_names_stand_in_order() -> None:
    assert list(PASSES) == sorted(PASSES)


def test_dialects_are_what_they_are_called() -> None:
    context = new_context()
    for name in (*DIALECTS, *MADE_DIALECTS):
        context.load_registered_dialect(name)
    assert {*DIALECTS, *MADE_DIALECTS} == {dialect.name for dialect in context.loaded_dialects}


IDENTITY = """func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> {
  %y = nn.map "neg"(%x) : (tensor<2xf32>) -> tensor<2xf32>
  %z = nn.map "neg"(%x) : (tensor<2xf32>) -> tensor<2xf32>
  func.return %y : tensor<2xf32>
}
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    path = tmp_path / "module.mlir"
    path.write_text(IDENTITY)
    return str(path)


def test_passes_run_by_name(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([module, "-p", "merge-duplicates,remove-unused"]) == 0
    assert capsys.readouterr().out.count("nn.map") == 1


def test_machine_is_an_option(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([module, "--machine", "tiny", "-p", "tile-kernels"]) == 0
    assert "tile.kernel" in capsys.readouterr().out
    assert main([module, "--machine", "none"]) == 2
    assert "error[E203]: machine none: no machine of this name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "arguments", "reason"),
    [
        ("func.func @main(", [], "module.mlir:1:17"),
        (IDENTITY, ["-p", "no-such-pass"], "no-such-pass"),
        (IDENTITY, ["-p", "narrow-products{width=3}"], "width"),
        (IDENTITY.replace("tensor<2xf32>\n}", "tensor<2xf32>\n}}"), [], "module.mlir"),
        (IDENTITY, ["-p", 'narrow-products{layers="up=bf16"}'], "error[E201]: recipe layer 'up' matches no product"),
        (IDENTITY.replace('"neg"', '"nag"'), [], "'nag' is not a function of the vector engine"),
    ],
)
def test_wrong_input_is_no_traceback(
    module: str, capsys: pytest.CaptureFixture[str], text: str, arguments: list[str], reason: str
) -> None:
    Path(module).write_text(text)
    assert main([module, *arguments]) == 2
    errors = capsys.readouterr().err
    assert reason in errors
    assert "Traceback" not in errors


def test_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.mlir")]) == 2
    assert "none.mlir" in capsys.readouterr().err
