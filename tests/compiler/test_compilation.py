"""Compilation as a whole: phases to stop after and start from, recipes, calibration, and what each wrong call is
told."""

import json
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from xdsl.dialects.builtin import bf16, i8

from attnc import compile
from attnc.compiler.calibration import calibrate_module
from attnc.compiler.dump import DESCRIPTION, file_of
from attnc.compiler.phases import PHASE_NAMES
from attnc.compiler.recipe import LayerRule, Recipe
from attnc.dialects import nn
from attnc.dialects.elements import element_type
from attnc.dialects.provenance import folded_nodes, module_nodes
from attnc.isa.errors import AttncError, InputError, OutputError, ProgramFileError, UsageError
from attnc.runtime.session import Session


def test_phases_go_one_after_another(model, shapes) -> None:
    result = compile(model, shapes=shapes, stop_after="import")
    assert list(result.phase_seconds) == ["import"]
    for phase in PHASE_NAMES[1:]:
        result.continue_to(phase)
        assert result.phase == phase
    assert result.program is not None
    assert list(result.phase_seconds) == list(PHASE_NAMES)
    result.continue_to("graph")
    assert result.phase == "emit"


def test_seconds_of_a_pass_are_those_of_all_its_runs(model, shapes) -> None:
    result = compile(model, shapes=shapes)
    for phase in ("graph", "precision"):
        parts = sum(seconds for name, seconds in result.pass_seconds.items() if name.startswith(f"{phase}/"))
        # What else a phase does, importing its passes for one, takes as long as it takes.
        assert 0 < parts <= result.phase_seconds[phase]


def test_every_node_is_accounted_for_after_every_phase(model, shapes) -> None:
    result = compile(model, shapes=shapes, stop_after="import", precision="int8")
    names = {node.name for node in model.graph.node}
    for phase in PHASE_NAMES[:-1]:
        result.continue_to(phase)
        kept = {node.name for node in module_nodes(result.module)}
        folded = {node.name for node in folded_nodes(result.module)}
        assert kept | folded == names, phase
        assert not kept & folded, phase


def test_folded_nodes_say_in_which_phase_they_went(model, shapes) -> None:
    result = compile(model, shapes=shapes, stop_after="import")
    before: set[str] = {node.name for node in folded_nodes(result.module)}
    for phase in PHASE_NAMES[1:-1]:
        result.continue_to(phase)
        new = [node for node in folded_nodes(result.module) if node.name not in before]
        assert {node.phase for node in new} <= {phase}
        before |= {node.name for node in new}


def products(result) -> list[nn.MatmulOp]:
    return [op for op in result.module.walk() if isinstance(op, nn.MatmulOp)]


def test_recipe_layers_reach_the_products(model, shapes) -> None:
    recipe = Recipe("int8", None, (LayerRule("*.ffn.up", "bf16"), LayerRule("down_product", "model")))
    result = compile(model, shapes=shapes, recipe=recipe, stop_after="precision")
    formats = {op.attributes["path"].data: element_type(op.lhs) for op in products(result)}
    assert formats["encoder.0.ffn.up"] == bf16
    assert {str(found) for path, found in formats.items() if path.endswith("ffn.down")} == {"f32"}
    assert formats["encoder.0.attention.q"] == i8


def test_precision_overrides_the_recipes(model, shapes) -> None:
    result = compile(model, shapes=shapes, recipe=Recipe("int8"), precision="bf16", stop_after="precision")
    assert {element_type(op.lhs) for op in products(result)} == {bf16}
    assert result.recipe == Recipe("bf16")


def test_rule_that_names_nothing_stops_compilation(model, shapes) -> None:
    with pytest.raises(UsageError, match="'decoder' matches no product"):
        compile(model, shapes=shapes, recipe=Recipe(layers=(LayerRule("decoder", "model"),)))


def test_program_tells_its_recipe(model, shapes) -> None:
    recipe = Recipe("int8", "fp32", (LayerRule("classifier*", "bf16"), LayerRule("*", "int8")))
    with pytest.raises(UsageError, match=r"'classifier\*' matches no product"):
        compile(model, shapes=shapes, recipe=recipe)
    program = compile(model, shapes=shapes, recipe=Recipe("int8", "fp32")).program
    assert program is not None
    assert Recipe.of(program.recipe) == Recipe("int8", "fp32")


# Calibration


def test_calibrated_program_needs_no_ranges_at_run_time(model, shapes, inputs, samples) -> None:
    result = compile(model, shapes=shapes, precision="int8", calibrate=samples, stop_after="precision")
    assert not [op for op in result.module.walk() if isinstance(op, nn.ReduceOp)]
    result.continue_to("emit")
    assert result.program is not None
    static = Session(result.program).run(inputs, check=True).outputs["y"]
    whole = Session(compile(model, shapes=shapes).program).run(inputs).outputs["y"]
    cosine = float(static.ravel() @ whole.ravel() / np.linalg.norm(static) / np.linalg.norm(whole))
    assert cosine > 0.999


def test_calibration_from_a_file(model, shapes, samples, tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", **samples)
    by_file = compile(model, shapes=shapes, precision="int8", calibrate=tmp_path / "samples.npz").program
    by_arrays = compile(model, shapes=shapes, precision="int8", calibrate=samples).program
    assert by_file.to_bytes() == by_arrays.to_bytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mask": None}, "has no array 'mask'; the model takes 'ids', 'mask'"),
        ({"extra": np.zeros(3)}, "has 'extra', which is no input"),
        ({"ids": np.zeros((4, 7), np.int64)}, "array 'ids' is 4x7, the input is 1x6"),
        ({"ids": np.zeros((6,), np.int64)}, "array 'ids' is 6, the input is 1x6"),
        ({"ids": np.zeros((3, 6), np.int64)}, "has different numbers of samples: 'ids' has 3, 'mask' has 4"),
        ({"ids": np.zeros((4, 6), np.float32)}, "array 'ids' is float32, the input is int64"),
        ({"ids": np.full((4, 6), 2**40)}, "array 'ids' holds values outside int32"),
        ({"ids": np.zeros((0, 6), np.int64), "mask": np.zeros((0, 6), np.int64)}, "has no samples"),
        ({"ids": np.full((4, 6), 10)}, "id 10 is outside 0..10"),
    ],
)
def test_wrong_calibration_data_are_refused(model, shapes, samples, change, reason: str) -> None:
    data = {name: array for name, array in (samples | change).items() if array is not None}
    result = compile(model, shapes=shapes, stop_after="graph")
    with pytest.raises(InputError) as raised:
        calibrate_module(result.module, result.context, data, Recipe("int8"))
    assert reason in str(raised.value)


def test_calibration_without_int8_is_refused(model, shapes, samples) -> None:
    with pytest.raises(UsageError, match="calibration data serve int8 and formats of fewer bits only"):
        compile(model, shapes=shapes, precision="bf16", calibrate=samples)


# Dumps


@pytest.fixture(scope="module")
def dumped(model, shapes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("dump")
    compile(model, shapes=shapes, dump_ir=place)
    return place


@pytest.fixture
def folder(dumped: Path, tmp_path: Path) -> Path:
    """A dump of the model, to be damaged."""
    return Path(copytree(dumped, tmp_path / "phases"))


def test_a_dump_holds_every_phase_and_nothing_of_an_earlier_one(model, shapes, folder: Path) -> None:
    expected = {*map(file_of, PHASE_NAMES), DESCRIPTION, "constants.safetensors"}
    assert {path.name for path in folder.iterdir()} == expected
    compile(model, shapes=shapes, dump_ir=folder, stop_after="graph")
    late = {file_of(phase) for phase in PHASE_NAMES[2:]}
    assert {path.name for path in folder.iterdir()} == expected - late


def test_dump_of_a_compilation_that_fails_holds_what_was_reached(model, shapes, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        compile(model, shapes=shapes, dump_ir=tmp_path, recipe=Recipe(layers=(LayerRule("none", "int8"),)))
    assert {"00-import.mlir", "01-graph.mlir", DESCRIPTION} <= {path.name for path in tmp_path.iterdir()}
    assert compile(tmp_path, start_from="graph", stop_after="graph").phase == "graph"


def test_resumed_compilation_gives_the_same_program(model, shapes, folder: Path) -> None:
    whole = compile(model, shapes=shapes).program.to_bytes()
    for phase in PHASE_NAMES[1:]:
        assert compile(folder, start_from=phase).program.to_bytes() == whole


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"machine": "tiny"}, "machine was settled when the folder was written"),
        ({"precision": "int8"}, "precision was settled"),
        ({"shapes": {"ids": (1, 6)}}, "shapes was settled"),
        ({"recipe": Recipe("int8")}, "recipe was settled"),
        ({"stop_after": "graph"}, "graph is over before tile starts"),
        ({"calibrate": {}}, "calibration data come too late for tile"),
        ({"start_from": "import"}, "to start from import is a plain compilation"),
        ({"start_from": "tiling"}, "there is no phase 'tiling'"),
    ],
)
def test_what_a_folder_settles_cannot_be_asked_for_again(folder: Path, options, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        compile(folder, **({"start_from": "tile"} | options))


def damage(folder: Path, case: str) -> None:
    graph, description = folder / file_of("graph"), folder / DESCRIPTION
    match case:
        case "no folder":
            for path in folder.iterdir():
                path.unlink()
        case "no module":
            graph.unlink()
        case "no constants":
            (folder / "constants.safetensors").unlink()
        case "damaged constants":
            content = bytearray((folder / "constants.safetensors").read_bytes())
            content[-1] ^= 1
            (folder / "constants.safetensors").write_bytes(content)
        case "text":
            graph.write_text("this is no IR")
        case "binary":
            graph.write_bytes(b"\xff\x00\xfe")
        case "wrong types":
            graph.write_text(graph.read_text().replace("nn.softmax", "nn.nothing").replace("nn.layer_norm", "nn.no"))
        case "unverified":
            graph.write_text("func.func @main(%x: tensor<2xf32>) -> tensor<3xf32> { func.return %x : tensor<2xf32> }")
        case "no main":
            graph.write_text("builtin.module { }")
        case "unknown constant":
            graph.write_text(graph.read_text().replace('#nn.ref<"up">', '#nn.ref<"upp">'))
        case "no json":
            description.write_text("{")
        case "list":
            description.write_text("[]")
        case "missing keys":
            description.write_text("{}")
        case "wrong machine":
            content = json.loads(description.read_text())
            del content["machine"]["sram"]
            description.write_text(json.dumps(content))


DAMAGES = {
    "no folder": "cannot be read",
    "no module": "01-graph.mlir: cannot be read",
    "no constants": "constants.safetensors: cannot be read",
    "damaged constants": "its digest does not match",
    "text": "is not valid IR: line 1, column 6",
    "binary": "01-graph.mlir: is not text",
    "wrong types": "is not valid IR",
    "unverified": "is not valid IR",
    "no main": "has no function main",
    "unknown constant": "has no constant 'upp'",
    "no json": "is not valid JSON",
    "list": "is not what --dump-ir writes",
    "missing keys": "is not what --dump-ir writes",
    "wrong machine": "sram: missing",
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_dump_is_one_sentence(folder: Path, case: str) -> None:
    damage(folder, case)
    with pytest.raises((InputError, ProgramFileError)) as raised:
        compile(folder, start_from="precision")
    assert DAMAGES[case] in str(raised.value)
    assert "\n" not in str(raised.value)


def test_dump_where_a_file_is(model, shapes, tmp_path: Path) -> None:
    place = tmp_path / "taken"
    place.write_text("mine")
    with pytest.raises(OutputError):
        compile(model, shapes=shapes, dump_ir=place)
    assert place.read_text() == "mine"


def test_unknown_phase(model, shapes) -> None:
    with pytest.raises(UsageError, match="there is no phase 'lower'; the phases are import, graph"):
        compile(model, shapes=shapes, stop_after="lower")


def test_unfinished_compilation_cannot_be_saved(model, shapes, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stopped before the program was made"):
        compile(model, shapes=shapes, stop_after="tile").save(tmp_path / "p.attn")
    assert not list(tmp_path.iterdir())


def test_start_from_a_model_is_refused(model) -> None:
    with pytest.raises(UsageError, match="start_from needs the folder"):
        compile(model, start_from="graph")


def test_errors_have_codes_and_exit_codes() -> None:
    def kinds(base: type[AttncError]) -> list[type[AttncError]]:
        return [kind for child in base.__subclasses__() for kind in (child, *kinds(child))]

    codes = [kind.code for kind in kinds(AttncError)]
    assert len(set(codes)) == len(codes)
    assert {kind.exit_code for kind in kinds(AttncError)} == {1, 2}
