"""Graphs of nn operations that passes of the precision phase rewrite: run by the interpreter and on the simulator."""

from collections.abc import Sequence

import numpy as np
import pytest
from xdsl.dialects.builtin import f32
from xdsl.dialects.func import ReturnOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from attnc.dialects import nn, sattn
from attnc.dialects.context import CompilerContext
from attnc.dialects.elements import element_of_dtype, tensor
from attnc.dialects.provenance import folded_nodes, module_nodes
from attnc.isa.machine import load_machine
from attnc.passes.emit.emit import emit
from attnc.passes.graph.pipeline import cleanup
from attnc.passes.schedule.lower_tile import LowerTile
from attnc.passes.tile.tile import TileKernels
from attnc.runtime.session import Session

from ..graph.conftest import Graph


class Quantized(Graph):
    """A graph with short ways to write what quantizers write, and the two ways to run it."""

    def __init__(self, *arrays: np.ndarray) -> None:
        """Arguments of the types of `arrays`, which are what the graph is run on."""
        super().__init__(*(tensor(element_of_dtype(array.dtype), *array.shape) for array in arrays))
        self.arrays = arrays

    def typed(self, array: np.ndarray) -> SSAValue:
        """A constant of the array's own type."""
        return self.constant(array, array.dtype)

    def dequantize(
        self, value: SSAValue, scale: SSAValue, zero: SSAValue | None = None, axis: int | None = None
    ) -> SSAValue:
        return self.add(nn.DequantizeOp(value, scale, zero, axis, f32))

    def matmul(self, lhs: SSAValue, rhs: SSAValue, transposed: bool = False) -> SSAValue:
        return self.add(nn.MatmulOp(lhs, rhs, transposed, f32))

    def apply(self, *passes: ModulePass) -> list[Operation]:
        """Run passes and clean up; every node stays accounted for. Gives the operations left."""
        assert self.module is not None
        before = {node.name for node in module_nodes(self.module)}
        for step in (*passes, *cleanup()):
            step.apply(self.context, self.module)
            self.module.verify()
        assert {node.name for node in (*module_nodes(self.module), *folded_nodes(self.module))} == before
        return [op for op in self.block.ops if not isinstance(op, ReturnOp | nn.ConstantOp)]

    def result(self) -> np.ndarray:
        """The first output, by the interpreter."""
        return self.run(self.arrays)[0]

    def simulated(self, machine: str = "edge") -> np.ndarray:
        """The first output, compiled to a program and run on the simulator with its checks."""
        assert self.module is not None
        target = load_machine(machine)
        context = CompilerContext(store=self.context.store, machine=target)
        module = self.module.clone()
        for step in (TileKernels(), LowerTile()):
            step.apply(context, module)
        session = Session(emit(module, context))
        inputs = {f"input_{index}": array for index, array in enumerate(self.arrays)}
        return session.run(inputs, check=True).outputs["output_0"]


@pytest.fixture
def quantized() -> type[Quantized]:
    """The class that makes graphs."""
    return Quantized


def products(operations: Sequence[Operation]) -> list[nn.MatmulOp | sattn.AttentionOp]:
    """The matrix products and attentions among operations."""
    return [op for op in operations if isinstance(op, nn.MatmulOp | sattn.AttentionOp)]
