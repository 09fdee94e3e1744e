"""`attnc.check`: what of a model can run on the accelerator, on which engine and in how much memory, what cannot and
why: without compiling it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dialects.constants import Array
from ..dialects.provenance import folded_nodes, module_nodes
from ..isa.errors import Blocking, UnsupportedError
from ..isa.frozen import frozen
from ..isa.machine import Machine
from ..passes.precision.unlowered import Unlowered, unlowered
from ..runtime.tables import data_frame, html_section, html_table
from .compile import imported, machine_of, recipe_of
from .layers import Layer, layers_of, without_mode
from .recipe import Recipe
from .workload import EngineWork, MemoryNeed, engine_work, memory_need

if TYPE_CHECKING:
    import onnx
    from pandas import DataFrame

REACHED = "attention"
"""How far a model is compiled to be checked: every format and form is decided, nothing is searched."""


@frozen
class CheckReport:
    """What `check` found. `operators` counts the model's nodes by operator; `folded` of them need no work when the
    program runs; `blocking` cannot run on the accelerator. Where no operator blocks, `layers` are the products in the
    formats that they will have, `unlowered` those that the model writes quantized and that compute in float, `engines`
    what each engine of `machine` does, and `memory` what the model needs of memory."""

    machine: str
    operators: Mapping[str, int]
    folded: int
    blocking: tuple[Blocking, ...]
    layers: tuple[Layer, ...] = ()
    unlowered: tuple[Unlowered, ...] = ()
    engines: tuple[EngineWork, ...] = ()
    memory: MemoryNeed | None = None

    @property
    def supported(self) -> bool:
        """Whether the machine can run the model, as far as that is known without compiling it."""
        return not self.blocking and (self.memory is None or self.memory.fits)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"supported": self.supported, **asdict(self)}

    def to_dataframe(self) -> DataFrame:
        """The layers as a pandas data frame. Raises UsageError without pandas."""
        return data_frame(self.layers, Layer)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        answer = "supported" if self.supported else "not supported"
        parts = [f"<p><b>{answer}</b> on {self.machine}</p>", html_table(self.blocking)]
        parts.append(html_section("layers", html_table(self.layers)))
        parts.append(html_section("engines", html_table(self.engines)))
        parts.append(html_section("written quantized, computed in float", html_table(self.unlowered)))
        parts.append(html_section("memory", html_table([] if self.memory is None else [self.memory])))
        return "".join(parts)


def check(
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
) -> CheckReport:
    """Import and lower a model, and report. The arguments are those of `attnc.compile`. All blocking nodes are listed,
    not the first.

    Raises InputError for a file that is no valid model or leaves a dimension open, UsageError for a wrong call.
    """
    target = machine_of(machine)
    asked = recipe_of(recipe, precision, sign, attention, detect_structure, sparsify)
    result = imported(model, target, asked, shapes or {}, constants or {})
    result.calibrate = calibrate
    module = result.module
    counts = Counter(node.operator for node in (*module_nodes(module), *folded_nodes(module)))
    operators = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    try:
        result.continue_to(REACHED)
    except UnsupportedError as error:
        return CheckReport(target.name, operators, len(folded_nodes(module)), error.blocking)
    layers = layers_of(module, result.context.store, target)
    need = memory_need(module, target)
    return CheckReport(
        target.name,
        operators,
        len(folded_nodes(module)),
        without_mode(layers, target),
        layers,
        unlowered(module),
        engine_work(module, layers, need, target),
        need,
    )
