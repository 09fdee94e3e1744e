"""Products of one left operand with several weights become one product with all their columns.

Queries, keys and values are projections of the same tokens: as one product the array reads them once and works through
all columns without a seam. What is done to each column after it (scales, bias, quantization) is merged along, its
constants side by side; the results are slices, which are views. Every column is computed as before, so integers do not
change. Products stay apart where what follows them differs, since then the merged result would have to be stored
before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ...dialects import nn
from ...dialects.constants import Array, ConstantStore, derived_key
from ...dialects.context import CompilerContext
from ...dialects.elements import element_type, shape_of
from ...dialects.provenance import fuse
from ...isa.frozen import frozen
from ..builder import Builder
from ..rewrite import carry

ELEMENTWISE = (nn.MapOp, nn.CastOp, nn.QuantizeOp)
"""What follows a product in its kernel."""

_Form = tuple[object, ...]
"""What must be equal for two values to be computed as one, column by column."""


@dataclass(frozen=True)
class MergeProducts(ModulePass):
    """Merge matrix products that share their left operand, with what follows them."""

    name = "merge-products"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module; weights that nothing reads any more are left for `remove-unused`."""
        store = CompilerContext.of(ctx).store
        order = {operation: place for place, operation in enumerate(op.walk())}
        groups: dict[_Form, list[_Branch]] = {}
        for product in order:
            if isinstance(product, nn.MatmulOp) and _is_projection(product):
                branch = _Branch.of(product)
                form = _form(branch.steps, order)
                if form is not None:
                    groups.setdefault(form, []).append(branch)
        for branches in groups.values():
            if len(branches) > 1:
                _Merger(store, branches).run()


@frozen
class _Branch:
    """A product and the elementwise operations behind it, each the only reader of the one before."""

    product: nn.MatmulOp
    steps: tuple[Operation, ...]

    @staticmethod
    def of(product: nn.MatmulOp) -> _Branch:
        """The longest one."""
        steps: list[Operation] = [product]
        shape = shape_of(product.result)
        while (reader := steps[-1].results[0].get_user_of_unique_use()) is not None:
            if not isinstance(reader, ELEMENTWISE) or shape_of(reader.results[0]) != shape:
                break
            steps.append(reader)
        return _Branch(product, tuple(steps))

    @property
    def result(self) -> SSAValue:
        """What the last operation makes."""
        return self.steps[-1].results[0]

    @property
    def columns(self) -> int:
        """The number of columns."""
        return shape_of(self.result)[-1]


def _is_projection(product: nn.MatmulOp) -> bool:
    """Whether a product is one with a matrix of weights."""
    return isinstance(product.rhs.owner, nn.ConstantOp) and len(shape_of(product.rhs)) == 2


def _form(steps: Sequence[Operation], order: dict[Operation, int]) -> _Form | None:
    """The form of a branch, which says that it can be merged with those of the same; None where it cannot."""
    product = steps[0]
    assert isinstance(product, nn.MatmulOp)
    known: dict[SSAValue, _Form] = {
        product.result: (product.lhs, element_type(product.rhs), product.transpose_rhs, element_type(product.result))
    }
    columns = shape_of(product.result)[-1]

    def of(value: SSAValue) -> _Form | None:
        if value not in known:
            found = made(value)
            if found is None:
                return None
            known[value] = found
        return known[value]

    def made(value: SSAValue) -> _Form | None:
        owner = value.owner
        if isinstance(owner, nn.ConstantOp):
            return ("constant", element_type(value))
        if isinstance(owner, ELEMENTWISE) and (owner in steps or value.has_one_use()):
            operands = [of(operand) for operand in owner.operands]
            if all(operand is not None for operand in operands) and shape_of(value)[-1:] == (columns,):
                return (*_function(owner), element_type(value), *operands)
        # The same for every column; and there before the first of the products, where the merged one will be.
        before = not isinstance(owner, Operation) or order.get(owner, len(order)) < order[product]
        return (value,) if before and shape_of(value)[-1:] in ((), (1,)) else None

    return of(steps[-1].results[0])


def _function(operation: Operation) -> _Form:
    """What an elementwise operation does to every column, whatever its operands."""
    match operation:
        case nn.MapOp():
            return (nn.MapOp, operation.function)
        case nn.QuantizeOp(axis=axis) if axis is not None and axis.value.data != len(shape_of(operation.input)) - 1:
            return (operation,)
        case _:
            return (type(operation), len(operation.operands))


class _Merger:
    """Writes branches of one form as one, where the first product is."""

    def __init__(self, store: ConstantStore, branches: Sequence[_Branch]) -> None:
        self._store = store
        self._branches = branches
        self._build = Builder.before(branches[0].product, store)
        self._build.location = fuse(*(step.location for branch in branches for step in branch.steps))
        self._build.path = _joint_path([branch.product for branch in branches])
        self._made: dict[tuple[SSAValue, ...], SSAValue] = {}

    def run(self) -> None:
        """Make what all branches make, and let their readers read slices of it."""
        merged = self._merged(tuple(branch.result for branch in self._branches))
        build, start = self._build, 0
        for branch in self._branches:
            build.location, build.path = branch.steps[-1].location, None
            part = build.slice_axis(merged, len(shape_of(merged)) - 1, start, branch.columns)
            assert isinstance(part.owner, Operation)
            carry(branch.steps[-1], part.owner)
            branch.result.replace_all_uses_with(part)
            start += branch.columns

    def _merged(self, values: tuple[SSAValue, ...]) -> SSAValue:
        """The values of all branches side by side, or the one value that they have in common."""
        if values not in self._made:
            self._made[values] = self._new(values)
        return self._made[values]

    def _new(self, values: tuple[SSAValue, ...]) -> SSAValue:
        first = values[0].owner
        element = element_type(values[0])
        match first:
            case nn.ConstantOp():
                return self._constants(values, self._same_number(values))
            case nn.MatmulOp() if first is self._branches[0].product:
                transposed = first.transpose_rhs is not None
                weights = self._concatenated([branch.product.rhs for branch in self._branches], 0 if transposed else 1)
                return self._build.insert(nn.MatmulOp(first.lhs, weights, transposed, element))
            case nn.MapOp() if values[0] is not values[1]:
                operands = zip(*(_operands(value) for value in values), strict=True)
                return self._build.map(first.function.data, *map(self._merged, operands), to=element)
            case nn.CastOp() if values[0] is not values[1]:
                [inputs] = zip(*(_operands(value) for value in values), strict=True)
                return self._build.cast(self._merged(inputs), element)
            case nn.QuantizeOp():
                inputs, *parameters = zip(*(_operands(value) for value in values), strict=True)
                alike = all(map(self._same_number, parameters))
                scale, zero = [*(self._constants(each, alike) for each in parameters), None][:2]
                assert scale is not None
                axis = None if alike else len(shape_of(values[0])) - 1
                return self._build.insert(nn.QuantizeOp(self._merged(inputs), scale, zero, axis, element))
            case _:
                return values[0]

    def _same_number(self, values: tuple[SSAValue, ...]) -> bool:
        """Whether constants are one number for all columns of all branches."""
        keys = {_key(self._store, value) for value in values}
        return len(keys) == 1 and shape_of(values[0])[-1:] in ((), (1,))

    def _constants(self, values: tuple[SSAValue, ...], alike: bool) -> SSAValue:
        """The one constant where they are alike, else a row of all columns."""
        if alike:
            assert isinstance(values[0].owner, nn.ConstantOp)
            return self._build.insert(values[0].owner.clone())
        keys = [_key(self._store, value) for value in values]
        widths = tuple(branch.columns for branch in self._branches)
        leading = np.broadcast_shapes(*(shape_of(value)[:-1] for value in values))

        def side_by_side(*arrays: Array) -> Array:
            stretched = (np.broadcast_to(array, (*leading, width)) for array, width in zip(arrays, widths, strict=True))
            return np.concatenate(list(stretched), axis=-1)

        shape = (*leading, sum(widths))
        key = derived_key("columns", *keys, widths=widths)
        dtype = self._store.dtype(keys[0])
        return self._build.named_constant(self._store.derive(key, side_by_side, *keys, shape=shape, dtype=dtype))

    def _concatenated(self, weights: Sequence[SSAValue], axis: int) -> SSAValue:
        keys = [_key(self._store, weight) for weight in weights]
        shapes = [list(shape_of(weight)) for weight in weights]
        shape = list(shapes[0])
        shape[axis] = sum(each[axis] for each in shapes)

        def concatenated(*arrays: Array) -> Array:
            return np.concatenate(arrays, axis)

        key = derived_key("concat", *keys, axis=axis)
        dtype = self._store.dtype(keys[0])
        return self._build.named_constant(self._store.derive(key, concatenated, *keys, shape=tuple(shape), dtype=dtype))


def _operands(value: SSAValue) -> Sequence[SSAValue]:
    assert isinstance(value.owner, Operation)
    return value.owner.operands


def _key(store: ConstantStore, value: SSAValue) -> str:
    """The key of a constant, which is a digest of its values where they stand in the IR."""
    constant = value.owner
    assert isinstance(constant, nn.ConstantOp)
    return constant.reference or store.anonymous(store.array(constant.data))


def _joint_path(products: Sequence[Operation]) -> StringAttr | None:
    """`encoder.0.attention.q+k+v` for the paths of three products; None where one has none."""
    paths = [path.data.split(".") for op in products if isinstance(path := op.attributes.get("path"), StringAttr)]
    if len(paths) < len(products):
        return None
    shared = 0
    while all(len(path) > shared + 1 and path[shared] == paths[0][shared] for path in paths):
        shared += 1
    return StringAttr(".".join([*paths[0][:shared], "+".join(".".join(path[shared:]) for path in paths)]))
