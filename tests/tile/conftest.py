"""Functions of nn operations, tiled and run beside the nn interpreter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from xdsl.builder import ImplicitBuilder
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.dialects.func import Func, FuncOp, ReturnOp
from xdsl.ir import SSAValue

from attnc.dialects import nn
from attnc.dialects.bnn import Bnn
from attnc.dialects.context import CompilerContext
from attnc.dialects.elements import dtype_of, element_type, tensor
from attnc.dialects.interpret import function, tile
from attnc.dialects.sattn import Sattn
from attnc.dialects.tile import KernelOp, Tile
from attnc.isa.machine import Machine, load_machine
from attnc.passes.tile.loop_order import canonical, inside
from attnc.passes.tile.matmul_plan import Decision, MatmulPlan, Rest
from attnc.passes.tile.matmul_problem import MatmulProblem
from attnc.passes.tile.tile import TileKernels

Body = Callable[..., Sequence[SSAValue]]


@dataclass
class Tiling:
    """Tiles functions for a machine and compares the values of the tile program with those of the function."""

    machine: Machine

    def context(self, sram_bytes: int | None = None) -> CompilerContext:
        machine = self.machine
        if sram_bytes is not None:
            machine = replace(machine, sram=replace(machine.sram, bytes=sram_bytes))
        context = CompilerContext(machine=machine)
        for dialect in (Builtin, Func, nn.Nn, Bnn, Sattn, Tile):
            context.load_dialect(dialect)
        return context

    def module(self, arguments: Sequence[tuple[object, tuple[int, ...]]], body: Body) -> ModuleOp:
        """`@main` with arguments of (element type, shape) and the results that `body(*arguments)` builds."""
        types = [tensor(element, *shape) for element, shape in arguments]
        main = FuncOp("main", (types, []))
        with ImplicitBuilder(main.body.block):
            results = body(*main.body.block.args)
            ReturnOp(*results)
        main.function_type = type(main.function_type).from_lists(types, [value.type for value in results])
        module = ModuleOp([main])
        module.verify()
        return module

    def check(
        self,
        module: ModuleOp,
        inputs: Sequence[np.ndarray],
        sram_bytes: int | None = None,
        rtol: float = 2e-5,
        atol: float = 1e-5,
        context: CompilerContext | None = None,
    ) -> list[KernelOp]:
        """Tile `module` in place and compare on `inputs`; gives the kernels."""
        context = context or self.context(sram_bytes)
        expected = function.run(module, inputs, context.store)
        TileKernels().apply(context, module)
        module.verify()
        named = {f"input_{index}": array for index, array in enumerate(inputs)}
        got = tile.run(module, named, context.store)
        for index, wanted in enumerate(expected):
            found = got[f"output_{index}"]
            assert found.dtype == wanted.dtype
            if wanted.dtype.kind in "iub" and wanted.dtype != np.dtype("bfloat16"):
                np.testing.assert_array_equal(found, wanted)
            else:
                pair = (found.astype(np.float64), wanted.astype(np.float64))
                np.testing.assert_allclose(*pair, rtol=rtol, atol=atol)
        return [op for op in module.walk() if isinstance(op, KernelOp)]

    def forced(
        self, order: str, m: int, n: int, k: int, strip: int = 0, rest: Rest = Rest.NOWHERE, **more: Any
    ) -> Callable[..., Decision]:
        """A search for tilings of products that always answers with this one."""

        def search(problem: MatmulProblem, *_: object) -> Decision:
            extents = {"b": (problem.batch, 1), "i": (problem.m, m), "j": (problem.n, n), "k": (problem.k, k)}
            single = {axis for axis, (extent, size) in extents.items() if extent <= size}
            name = canonical(order, "".join(single))
            # Only loops that turn inside of k leave sums unfinished.
            finished = "k" in single or set(inside(name, "k")) <= single
            plan = MatmulPlan(name, m, n, k, strip or m, **more, rest=Rest.NOWHERE if finished else rest)
            return Decision(plan, None, 1)

        return search

    def arrays(self, module: ModuleOp, seed: int = 0) -> list[np.ndarray]:
        """Random inputs for a module."""
        random = np.random.default_rng(seed)
        main = next(op for op in module.ops if isinstance(op, FuncOp))
        arrays: list[np.ndarray] = []
        for argument in main.body.block.args:
            dtype, shape = dtype_of(element_type(argument)), argument.type.get_shape()
            if dtype == np.bool_:
                arrays.append(random.integers(0, 2, shape).astype(np.bool_))
            elif dtype.kind in "iu":
                low, high = (0, 256) if dtype == np.uint8 else (-128, 128)
                arrays.append(random.integers(low, high, shape).astype(dtype))
            else:
                arrays.append(random.normal(0, 2, shape).astype(dtype))
        return arrays


@pytest.fixture(scope="session")
def tiling() -> Tiling:
    return Tiling(load_machine("edge"))
