"""The products and attentions of a lowered module: what each asks of the matrix engine and of memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod

from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Operation, SSAValue

from ..dialects import bnn, nn, sattn
from ..dialects.constants import ConstantStore
from ..dialects.elements import element_type, format_of, is_packed, shape_of
from ..dialects.forms.work import Extents, Product
from ..dialects.provenance import nodes_of
from ..isa.errors import Blocking
from ..isa.frozen import frozen
from ..isa.machine import Machine
from ..isa.matrix import MatrixMode
from ..isa.structures import Structure
from ..passes.graph.matching import constant
from ..passes.tile.pruned_attention_graph import Levels


@frozen
class Layer:
    """One matrix product or attention: its structural path, operator, number format, shape and ONNX nodes. `modes` are
    those of the matrix engine that it takes (an attention has two products, and may predict scores), `mode_macs` the
    multiply-accumulates in each, and `macs` of all, by structured weights those of what is kept. `most_macs` are more
    where data say what of an attention is kept. `bytes` are those of its operands and result, of keys and values those
    that the `form` of an attention shows."""

    path: str
    operator: str
    format: str
    shape: tuple[int, ...]
    nodes: tuple[str, ...]
    modes: tuple[str, ...]
    mode_macs: tuple[int, ...]
    macs: int
    most_macs: int
    bytes: int
    form: str


@frozen
class _Work:
    """Multiply-accumulates by mode that any run makes, the most that one makes, and bytes."""

    macs: dict[str, int]
    most: int
    bytes: int


def layers_of(module: ModuleOp, store: ConstantStore, machine: Machine) -> tuple[Layer, ...]:
    """The products and attentions, in order."""
    return tuple(_layers(module, store, machine))


def _layers(module: ModuleOp, store: ConstantStore, machine: Machine) -> Iterator[Layer]:
    for operation in module.walk():
        match operation:
            case nn.MatmulOp():
                work = _product_work(operation, _mode(operation.rhs))
            case bnn.MatmulOp():
                work = _product_work(operation, operation.mode.label)
            case sattn.AttentionOp():
                work = _attention_work(operation, store, machine)
            case _:
                continue
        yield Layer(
            _path(operation),
            operation.name,
            str(element_type(operation.operands[0])),
            shape_of(operation.results[0]),
            tuple(node.name for node in nodes_of(operation)),
            tuple(work.macs),
            tuple(work.macs.values()),
            sum(work.macs.values()),
            work.most,
            work.bytes,
            _form(operation),
        )


def _mode(value: SSAValue) -> str:
    """The mode of a product by its right operand: one for what is packed, one of the operands' format else."""
    element = element_type(value)
    mode = bnn.mode_of(element) if is_packed(element) else MatrixMode.parse(format_of(element).label)
    assert mode is not None, f"no mode multiplies by {element}"
    return mode.label


def _path(operation: Operation) -> str:
    path = operation.attributes.get("path")
    return path.data if isinstance(path, StringAttr) else ""


def _form(operation: Operation) -> str:
    return operation.form.text if isinstance(operation, sattn.AttentionOp) else ""


def _product_work(product: nn.MatmulOp | bnn.MatmulOp, mode: str) -> _Work:
    depth, right = shape_of(product.lhs)[-1], _bytes(product.rhs)
    if isinstance(product, nn.MatmulOp) and product.structure is not None:
        structure = Structure.parse(product.structure.data)
        right, depth = structured_bytes(product, structure, prod(shape_of(product.rhs))), structure.rows(depth)
    macs = prod(shape_of(product.result)) * depth
    return _Work({mode: macs}, macs, _bytes(product.lhs) + right + _bytes(product.result))


def structured_bytes(product: nn.MatmulOp, structure: Structure, elements: int) -> int:
    """Bytes of a weight of so many elements and a structure: what is kept of it, and its indices."""
    depth = shape_of(product.lhs)[-1]
    kept = elements // depth * structure.rows(depth)
    bits = format_of(element_type(product.rhs)).bits + structure.index_format.bits
    return (kept * bits + 7) // 8


def _attention_work(attention: sattn.AttentionOp, store: ConstantStore, machine: Machine) -> _Work:
    batch, heads, groups, *extents = attention.extents
    each = attention.work(None if attention.pattern is None else constant(attention.pattern, store))
    asked = [macs for work in each for macs in work.macs]
    scores, values = (_mode(value) for value in (attention.k, attention.v))
    by_mode = {scores: 0, values: 0}
    for macs in asked:
        mode = {Product.SCORES: scores, Product.VALUES: values}.get(macs.product) or _levels_mode(macs.bits, machine)
        by_mode[mode] = by_mode.get(mode, 0) + batch * macs.least
    key_bytes, value_bytes = (format_of(element_type(value)).bits / 8 for value in (attention.k, attention.v))
    # Heads that share keys and values read them once.
    shared = heads // groups
    read = [work.read_bytes(Extents(*extents), key_bytes, value_bytes) for work in each]
    moved = batch * sum(max(read[start : start + shared]) for start in range(0, heads, shared))
    most = batch * sum(macs.most for macs in asked)
    return _Work(by_mode, most, moved + _bytes(attention.q) + _bytes(attention.result))


def _levels_mode(bits: int, machine: Machine) -> str:
    """The mode that predictions are made in; one that the machine lacks where it has none for them."""
    levels = Levels.of(bits, machine.matrix.rates)
    return f"i{bits}" if levels is None else levels.mode.label


def _bytes(value: SSAValue) -> int:
    return (prod(shape_of(value)) * format_of(element_type(value)).bits + 7) // 8


def without_mode(layers: Iterable[Layer], machine: Machine) -> tuple[Blocking, ...]:
    """The layers for whose mode the machine's matrix engine has no rate."""
    return tuple(
        Blocking(
            layer.path or (layer.nodes[-1] if layer.nodes else "?"),
            layer.operator,
            f"the matrix engine of machine {machine.name} has no {mode} mode",
            f"it has {', '.join(machine.matrix.rates)}: --precision, or [[layer]] of a recipe",
        )
        for layer in layers
        for mode in dict.fromkeys(layer.modes)
        if mode not in machine.matrix.rates
    )
