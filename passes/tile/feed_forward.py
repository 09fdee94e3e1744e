"""The feed-forward pair: two matrix products of which the second reads all that the first one makes, as one kernel.

The hidden activations never leave the chip: a panel of them is made, goes through activation and requantization, and
is used up as depth of the second product, whose sums grow panel by panel. Gated pairs (SwiGLU) make each panel with two
products. Weights pass by once for each block of rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import field, replace
from typing import cast

from xdsl.dialects.builtin import StringAttr, UnrealizedConversionCastOp
from xdsl.ir import SSAValue

from ...dialects.elements import element_of, tensor
from ...isa.frozen import frozen
from .build import TileBuilder
from .feed_forward_emit import FeedForwardEmission
from .feed_forward_problem import FeedForwardDecision, FeedForwardProblem, FeedForwardTiling, UpProduct
from .feed_forward_search import search_feed_forward
from .feed_forward_sums import Rest, Stages, grows_in_result, rest_form, stages
from .kernel import Budget, Kernel, Lowering, Plan, Scope
from .lane_graph import Extent
from .matmul import NO_SEAM, MatmulLowering
from .matmul_problem import Epilogue
from .tile_epilogue import TileEpilogue
from .tile_leaves import TileLeaves
from .tiles import Spread, tile_bytes


@frozen
class FeedForwardPlan(Plan):
    """A plan with the tiling that it stands for."""

    decision: FeedForwardDecision = field(kw_only=True)


class FeedForwardLowering(Lowering):
    """Lowers a pair: `parts` are the up products (a gate first) and the down product."""

    # A panel more on chip is worth more than room for what comes after so long a kernel.
    fill = 1.0

    def __init__(self, kernel: Kernel, scope: Scope, parts: Sequence[MatmulLowering]) -> None:
        super().__init__(kernel, scope)
        *ups, down = parts
        self.parts = tuple(parts)
        self.ups: tuple[MatmulLowering, ...] = tuple(ups)
        self.down: MatmulLowering = down
        self.rows, self.depth = down.rows, ups[0].depth
        self.hidden, self.columns = down.depth, down.columns
        self.rates = scope.rates
        self._made = tuple(up.epilogue.output for up in ups)
        self._rest_form = rest_form(down)
        self._rests = {place: self._sums() for place in (Rest.CHIP, Rest.DRAM)}

    def _sums(self) -> SSAValue:
        kind = tensor(element_of(self._rest_form), self.rows, self.columns)
        op = UnrealizedConversionCastOp(operands=[[]], result_types=[[kind]])
        op.attributes["path"] = StringAttr(f"{self.kernel.path or 'feed_forward'}.sums")
        return op.results[0]

    def rest(self, place: Rest) -> Spread:
        """Where unfinished sums lie, over rows and columns; outer index: the first row of the block."""
        if place is Rest.RESULT:
            return self.down.epilogue.output
        outer = (-self.columns,) if place is Rest.CHIP else ()
        return Spread(self._rests[place], self._rest_form, 0, outer, self.columns, 1)

    def stages(self, tiling: FeedForwardTiling) -> Stages:
        """The epilogues of the down product where there are several panels."""
        return stages(self.down, None if tiling.rest is Rest.NOWHERE else self.rest(tiling.rest))

    def hidden_panel(self, tiling: FeedForwardTiling) -> Spread:
        """The hidden over rows and hidden columns, of which a panel of a block of rows lies on chip; outer indices: the
        first row and column of the panel."""
        last = self._made[-1]
        return Spread(last.root, last.form, 0, (-tiling.panel, -1), tiling.panel, 1)

    def _gate_tile(self, made: Spread, tiling: FeedForwardTiling) -> Spread:
        """What a gate product makes, of which a tile lies on chip; outer indices: those of the panel, and the first row
        and column of the tile."""
        return Spread(made.root, made.form, 0, (0, 0, -tiling.n, -1), tiling.n, 1)

    def up_epilogues(self, tiling: FeedForwardTiling) -> Sequence[TileEpilogue]:
        """The epilogues of the up products, from tile to tile on chip."""
        tiles: Mapping[SSAValue, Spread] = {
            **{made.root: self._gate_tile(made, tiling) for made in self._made[:-1]},
            self._made[-1].root: self.hidden_panel(tiling),
        }
        found: list[TileEpilogue] = []
        for up in self.ups:
            epilogue = up.epilogue
            sources = tuple(None if leaf is None else tiles.get(leaf.root, leaf) for leaf in epilogue.sources)
            leaves = TileLeaves(self.scope, self._loaded(up), tiling.rows, tiling.panel)
            found.append(replace(epilogue, sources=sources, leaves=leaves, output=tiles[epilogue.output.root]))
        return found

    def _loaded(self, up: MatmulLowering) -> tuple[Spread, ...]:
        """What the epilogue of an up product reads besides what the pair makes."""
        made = {spread.root for spread in self._made}
        return tuple(leaf for leaf in up.epilogue.leaves.leaves if leaf.root not in made)

    def keep_on_chip(self, tiling: FeedForwardTiling, builder: TileBuilder) -> None:
        """Make the buffers of what never leaves the chip."""
        self.scope.residents.update((*(made.root for made in self._made), self._rests[Rest.CHIP]))
        buffers = self.scope.buffers
        for made in self._made[:-1]:
            buffers[made.root] = builder.alloc("sram", (tiling.m, tiling.n), made.form)
        last = self._made[-1]
        buffers[last.root] = builder.alloc("sram", (tiling.rows, tiling.panel), last.form)
        if tiling.rest is Rest.CHIP:
            sums = builder.alloc("sram", (tiling.rows, self.columns), self._rest_form)
            buffers[self._rests[Rest.CHIP]] = sums

    @property
    def problem(self) -> FeedForwardProblem:
        """What the search is asked, with the operands that are resident now."""
        self.scope.residents.add(self._rests[Rest.CHIP])
        ends = self.scope.ends.get(self.kernel)
        down, first = self.down, self.ups[0]
        in_result = grows_in_result(down)
        places = [Rest.CHIP]
        if in_result and down.epilogue.output_usable:
            # A result on chip is as good as a buffer beside it, and free.
            places = [Rest.RESULT] if down.epilogue.stores_in_place else [Rest.CHIP, Rest.RESULT]
        elif not in_result:
            places = [Rest.CHIP, Rest.DRAM]
        staged = tuple((place, self._stage_costs(place)) for place in places)
        return FeedForwardProblem(
            self.rows,
            self.depth,
            self.hidden,
            self.columns,
            first.mode.label,
            down.mode.label,
            first.left.describe(packed=False),
            tuple(UpProduct(up.right.describe(packed=up.packed), self._up_costs(up)) for up in self.ups),
            self._made[-1].form.width,
            down.right.describe(packed=down.packed),
            down.epilogue.costs,
            staged,
            self._rest_form.bytes,
            NO_SEAM if ends is None else ends.seam(self.scope),
            first.arithmetic.left,
            down.arithmetic.left,
        )

    def _stage_costs(self, place: Rest) -> tuple[Epilogue, Epilogue, Epilogue]:
        three = stages(self.down, self.rest(place))
        return three.first.costs, three.middle.costs, three.last.costs

    def _up_costs(self, up: MatmulLowering) -> Epilogue:
        """An epilogue whose result stays on chip; values of a row are loaded with each panel."""
        leaves = [leaf for leaf in self._loaded(up) if not up.epilogue.leaves.in_place(leaf)]
        rows = sum(leaf.form.width for leaf in leaves if leaf.extent is Extent.ROW)
        loaded = sum(leaf.form.width for leaf in leaves if leaf.extent is Extent.FULL)
        return replace(up.epilogue.costs, loaded=loaded, stored=0, rows=rows)

    @property
    def _column_bytes(self) -> int:
        """SRAM for the values of a column that the epilogues of up products read."""
        leaves = [leaf for up in self.ups for leaf in self._loaded(up) if leaf.extent is Extent.COLUMN]
        return sum(tile_bytes(Extent.COLUMN, self.rows, 1, leaf.form) for leaf in leaves)

    def plan(self, budget: Budget) -> FeedForwardPlan:
        whole = self.down.epilogue.leaves.whole_bytes + self._column_bytes
        decision = search_feed_forward(self.problem, self.rates, budget.sram - whole, budget.acc)
        chosen = decision.chosen
        details: dict[str, int | float | str] = {
            "rows": chosen.rows,
            "panel": chosen.panel,
            "tile_m": chosen.m,
            "tile_n": chosen.n,
            "tile_k": chosen.k,
            "down_n": chosen.down_n,
            "down_k": chosen.down_k,
            "strip": chosen.strip,
            "sums_rest": chosen.rest.label,
            "edge": chosen.edge,
            "lead": chosen.lead,
            "tail": chosen.tail,
            "seam_cycles": chosen.seam,
            "array_cycles": chosen.array,
            "dram_cycles": chosen.channel,
            "vector_cycles": chosen.vector,
            "candidates": decision.candidates,
            "runner_up": decision.runner_up.text if decision.runner_up else "none",
        }
        return FeedForwardPlan(
            chosen.sram + whole, chosen.acc, chosen.cycles, details, burden=chosen.burden, decision=decision
        )

    def accepts_resident(self, value: SSAValue) -> bool:
        return all(part.accepts_resident(value) for part in (*self.ups, self.down))

    @property
    def shape(self) -> Hashable:
        return (
            FeedForwardLowering,
            self.problem,
            self._column_bytes,
            tuple(self._places_of(part) for part in self.parts),
        )

    def _places_of(self, part: MatmulLowering) -> Hashable:
        """Where one of the products finds what it reads and writes, in terms of the pair's operands and results."""
        return part.epilogue.leaves.whole_bytes, tuple((self.place_of(s.root), s.form, s.strides) for s in part.spreads)

    def may_overwrite(self, operand: SSAValue, result: SSAValue) -> bool:
        """Whether only the epilogue of the down product reads the operand: the first panel's part of every sum takes
        it in, before the result of the same tile is written. Or whether it is the input of the pair besides: where
        sums do not grow in the result, that is written when the last panel of the same rows is made."""
        root = self.scope.view(operand).root
        output = self.down.epilogue.output
        for up in self.ups:
            if any(leaf.root is root for leaf in (*up.right.leaves, *up.epilogue.leaves.leaves)):
                return False
            if any(leaf.root is root for leaf in up.left.leaves) and (
                grows_in_result(self.down) or up.left.leaves != (replace(output, root=root),)
            ):
                return False
        return self.down.may_overwrite(operand, result)

    def emit(self, plan: Plan, builder: TileBuilder) -> None:
        FeedForwardEmission(self, cast(FeedForwardPlan, plan).decision.chosen, builder).run()
