"""Graphs of nn operations made and run in tests."""

from collections.abc import Sequence

import numpy as np
import pytest
from xdsl.dialects.builtin import FunctionType, ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, Region, SSAValue

from attnc.dialects import nn
from attnc.dialects.context import CompilerContext
from attnc.dialects.elements import dtype_of, element_of_dtype, element_type, shape_of, tensor
from attnc.dialects.interpret.function import run
from attnc.dialects.provenance import folded_nodes, module_nodes, node_location
from attnc.passes.graph.pipeline import recognition


class Graph:
    """Appends located operations, then gives the module."""

    def __init__(self, *types) -> None:
        self.context = CompilerContext()
        self.block = Block(arg_types=types)
        self.count = 0
        self.module: ModuleOp | None = None

    @property
    def inputs(self) -> tuple[SSAValue, ...]:
        return tuple(self.block.args)

    def add(self, operation: Operation) -> SSAValue:
        if not isinstance(operation, nn.ConstantOp):
            operation.location = node_location(f"node{self.count}", operation.name)
            self.count += 1
        self.block.add_op(operation)
        return operation.results[0]

    def constant(self, values, dtype=np.float32) -> SSAValue:
        array = np.asarray(values, dtype)
        attribute = self.context.store.attribute(array)
        return self.add(nn.ConstantOp(attribute, tensor(element_of_dtype(array.dtype), *array.shape)))

    def map(self, function: str, *operands) -> SSAValue:
        values = [
            x if isinstance(x, SSAValue) else self.constant(x, np.int32 if isinstance(x, int) else np.float32)
            for x in operands
        ]
        return self.add(nn.MapOp(function, values))

    def done(self, *outputs: SSAValue) -> ModuleOp:
        self.block.add_op(ReturnOp(*outputs))
        types = [a.type for a in self.block.args], [o.type for o in outputs]
        self.module = ModuleOp([FuncOp("main", FunctionType.from_lists(*types), Region(self.block))])
        self.module.verify()
        return self.module

    def random_inputs(self, seed: int = 0) -> list[np.ndarray]:
        generator = np.random.default_rng(seed)
        return [generator.standard_normal(shape_of(a)).astype(dtype_of(element_type(a))) for a in self.block.args]

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        assert self.module is not None
        return run(self.module, inputs, self.context.store)

    def recognise(self) -> list[Operation]:
        """Run the graph passes, check that no node is lost, and give the operations that are left."""
        assert self.module is not None
        before = {node.name for node in module_nodes(self.module)}
        for step in recognition():
            step.apply(self.context, self.module)
            self.module.verify()
        accounted = {node.name for node in (*module_nodes(self.module), *folded_nodes(self.module))}
        assert accounted == before
        return [op for op in self.block.ops if not isinstance(op, ReturnOp | nn.ConstantOp)]


@pytest.fixture
def graph():
    """The class that makes graphs."""
    return Graph


@pytest.fixture
def same_values():
    """Checks that a graph's values stay as they are when it is recognised; gives the operations left."""

    def check(made: Graph, inputs: Sequence[np.ndarray] | None = None, tolerance: float = 2e-6) -> list[Operation]:
        given = made.random_inputs() if inputs is None else inputs
        expected = made.run(given)
        operations = made.recognise()
        for before, after in zip(expected, made.run(given), strict=True):
            assert before.dtype == after.dtype
            assert before.shape == after.shape
            assert np.array_equal(np.isnan(before), np.isnan(after))
            scale = max(float(np.nanmax(np.abs(before.astype(np.float64)), initial=0.0)), 1e-30)
            assert float(np.nanmax(np.abs(before.astype(np.float64) - after), initial=0.0)) <= tolerance * scale
        return operations

    return check
