"""`attnc.compile`: a model, through every phase, to a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from ..dialects.constants import Array
from ..isa.errors import UsageError
from ..isa.machine import DEFAULT_MACHINE, Machine, load_machine
from ..passes.attention_rules import AttentionRule
from ..passes.sparsity_rules import SparsityRule
from .collection import without_collection
from .compilation import Compilation
from .phases import EMIT, IMPORT, PHASE_NAMES, checked_phase
from .recipe import Recipe
from .registry import new_context

if TYPE_CHECKING:
    import onnx


@without_collection()
def compile(
    model: str | Path | bytes | onnx.ModelProto,
    *,
    machine: str | Path | Machine | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    constants: Mapping[str, Array] | None = None,
    precision: str | None = None,
    sign: str | None = None,
    attention: str | None = None,
    detect_structure: bool = False,
    sparsify: float | None = None,
    calibrate: str | Path | Mapping[str, Array] | None = None,
    recipe: str | Path | Recipe | None = None,
    dump_ir: str | Path | None = None,
    stop_after: str | None = None,
    start_from: str | None = None,
    progress: bool = False,
) -> Compilation:
    """Compile a model for a machine.

    model: an ONNX file, its bytes or a ModelProto; with `start_from`, a folder that `dump_ir` wrote. machine: a name,
    a file or a Machine; `edge` unless given. shapes: of graph inputs, where the model leaves dimensions open.
    constants: graph inputs bound to values now. precision: one of `PRECISIONS`; overrides the recipe's.
    attention: the form of every attention that no rule of the recipe decides ("window:64,global:1").
    detect_structure: multiply weights compressed that obey an N:M of the machine's array.
    sparsify: the threshold of every product and attention that no rule of the recipe decides: activations that enter it
    count as zero up to it.
    sign: what the zero of Sign becomes where one bit takes it (`FewBitOptions`); overrides the recipe's.
    calibrate: samples for static int8 ranges and for attention forms that are made of maps, one array an input with
    samples along axis 0. stop_after, start_from: names of phases (`phases.PHASE_NAMES`); a folder brings its own
    machine, shapes and recipe along. progress: show a bar on stderr once it takes more than a second.

    Raises UnsupportedError with every node that cannot run on the accelerator, CapacityError for what cannot fit,
    InputError and UsageError for what is wrong with the model or the call.
    """
    last = EMIT if stop_after is None else checked_phase(stop_after)
    if start_from is None:
        asked = recipe_of(recipe, precision, sign, attention, detect_structure, sparsify)
        result = imported(model, machine_of(machine), asked, shapes or {}, constants or {})
    else:
        settled = {
            "machine": machine,
            "shapes": shapes,
            "constants": constants,
            "precision": precision,
            "sign": sign,
            "attention": attention,
            "detect_structure": detect_structure,
            "sparsify": sparsify is not None,
            "recipe": recipe,
        }
        given = [name for name, value in settled.items() if value]
        if given:
            raise UsageError(
                f"{given[0]} was settled when the folder was written", "leave it out, or compile the model"
            )
        result = _resumed(model, checked_phase(start_from), last)
        if calibrate is not None and PHASE_NAMES.index(start_from) > PHASE_NAMES.index("precision"):
            raise UsageError(f"calibration data come too late for {start_from}", "start from precision")
    result.calibrate = calibrate
    if dump_ir is None:
        result.continue_to(last, None, progress)
        return result
    from .dump import Dump

    with Dump(Path(dump_ir)) as dump:
        dump.phase(result)
        result.continue_to(last, dump.phase, progress)
    return result


def machine_of(machine: str | Path | Machine | None) -> Machine:
    """The machine that a call names: a name, a file or a Machine; `edge` where it names none."""
    return machine if isinstance(machine, Machine) else load_machine(machine or DEFAULT_MACHINE)


def recipe_of(
    recipe: str | Path | Recipe | None,
    precision: str | None,
    sign: str | None,
    attention: str | None = None,
    detect_structure: bool = False,
    sparsify: float | None = None,
) -> Recipe:
    """The recipe that a call asks for: a file or a Recipe, changed by what the call says besides."""
    if isinstance(recipe, Recipe):
        asked = recipe
    else:
        asked = Recipe() if recipe is None else Recipe.read(Path(recipe), precision)
    if sign is not None:
        asked = replace(asked, few_bits=replace(asked.few_bits, sign=sign))
    if attention is not None:
        asked = replace(asked, attentions=(*asked.attentions, AttentionRule.of({"match": "*", "form": attention})))
    if sparsify is not None:
        asked = replace(asked, sparsities=(*asked.sparsities, SparsityRule("*", sparsify)))
    if detect_structure:
        asked = replace(asked, detect_structure=True)
    if asked.passes:
        from .further_passes import check_passes

        check_passes(asked)
    return asked if precision is None else replace(asked, precision=precision)


def imported(
    model: str | Path | bytes | onnx.ModelProto,
    machine: Machine,
    recipe: Recipe,
    shapes: Mapping[str, Sequence[int]],
    constants: Mapping[str, Array],
) -> Compilation:
    """A model behind the first phase. Arguments and errors are those of `compile`."""
    context = new_context()
    begin = perf_counter()
    from .importer import import_model

    module = import_model(model, shapes, constants, context)
    context.machine, context.recipe = machine, recipe.to_dict()
    return Compilation(context, machine, recipe, module, IMPORT, phase_seconds={IMPORT: perf_counter() - begin})


def _resumed(folder: object, start_from: str, last: str) -> Compilation:
    """What a dump folder holds of the state before phase `start_from`."""
    from .dump import read_dump

    if not isinstance(folder, str | Path):
        raise UsageError("start_from needs the folder that dump_ir wrote, as the model")
    if start_from == IMPORT:
        raise UsageError("to start from import is a plain compilation", "give the model, and no phase to start from")
    place = PHASE_NAMES.index(start_from)
    if PHASE_NAMES.index(last) < place:
        raise UsageError(f"{last} is over before {start_from} starts")
    context = new_context()
    module, machine, recipe, facts = read_dump(Path(folder), start_from, context)
    context.machine, context.recipe = machine, recipe.to_dict()
    return Compilation(context, machine, recipe, module, PHASE_NAMES[place - 1], facts)
