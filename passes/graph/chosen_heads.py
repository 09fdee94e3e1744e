"""An attention with some of its heads: the products that make its operands, and the one that takes its output, with the
slices of their weights that belong to these heads."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from xdsl.dialects.func import ReturnOp
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.rewriter import Rewriter

from ...dialects import nn, sattn
from ...dialects.constants import ConstantStore
from ...dialects.elements import element_type, shape_of, tensor
from ...isa.frozen import frozen
from ..builder import Builder
from ..refusal import RefusalError
from ..rewrite import carry

ELEMENTWISE = (nn.MapOp, nn.CastOp)
REMEDY = "take layers whose projections are products with constants"


@frozen
class Axis:
    """Where a value has its heads: along `axis` from its place `first` on, each `inner` adjacent places of it."""

    axis: int
    inner: int
    first: int = 0

    def before(self, op: nn.TransposeOp | nn.ReshapeOp) -> Axis:
        """Where the operand of a layout operation has them, of whose result this says it."""
        if isinstance(op, nn.TransposeOp):
            return replace(self, axis=op.permutation.get_values()[self.axis])
        return self._moved(shape_of(op.result), shape_of(op.input))

    def behind(self, op: nn.TransposeOp | nn.ReshapeOp) -> Axis:
        """Where the result has them, of whose operand this says it."""
        if isinstance(op, nn.TransposeOp):
            return replace(self, axis=list(op.permutation.get_values()).index(self.axis))
        return self._moved(shape_of(op.input), shape_of(op.result))

    def _moved(self, old: tuple[int, ...], new: tuple[int, ...]) -> Axis:
        outside, under = prod(old[: self.axis]), prod(old[self.axis + 1 :])
        for axis, extent in enumerate(new):
            rest = prod(new[axis + 1 :])
            same = prod(new[:axis]) == outside and extent * rest == old[self.axis] * under
            if same and not self.inner * under % rest and not self.first * under % rest:
                return Axis(axis, self.inner * under // rest, self.first * under // rest)
        raise RefusalError("a reshape joins the heads with another axis in front of them", REMEDY)

    def aligned(self, value: SSAValue, result: SSAValue) -> Axis | None:
        """Where an operand of an elementwise operation has them; None where it repeats for all."""
        shape = shape_of(value)
        axis = self.axis - len(shape_of(result)) + len(shape)
        return None if axis < 0 or shape[axis] == 1 else replace(self, axis=axis)


class Chosen:
    """An attention of a model, of which heads may be chosen."""

    def __init__(self, op: sattn.AttentionOp) -> None:
        self.op = op
        self.heads = op.extents[1]

    def keep(self, ids: SSAValue, store: ConstantStore) -> None:
        """Rewrite the attention, and what makes its operands and takes its output, to the heads of the numbers `ids`
        [kept]. Raises RefusalError where their weights cannot be told apart."""
        op = self.op
        if op.extents[2] != self.heads:
            raise RefusalError("its heads share keys", "layers whose heads have keys of their own")
        if op.mask is not None and len(shape_of(op.mask)) == 4 and shape_of(op.mask)[1] != 1:
            raise RefusalError("its mask differs between heads", "layers whose heads have the same mask")
        slices = _Slices(ids, self.heads, store)
        operands = [slices.value(value, Axis(1, 1)) for value in (op.q, op.k, op.v)]
        made = type(op).create(
            operands=[*operands, *op.operands[3:]],
            result_types=[_with(op.result, Axis(1, 1), slices.kept), *(result.type for result in op.results[1:])],
            properties=dict(op.properties),
            attributes={name: value for name, value in op.attributes.items() if name != "value"},
        )
        made.location = op.location
        block = op.parent_block()
        assert block is not None
        block.insert_op_before(made, op)
        for before, after in zip(op.results[1:], made.results[1:], strict=True):
            before.replace_all_uses_with(after)
        slices.pass_on(op.result, made.results[0], Axis(1, 1))
        op.detach()
        op.erase()
        self.op = made


def _is_along(op: nn.SliceOp, axis: int) -> bool:
    """Whether a slice takes adjacent places of an axis, and all of the others."""
    shapes = zip(shape_of(op.input), shape_of(op.result), strict=True)
    cut = [place for place, (before, after) in enumerate(shapes) if before != after]
    return cut == [axis] and op.steps.get_values()[axis] == 1


def _with(value: SSAValue, place: Axis, heads: int) -> Attribute:
    shape = list(shape_of(value))
    shape[place.axis] = heads * place.inner
    return tensor(element_type(value), *shape)


class _Slices:
    """Rewrites values so that they have the heads `ids` of `heads`."""

    def __init__(self, ids: SSAValue, heads: int, store: ConstantStore) -> None:
        self.kept = shape_of(ids)[0]
        self._ids = ids
        self._heads = heads
        self._store = store
        self._made: dict[tuple[SSAValue, Axis], SSAValue] = {}

    def value(self, value: SSAValue, place: Axis) -> SSAValue:
        """What makes a value, back to products with constants, with the chosen heads."""
        key = value, place
        if key not in self._made:
            self._made[key] = self._value(value, place)
        return self._made[key]

    def _value(self, value: SSAValue, place: Axis) -> SSAValue:
        op = value.owner
        match op:
            case nn.TransposeOp() | nn.ReshapeOp():
                return self._copied(op, [self.value(op.input, place.before(op))], place)
            case nn.MatmulOp():
                return self._product(op, place)
            case nn.LayerNormOp() | nn.RmsNormOp() if op.axis.value.data > place.axis:
                return self._copied(op, [self.value(op.input, place), *op.operands[1:]], place)
            case nn.SliceOp() if _is_along(op, place.axis):
                return self.value(op.input, replace(place, first=place.first + op.starts.get_values()[place.axis]))
            case nn.SliceOp() if shape_of(op.input)[place.axis] == shape_of(value)[place.axis]:
                return self._copied(op, [self.value(op.input, place)], place)
            case nn.MapOp() | nn.CastOp():
                return self._copied(op, [self._operand(op, one, place) for one in op.operands], place)
            case nn.ConstantOp():
                raise RefusalError("its queries, keys or values are a constant", REMEDY)
            case _:
                name = op.name if isinstance(op, Operation) else "an input of the model"
                raise RefusalError(f"its queries, keys or values come from {name} by heads", REMEDY)

    def _operand(self, op: Operation, value: SSAValue, place: Axis) -> SSAValue:
        """An operand of an elementwise operation whose result has its heads at `place`."""
        own = place.aligned(value, op.results[0])
        if own is None:
            return value
        return self._constant(op, value, own) if isinstance(value.owner, nn.ConstantOp) else self.value(value, own)

    def _copied(self, op: Operation, operands: list[SSAValue], place: Axis) -> SSAValue:
        made = type(op).create(
            operands=operands,
            result_types=[_with(op.results[0], place, self.kept)],
            properties=dict(op.properties),
            attributes={name: attribute for name, attribute in op.attributes.items() if name != "value"},
        )
        if isinstance(op, nn.SliceOp):
            made = nn.SliceOp(operands[0], op.starts.get_values(), shape_of(made.results[0]), op.steps.get_values())
            carry(op, made)
        build = Builder.before(op, self._store)
        return build.insert(made)

    def _product(self, op: nn.MatmulOp, place: Axis) -> SSAValue:
        """A product with the columns of a constant that belong to the heads: its rows, as it is read turned round."""
        shape = shape_of(op.result)
        if place.axis != len(shape) - 1 or not isinstance(op.rhs.owner, nn.ConstantOp) or len(shape_of(op.rhs)) != 2:
            raise RefusalError("its queries, keys or values are made by no product with a constant", REMEDY)
        build = Builder.before(op, self._store)
        rows = op.rhs if op.transpose_rhs is not None else build.swap_last(op.rhs)
        return build.insert(nn.MatmulOp(op.lhs, self._rows(build, rows, place), True, element_type(op.result)))

    def _rows(self, build: Builder, rows: SSAValue, place: Axis) -> SSAValue:
        """Of [rows, width] those of the heads, which lie as `place` says."""
        width = prod(shape_of(rows)[1:])
        mine = build.slice_axis(rows, 0, place.first, self._heads * place.inner)
        table = build.reshape(mine, (self._heads, place.inner * width))
        return build.reshape(build.gather_rows(table, self._ids), (self.kept * place.inner, *shape_of(rows)[1:]))

    def _constant(self, op: Operation, value: SSAValue, place: Axis) -> SSAValue:
        build = Builder.before(op, self._store)
        turned = build.move_axis(value, place.axis, 0)
        return build.move_axis(self._rows(build, turned, place), 0, place.axis)

    def pass_on(self, old: SSAValue, new: SSAValue, place: Axis) -> None:
        """Let what reads `old`, up to the products that sum over the heads, read `new` with their rows of weights."""
        for use in list(old.uses):
            op = use.operation
            match op:
                case nn.TransposeOp() | nn.ReshapeOp():
                    behind = place.behind(op)
                    self.pass_on(op.results[0], self._copied(op, [new], behind), behind)
                case nn.MapOp() | nn.CastOp() if place.aligned(old, op.results[0]) is not None:
                    operands = [new if one is old else self._beside(op, one, place) for one in op.operands]
                    self.pass_on(op.results[0], self._copied(op, operands, place), place)
                case nn.MatmulOp() if use.index == 0 and place.axis == len(shape_of(old)) - 1:
                    self._taken(op, new, place)
                    continue
                case _:
                    what = "output" if isinstance(op, ReturnOp) else op.name
                    raise RefusalError(f"its output goes into {what} by heads", REMEDY)
            op.detach()
            op.erase()

    def _beside(self, op: Operation, value: SSAValue, place: Axis) -> SSAValue:
        own = place.aligned(value, op.results[0])
        if own is None:
            return value
        if not isinstance(value.owner, nn.ConstantOp):
            raise RefusalError("its output is joined with something that has its heads", REMEDY)
        return self._constant(op, value, own)

    def _taken(self, op: nn.MatmulOp, new: SSAValue, place: Axis) -> None:
        """The product that sums over heads, of those that are left."""
        if not isinstance(op.rhs.owner, nn.ConstantOp) or len(shape_of(op.rhs)) != 2:
            raise RefusalError("no product with a constant takes its output", REMEDY)
        build = Builder.before(op, self._store)
        rows = build.swap_last(op.rhs) if op.transpose_rhs is not None else op.rhs
        made = nn.MatmulOp(new, self._rows(build, rows, place), False, element_type(op.result))
        carry(op, made)
        made.attributes.pop("value", None)
        build.insert(made)
        Rewriter.replace_op(op, [], [made.result])
