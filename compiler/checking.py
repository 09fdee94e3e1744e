"""`attnc.check`: what of a model can run on the accelerator, what cannot and why, without compiling it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xdsl.dialects.builtin import ModuleOp, StringAttr

from ..dialects import nn, sattn
from ..dialects.constants import Array
from ..dialects.elements import element_type, shape_of
from ..dialects.provenance import folded_nodes, module_nodes, nodes_of
from ..isa.errors import Blocking, UnsupportedError
from ..passes.precision.unlowered import Unlowered, unlowered
from .phases import PHASES
from .recipe import Recipe
from .registry import new_context

if TYPE_CHECKING:
    import onnx

_REACHED = next(index for index, phase in enumerate(PHASES) if phase.name == "precision")
"""How far a model is compiled to be checked."""


@dataclass(frozen=True)
class Layer:
    """One matrix product or attention: its structural path, operator, number format, shape and ONNX nodes."""

    path: str
    operator: str
    format: str
    shape: tuple[int, ...]
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class CheckReport:
    """What `check` found. `operators` counts the model's nodes by operator; `folded` of them need no work when the
    program runs; `blocking` cannot run on the accelerator. Where nothing blocks, `layers` are the products in the
    formats that the model gives them, and `unlowered` those that it writes quantized and that compute in float."""

    operators: Mapping[str, int]
    folded: int
    blocking: tuple[Blocking, ...]
    layers: tuple[Layer, ...] = ()
    unlowered: tuple[Unlowered, ...] = ()

    @property
    def supported(self) -> bool:
        """Whether the model compiles as far as its operators go."""
        return not self.blocking

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "supported": self.supported,
            "operators": dict(self.operators),
            "folded": self.folded,
            "blocking": [asdict(item) for item in self.blocking],
            "layers": [asdict(layer) for layer in self.layers],
            "unlowered": [asdict(item) for item in self.unlowered],
        }


def check(
    model: str | Path | bytes | onnx.ModelProto,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    constants: Mapping[str, Array] | None = None,
) -> CheckReport:
    """Import and lower a model, and report. All blocking nodes are listed, not the first.

    Raises InputError for a file that is no valid model or leaves a dimension open.
    """
    from .importer import import_model

    context = new_context()
    module = import_model(model, shapes or {}, constants or {}, context)
    counts = Counter(node.operator for node in (*module_nodes(module), *folded_nodes(module)))
    operators = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    try:
        for phase in PHASES[: _REACHED + 1]:
            for step in phase.passes(Recipe()):
                step.apply(context, module)
    except UnsupportedError as error:
        return CheckReport(operators, len(folded_nodes(module)), error.blocking)
    return CheckReport(operators, len(folded_nodes(module)), (), tuple(_layers(module)), unlowered(module))


def _layers(module: ModuleOp) -> list[Layer]:
    layers: list[Layer] = []
    for operation in module.walk():
        if not isinstance(operation, nn.MatmulOp | sattn.AttentionOp):
            continue
        path = operation.attributes.get("path")
        layers.append(
            Layer(
                path.data if isinstance(path, StringAttr) else "",
                operation.name,
                str(element_type(operation.operands[0])),
                shape_of(operation.results[0]),
                tuple(node.name for node in nodes_of(operation)),
            )
        )
    return layers
