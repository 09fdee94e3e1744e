"""Machines of the sizes of published designs: BERT-tiny compiles for each and runs, in the formats that it has."""

import dataclasses

import numpy as np
import onnxruntime
import pytest
from attention_scaling import SYSTEMS
from codesign import polarized
from encoders import ENCODERS, build
from whole_models import deit_tiny

import attnc
from attnc.compiler.recipe import Recipe
from attnc.isa.machine import load_machine

MACHINES = {
    "acceltran-edge": ("fp16", "int8"),
    "acceltran-server": ("fp16",),
    "vitcod": ("int8",),
    "sanger": ("fp16", "int8"),
    "spatten": ("fp16", "int8"),
    "salo": ("fp16", "int8"),
}


def cosine(found, wanted):
    return float(found.ravel() @ wanted.ravel() / np.linalg.norm(found) / np.linalg.norm(wanted))


@pytest.fixture(scope="module")
def model():
    return build(dataclasses.replace(ENCODERS["bert-tiny"], tokens=64))


@pytest.fixture(scope="module")
def reference(model):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    inputs = {item.name: random.normal(size=item.shape).astype(np.float32) for item in session.get_inputs()}
    return inputs, session.run(None, inputs)


@pytest.mark.parametrize(("name", "precision"), [(name, one) for name, every in MACHINES.items() for one in every])
def test_bert_tiny_runs(model, reference, name, precision):
    inputs, expected = reference
    program = attnc.compile(model, machine=name, precision=precision).program
    result = attnc.Session(program).run(inputs, check=True)
    for found, wanted in zip(result.outputs.values(), expected, strict=True):
        assert cosine(found, wanted) > 0.999


@pytest.mark.parametrize("name", SYSTEMS)
def test_bert_tiny_runs_with_the_form_of_the_system(model, reference, name, tmp_path):
    inputs, _ = reference
    precision, form = SYSTEMS[name]
    np.savez(tmp_path / "masks.npz", masks=polarized(2, 64, 0.9))
    rule = {"match": "*", "form": form, **({"masks": str(tmp_path / "masks.npz")} if form == "bitmap" else {})}
    recipe = Recipe.of({"precision": precision, "attention": [rule]})
    outputs = [
        attnc.Session(attnc.compile(model, machine=machine, recipe=recipe).program).run(inputs, check=True).outputs
        for machine in (name, "edge")
    ]
    # Values of floats differ in the order of sums; those of a threshold may fall on its other side.
    for found, wanted in zip(outputs[0].values(), outputs[1].values(), strict=True):
        assert cosine(found, wanted) > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_deit_tiny_runs(name):
    model = deit_tiny()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = {"pixel_values": np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)}
    program = attnc.compile(model, machine=name, precision=MACHINES[name][0]).program
    (found,) = attnc.Session(program).run(image, check=True).outputs.values()
    assert cosine(found, session.run(None, image)[0]) > 0.99


@pytest.mark.parametrize("name", MACHINES)
def test_descriptions_say_that_only_the_size_is_the_designs(name):
    machine = load_machine(name)
    assert "-sized" in machine.description
    assert any("Tables that use it say" in note for note in machine.notes)


def test_arrays_have_as_many_multipliers_as_the_designs():
    places = {
        name: (machine := load_machine(name)).matrix.rows * machine.matrix.columns * machine.engines.mx
        for name in MACHINES
    }
    assert places == {
        "acceltran-edge": 64 * 16 * 16,
        "acceltran-server": 512 * 32 * 16,
        "vitcod": 512,
        "sanger": 1024,
        "spatten": 1024,
        "salo": 512,
    }
