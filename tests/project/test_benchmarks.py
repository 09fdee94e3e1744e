"""Bounds, sizes and verdicts that the benchmark tables tell."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from ablation import cells, title
from codesign import error, polarized, write
from encoders import ENCODERS, build
from fabnet import FabNet, fabnet
from measuring import array_bound, markdown, samples_of
from sweep import rises
from whole_models import deit_tiny

import attnc


@pytest.mark.parametrize(
    ("name", "cycles"), [("bert-tiny", 57_344), ("deit-tiny", 1_219_824), ("bert-base", 10_911_744)]
)
def test_bound_of_the_array_counts_padding(name: str, cycles: int) -> None:
    assert array_bound(ENCODERS[name].products, "i8") == cycles


def test_bound_follows_the_rate_of_the_mode() -> None:
    products = ENCODERS["bert-tiny"].products
    bounds = [array_bound(products, mode) for mode in ("i8", "bf16", "f32")]
    assert bounds == [57_344, 2 * 57_344, 8 * 57_344]


def test_products_are_those_of_the_model() -> None:
    size = replace(ENCODERS["bert-tiny"], layers=1, tokens=16)
    graph = build(size).graph
    assert sum(node.op_type == "MatMul" for node in graph.node) == 8
    assert sum(product.count for product in size.products) == 6 + 2 * size.heads


def test_whole_model_has_static_shapes(tmp_path) -> None:
    model = deit_tiny()
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "deit.onnx")
    samples = samples_of(tmp_path / "deit.onnx", 2)
    assert {name: values.shape for name, values in samples.items()} == {"pixel_values": (2, 3, 224, 224)}
    assert samples["pixel_values"].dtype == np.float32


def test_sweep_tells_where_more_costs_more() -> None:
    def point(sram: int, bandwidth: int, cycles: int) -> dict[str, int]:
        return {"sram_kib": sram, "dram_bytes_per_cycle": bandwidth, "cycles": cycles}

    falling = [point(64, 4, 1000), point(128, 4, 1004), point(64, 8, 900), point(128, 8, 800)]
    assert list(rises(falling)) == []
    assert len(list(rises([*falling[:3], point(128, 8, 906)]))) == 1


def test_ablation_tells_changes_against_the_schedule_as_it_is() -> None:
    figures = {"model": "m", "dram_bytes": 10, "energy_uj": 1.0}
    rows = [{**figures, "turned": [], "cycles": 1000}, {**figures, "turned": ["prefetch"], "cycles": 1500}]
    assert title(("prefetch",)) == "without `prefetch`"
    assert [line["m cycles"] for line in cells(rows)] == ["1,000", "+50.0%"]


def test_a_missing_figure_is_a_dash() -> None:
    assert markdown([("a", "A", "d"), ("b", "B", ".1f")], [{"a": 1}]).splitlines()[-1] == "| 1 | - |"


def test_tables_are_put_between_their_marks(tmp_path) -> None:
    page, mark = tmp_path / "page.md", "<!-- measured -->\n"
    page.write_text(f"a\n{mark}old\n{mark}b\n{mark}{mark}c\n")
    write(page, ["one", "two"])
    assert page.read_text() == f"a\n{mark}one\n{mark}b\n{mark}two\n{mark}c\n"


def test_errors_are_relative_to_what_is_expected() -> None:
    expected = {"x": np.array([3.0, 4.0])}
    assert error(expected, expected) == 0
    assert error({"x": np.array([3.0, 9.0])}, expected) == 1


def test_polarized_maps_have_about_the_density_asked_for() -> None:
    for removed in (0.9, 0.95):
        assert polarized(3, 197, removed).mean() == pytest.approx(1 - removed, abs=0.015)


@pytest.mark.parametrize("asked", [False, True])
def test_an_encoder_of_the_kind_of_fabnet_has_the_values_of_its_nodes(asked: bool) -> None:
    model = fabnet(FabNet(layers=2, width=16, heads=2, tokens=12, hidden=32))
    onnx.checker.check_model(model, full_check=True)
    values = np.random.default_rng(1).normal(size=(1, 12, 16)).astype(np.float32)
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"hidden": values})[0]
    program = attnc.compile(model, detect_structure=asked).program
    assert program is not None
    found = attnc.Session(program).run({"hidden": values}, check=True).outputs["output"]
    # ONNX Runtime turns by angles in float32: its transform is right to 2e-5.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-4)
