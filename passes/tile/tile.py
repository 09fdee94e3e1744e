"""The tile phase: a function of tensor operations becomes kernels of loops over on-chip tiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from xdsl.context import Context
from xdsl.dialects.builtin import (
    ArrayAttr,
    FloatAttr,
    FunctionType,
    IntegerAttr,
    ModuleOp,
    StringAttr,
    f64,
    i64,
)
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn, sattn
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, shape_of
from ...dialects.onnx_interface import inputs_of, main_of, outputs_of
from ...dialects.provenance import FoldedNode, Node, fuse, node_location, nodes_of, record_folded
from ...dialects.tile import AllocOp, KernelOp, StoredValue, ValueAttr
from ...isa.errors import Blocking, UnsupportedError
from ...isa.machine import Machine
from ..schedule_options import ScheduleOptions
from ..tile_rules import TileRule
from .attention import AttentionLowering
from .build import TileBuilder
from .copy import CopyLowering
from .feed_forward_pairs import pair_feed_forward
from .fuse import form_kernels
from .gather import CumsumLowering, GatherLowering, IotaLowering
from .greatest import GreatestLowering
from .handover import hand_over
from .kernel import Budget, Kernel, Lowering, Plan, Scope
from .matmul import MatmulLowering
from .norm_comparisons import expand_norm_comparisons
from .progressive_attention import ProgressiveLowering
from .pruned_attention import PrunedAttentionLowering
from .rates import Rates, planned_for
from .recompute import recompute_norms, reduce_apart
from .residency import choose_residents
from .row_statistics import made_by_products
from .rowwise import RowwiseLowering
from .seams import find_ends
from .split_heads import split_heads
from .storage import Buffers
from .succession import Heirs, find_heirs
from .tile_choices import tile_choices
from .views import Layout, is_stored, lay_out, producible

LOWERINGS: Mapping[str, type[Lowering]] = {
    "matmul": MatmulLowering,
    "attention": AttentionLowering,
    "rowwise": RowwiseLowering,
    "concat": CopyLowering,
    "pad": CopyLowering,
    "copy": CopyLowering,
    "gather": GatherLowering,
    "greatest": GreatestLowering,
    "iota": IotaLowering,
    "cumsum": CumsumLowering,
}


@dataclass(frozen=True)
class TileKernels(ModulePass):
    """Cut `@main` into kernels, decide where tensors stay, and lower each kernel to loops over tiles.

    resident: keep tensors on chip between kernels where they fit. in_place: let results take over the
    storage of operands that nothing reads any more. recompute_norms: compute a norm that is too large to stay on chip
    again where it is added to a product. fuse_feed_forward: run pairs of products whose hidden
    activations do not fit on chip as one kernel. stagger_heads: make an attention's next scores before its last product
    with the values. split_heads: cut an attention whose softmax outlasts its products into groups of heads, with their
    projections. row_blocks: pass rows on from kernel to kernel block by block. tile_search: choose tilings of
    products by cost. tiles: what a recipe forces of those, as `TileRule` texts.
    """

    name = "tile-kernels"
    resident: bool = True
    in_place: bool = True
    recompute_norms: bool = True
    fuse_feed_forward: bool = True
    stagger_heads: bool = True
    split_heads: bool = True
    row_blocks: bool = True
    row_statistics: bool = True
    tile_search: bool = True
    tiles: tuple[str, ...] = ()

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Replace `@main` of nn and sattn operations by one of tile operations. Raises UsageError for a rule of
        `tiles` that matches no product."""
        context = CompilerContext.of(ctx)
        function = main_of(op)
        copy_shared_outputs(function.body.block)
        reduce_apart(function.body.block)
        expand_norm_comparisons(function.body.block, context.store)
        options = ScheduleOptions.of(self)
        again: frozenset[Operation] = frozenset()
        crowded: frozenset[Operation] = frozenset()
        machine = planned_for(context.target)
        if self.split_heads:
            crowded = split_heads(function.body.block, context.store, Rates(machine))
        if self.recompute_norms:
            again = recompute_norms(function.body.block, context.store, machine)
        rules = [TileRule.parse(text) for text in self.tiles]
        _Tiler(op, function, context, machine, options, again, crowded, rules).run()


def copy_shared_outputs(block: Block) -> None:
    """Give every output a storage of its own: inputs, constants, parts and repeated values are copied to it."""
    last = block.last_op
    assert isinstance(last, ReturnOp)
    if len(set(last.operands)) == len(last.operands) and all(map(is_stored, last.operands)):
        return
    layout = lay_out(block)
    taken: set[SSAValue] = set()
    for index, value in enumerate(last.operands):
        view = layout.views[value]
        whole = view.is_dense and view.offset == 0 and view.elements == layout.views[view.root].elements
        if producible(view.root) and whole and view.root not in taken:
            taken.add(view.root)
            continue
        copy = nn.ConcatOp([value], 0) if shape_of(value) else nn.CastOp(value, element_type(value))
        owner = value.owner
        copy.location = owner.location if isinstance(owner, Operation) else copy.location
        block.insert_op_before(copy, last)
        last.operands[index] = copy.results[0]
        taken.add(copy.results[0])


class _Tiler:
    """One function being tiled."""

    def __init__(
        self,
        module: ModuleOp,
        function: FuncOp,
        context: CompilerContext,
        machine: Machine,
        options: ScheduleOptions,
        again: frozenset[Operation],
        crowded: frozenset[Operation],
        rules: Sequence[TileRule],
    ) -> None:
        self._module = module
        self._function = function
        self._block = function.body.block
        self._layout: Layout = lay_out(self._block)
        self._target = Block()
        self._scope = Scope(machine, context.store, self._layout.views, options=options, crowded=crowded)
        self._buffers = Buffers(self._target, context.store, self._scope.residents, self._layout.views)
        self._scope.buffers = self._buffers
        self._lowerings = self._lowered(again)
        if options.row_statistics and (statistics := made_by_products(self._lowerings)):
            self._lowerings = self._lowered(again, statistics)
        self._kernels = [lowering.kernel for lowering in self._lowerings]
        self._scope.tile_choices = tile_choices(self._kernels, rules)
        if options.row_blocks:
            self._scope.ends = find_ends(self._lowerings, self._scope)
        self._made: dict[Operation, KernelOp] = {}
        self._order: dict[KernelOp, int] = {}

    def run(self) -> None:
        """Declare inputs and outputs, emit every kernel, and put the new function in the old one's place."""
        for argument, interface in zip(self._block.args, inputs_of(self._function), strict=True):
            self._buffers.declare(argument, interface.name, "input", shape_of(argument))
        last = self._block.last_op
        assert isinstance(last, ReturnOp)
        for value, interface in zip(last.operands, outputs_of(self._function), strict=True):
            self._buffers.declare(self._layout.views[value].root, interface.name, "output", shape_of(value))
        budgets = self._budgets()
        plans = [lowering.plan(budget) for lowering, budget in zip(self._lowerings, budgets, strict=True)]
        if self._scope.options.resident:
            plans = hand_over(self._lowerings, plans, budgets, self._scope)
        for kernel, lowering, plan in zip(self._kernels, self._lowerings, plans, strict=True):
            self._emit(kernel, lowering, plan)
        self._account()
        self._target.add_op(ReturnOp())
        new = FuncOp("main", FunctionType.from_lists([], []), Region(self._target))
        new.location = self._function.location
        outer = self._function.parent_block()
        assert outer is not None
        outer.insert_op_before(new, self._function)
        self._function.detach()
        self._function.erase()

    def _lowered(self, again: frozenset[Operation], statistics: frozenset[Operation] = frozenset()) -> list[Lowering]:
        """The lowerings of the kernels that the block's operations form."""
        kernels = form_kernels(self._block, self._layout, again, statistics)
        lowerings = _lowerings_of(kernels, self._scope)
        if self._scope.options.fuse_feed_forward:
            return pair_feed_forward(lowerings, self._scope, self._outputs())
        return lowerings

    def _budgets(self) -> list[Budget]:
        """Decide what stays on chip and what takes over another's storage; the on-chip bytes that each kernel has for
        its tiles."""
        machine, outputs = self._scope.machine, self._outputs()
        heirs: Heirs = [()] * len(self._kernels)
        budgets = [Budget(machine.sram.bytes, machine.acc.bytes)] * len(self._kernels)
        if self._scope.options.in_place:
            heirs = find_heirs(self._kernels, self._lowerings, self._scope, outputs)
        if self._scope.options.resident:
            budgets = choose_residents(self._kernels, self._lowerings, self._scope, outputs, heirs)
        for old, new in chain.from_iterable(heirs):
            if (old in self._scope.residents) == (new in self._scope.residents):
                self._buffers.bequeath(old, new)
        return budgets

    def _outputs(self) -> list[SSAValue]:
        """The storage roots of the function's outputs."""
        last = self._block.last_op
        assert isinstance(last, ReturnOp)
        return [self._layout.views[value].root for value in last.operands]

    def _emit(self, kernel: Kernel, lowering: Lowering, plan: Plan) -> None:
        roots = list(dict.fromkeys(self._layout.views[value].root for value in kernel.results))
        outputs = [self._buffers[root] for root in roots]
        values = [
            StoredValue(name.data, roots.index(self._layout.views[value].root), self._layout.views[value].whole)
            for member in kernel.operations
            if (value := member.results[0]) in kernel.results
            and self._layout.views[value].root not in self._scope.handovers
            and isinstance(name := member.attributes.get("value"), StringAttr)
        ]
        label = f"{kernel.kind}_{len(dict.fromkeys(self._made.values()))}"
        op = KernelOp(label, kernel.path, _plan_attributes(plan), outputs, values)
        builder = TileBuilder(self._target)
        location = fuse(*(member.location for member in kernel.operations))
        with builder.kernel(op, location):
            self._buffers.kernel = op
            lowering.emit(plan, builder)
        self._buffers.kernel = None
        for member in kernel.operations:
            self._made[member] = op

    def _account(self) -> None:
        """Every operation in one kernel: views and constants join the kernel that makes or reads what they show.

        What several share, a constant of one element say, is located at the nodes of all: of these a kernel takes those
        that no kernel computes.
        """
        self._order = {kernel: number for number, kernel in enumerate(dict.fromkeys(self._made.values()))}
        computed = {node for kernel in self._order for node in nodes_of(kernel)}
        rest = [op for op in self._block.ops if not isinstance(op, ReturnOp) and op not in self._made]
        for op in sorted(rest, key=lambda op: isinstance(op, nn.ConstantOp)):
            is_constant = isinstance(op, nn.ConstantOp)
            kernel = self._producer(op) or self._consumer(op)
            nodes = [node for node in nodes_of(op) if node not in computed]
            if is_constant:
                computed.update(nodes)
            if kernel is None:
                self._fold(nodes, "a constant" if is_constant else "nothing reads it")
                continue
            if nodes:
                kernel.location = fuse(kernel.location, *(node_location(node.name, node.operator) for node in nodes))
            self._add_value(kernel, op)
        for kernel in dict.fromkeys(self._made.values()):
            if all(isinstance(inner, AllocOp) for inner in kernel.body.block.ops):
                self._dissolve(kernel)

    def _fold(self, nodes: Iterable[Node], reason: str) -> None:
        """List nodes that no kernel stands for."""
        record_folded(self._module, [FoldedNode(node.name, node.operator, "tile", reason) for node in nodes])

    def _producer(self, op: Operation) -> KernelOp | None:
        """The kernel that computes what a view operation shows."""
        while op.operands and (self._layout.is_view(op) or op in self._made):
            if op in self._made:
                return self._made[op]
            owner = op.operands[0].owner
            if not isinstance(owner, Operation):
                return None
            op = owner
        return self._made.get(op)

    def _consumer(self, op: Operation) -> KernelOp | None:
        """The first kernel, in the order of the program, that reads what an operation gives, through views."""
        users = [use.operation for result in op.results for use in result.uses]
        found = [kernel for user in users if (kernel := self._made.get(user) or self._consumer(user)) is not None]
        return min(found, key=self._order.__getitem__, default=None)

    def _add_value(self, kernel: KernelOp, op: Operation) -> None:
        """Note the ONNX value that a view operation equals, where the kernel stores what it shows."""
        name = op.attributes.get("value")
        if not isinstance(name, StringAttr) or isinstance(op, nn.ConstantOp):
            return
        view = self._layout.views[op.results[0]]
        buffer = self._buffers.get(view.root)
        for index, output in enumerate(kernel.outputs):
            if output is buffer:
                value = ValueAttr(StoredValue(name.data, index, view.whole))
                kernel.values = ArrayAttr([*kernel.values, value])
                return

    def _dissolve(self, kernel: KernelOp) -> None:
        """Take out a kernel that has nothing to do, because its parts were written in place by others."""
        members = [op for op, made in self._made.items() if made is kernel]
        sources = [self._producer(v.owner) for op in members for v in op.operands if isinstance(v.owner, Operation)]
        heirs = [source for source in sources if source is not None and source is not kernel]
        if heirs:
            heirs[-1].location = fuse(heirs[-1].location, kernel.location)
        else:
            self._fold(nodes_of(kernel), "it computes no element")
        for member in members:
            if heirs:
                self._made[member] = heirs[-1]
            else:
                del self._made[member]
        kernel.detach()
        kernel.erase()


def _lowerings_of(kernels: Iterable[Kernel], scope: Scope) -> list[Lowering]:
    """Of every kernel; raises UnsupportedError with all that the machine cannot run."""
    made: list[Lowering] = []
    blocking: list[Blocking] = []
    for kernel in kernels:
        try:
            made.append(_lowering_of(kernel)(kernel, scope))
        except UnsupportedError as error:
            blocking.extend(error.blocking)
    if blocking:
        raise UnsupportedError(blocking)
    return made


def _lowering_of(kernel: Kernel) -> type[Lowering]:
    anchor = kernel.anchor
    if isinstance(anchor, sattn.AttentionOp) and anchor.form.pruning is not None:
        return PrunedAttentionLowering
    if isinstance(anchor, sattn.AttentionOp) and anchor.form.progressive is not None:
        return ProgressiveLowering
    return LOWERINGS[kernel.kind]


def _plan_attributes(plan: Plan) -> Mapping[str, Attribute]:
    numbers: dict[str, int | float | str] = {
        **plan.details,
        "sram_bytes": plan.sram_bytes,
        "acc_bytes": plan.acc_bytes,
        "cycles": int(plan.cycles),
    }
    return {key: _attribute(value) for key, value in numbers.items()}


@lru_cache(maxsize=4096, typed=True)
def _attribute(value: int | float | str) -> Attribute:
    if isinstance(value, str):
        return StringAttr(value)
    return IntegerAttr(value, i64) if isinstance(value, int) else FloatAttr(value, f64)
