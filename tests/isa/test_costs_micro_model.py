"""Every record's cost against a machine that is stepped cycle by cycle.

The models in the first part are written from the machine's description and know nothing of attnc: grids of
processing elements with ports and buffers, lanes fed by ports, a DRAM channel beside an on-chip port. The
grids move values, which are checked: a grid that took too few cycles would compute the wrong thing.
"""

import dataclasses
import itertools
import math
from collections import deque
from fractions import Fraction

import numpy as np
import pytest

# ------------------------------------------------------------------------------------------------ models


def padded(matrix, rows, columns):
    result = np.zeros((rows, columns), dtype=np.int64)
    result[: matrix.shape[0], : matrix.shape[1]] = matrix
    return result


class Traffic:
    """Elements that passed each port."""

    def __init__(self):
        self.a = self.weights = self.acc_reads = self.acc_writes = 0


class WeightStationaryGrid:
    """R x C elements; each holds `pack` weights of its column. Two sets of weights: one works, one loads.

    A cycle loads one grid row of the spare set, and takes one row of A into the working set. Sums go down one
    grid row a cycle, so a row of A leaves R cycles after it entered, into ACC.
    """

    def __init__(self, rows, columns, pack):
        self.rows, self.columns, self.pack = rows, columns, pack

    def run(self, products):
        """Back-to-back products (a, b, old acc or None); gives (cycles, results, traffic a product)."""
        depth = self.rows * self.pack
        self.products = products
        self.traffic = [Traffic() for _ in products]
        self.results = [
            np.zeros((len(a), b.shape[1]), dtype=np.int64) if old is None else old.copy() for a, b, old in products
        ]
        tiles = deque(
            (index, k0, n0)
            for index, (a, b, _) in enumerate(products)
            for k0 in range(0, a.shape[1], depth)
            for n0 in range(0, b.shape[1], self.columns)
        )
        cycle = spare_rows = entered = 0
        spare = working = None
        leaving = {}
        while tiles or spare or working or leaving:
            for row in leaving.pop(cycle, ()):
                self.leave(*row)
            if working and entered == max(len(products[working[0]][0]), self.rows):
                working = None
            if not working and spare and spare_rows == self.rows:
                working, spare, entered = spare, None, 0
            if not spare and tiles:
                spare, spare_rows = tiles.popleft(), 0
            if spare and spare_rows < self.rows:
                self.load(*spare, spare_rows)
                spare_rows += 1
            if working:
                leaving.setdefault(cycle + self.rows, []).append((*working, entered))
                entered += 1
            cycle += 1
        return cycle, self.results, self.traffic

    def load(self, index, k0, n0, grid_row):
        """A grid row's weights pass the weight port; padding brings nothing."""
        first = k0 + grid_row * self.pack
        weights = self.products[index][1][first : first + self.pack, n0 : n0 + self.columns]
        self.traffic[index].weights += weights.size

    def leave(self, index, k0, n0, row):
        """The sums of a row of A reach ACC; rows of padding passed through for nothing."""
        a, b, old = self.products[index]
        if row >= len(a):
            return
        depth = self.rows * self.pack
        values, weights = a[row, k0 : k0 + depth], b[k0 : k0 + depth, n0 : n0 + self.columns]
        sums = values @ weights
        traffic, target = self.traffic[index], self.results[index][row, n0 : n0 + self.columns]
        traffic.a += values.size
        if k0 > 0 or old is not None:
            traffic.acc_reads += target.size
            target += sums
        else:
            target[:] = sums
        traffic.acc_writes += target.size


def systolic_weight_stationary(a, b, rows, columns, pack):
    """Fold after fold: load the weights, then pulse A through a skewed grid until the last sum is out."""
    m, k = a.shape
    n = b.shape[1]
    result = np.zeros((m, n), dtype=np.int64)
    cycles = 0
    for k0, n0 in itertools.product(range(0, k, rows * pack), range(0, n, columns)):
        weights = padded(b[k0 : k0 + rows * pack, n0 : n0 + columns], rows * pack, columns)
        left = padded(a[:, k0 : k0 + rows * pack], m, rows * pack)
        cycles += rows
        sums = np.zeros((m, columns), dtype=np.int64)
        done = 0
        cycle = 0
        while done < m * rows * columns:
            for i, j in itertools.product(range(rows), range(columns)):
                entry = cycle - i - j
                if 0 <= entry < m:
                    part = slice(i * pack, (i + 1) * pack)
                    sums[entry, j] += left[entry, part] @ weights[part, j]
                    done += 1
            cycle += 1
        cycles += cycle
        width = min(columns, n - n0)
        result[:, n0 : n0 + width] += sums[:, :width]
    return cycles, result


def systolic_output_stationary(a, b, rows, columns, pack):
    """Fold after fold: pulse A and B through a skewed grid, then shift the sums out row by row."""
    m, k = a.shape
    n = b.shape[1]
    result = np.zeros((m, n), dtype=np.int64)
    cycles = 0
    steps = -(-k // pack)
    for m0, n0 in itertools.product(range(0, m, rows), range(0, n, columns)):
        left = padded(a[m0 : m0 + rows], rows, steps * pack)
        right = padded(b[:, n0 : n0 + columns], steps * pack, columns)
        sums = np.zeros((rows, columns), dtype=np.int64)
        done = cycle = 0
        while done < rows * columns * steps:
            for i, j in itertools.product(range(rows), range(columns)):
                step = cycle - i - j
                if 0 <= step < steps:
                    part = slice(step * pack, (step + 1) * pack)
                    sums[i, j] += left[i, part] @ right[part, j]
                    done += 1
            cycle += 1
        cycles += cycle + rows
        height, width = min(rows, m - m0), min(columns, n - n0)
        result[m0 : m0 + height, n0 : n0 + width] = sums[:height, :width]
    return cycles, result


def vector_cycles(elements, lanes, start, sram_port, acc_port, streams):
    """Lanes take an element each when the ports have brought its bytes. streams: (memory, bytes)."""
    if elements == 0:
        return 0
    cycles, left = start, elements
    while left > 0:
        missing = {"sram": 0, "acc": 0}
        for memory, size in streams:
            missing[memory] += size
        while True:
            missing["sram"] -= min(missing["sram"], sram_port)
            missing["acc"] -= min(missing["acc"], acc_port)
            cycles += 1
            if not any(missing.values()):
                break
        left -= min(left, lanes)
    return cycles


def fetched_runs(dims, element):
    """Runs in DRAM as (offset, bytes): nearest dimensions first, spans where strides are short."""
    offset = sum(min(0, (n - 1) * s) for n, s in dims)
    run, outer = element, []
    for stride, count in sorted((abs(s), n) for n, s in dims if n > 1):
        if stride <= run or stride < 64:
            run += (count - 1) * stride
        else:
            outer.append((count, stride))
    for index in itertools.product(*(range(n) for n, _ in outer)):
        yield offset + sum(i * s for i, (_, s) in zip(index, outer, strict=True)), run


def pieces_on_chip(dims, element):
    """Chip offsets of pieces contiguous in both memories, in DRAM order. dims: (count, DRAM, chip stride)."""
    ordered = sorted((d for d in dims if d[0] > 1), key=lambda d: -abs(d[1]))
    pieces = []
    for index in itertools.product(*(range(n) for n, _, _ in ordered)):
        dram = sum(i * d[1] for i, d in zip(index, ordered, strict=True))
        chip = sum(i * d[2] for i, d in zip(index, ordered, strict=True))
        pieces.append((dram, chip))
    # Joining happens by whole dimensions: the innermost ones whose strides both equal the piece so far.
    size = element
    for count, dram_stride, chip_stride in reversed(ordered):
        if dram_stride != size or chip_stride != size:
            break
        size *= count
    return [chip for place, (_, chip) in enumerate(pieces) if place % (size // element) == 0], size


def touched(start, size, line):
    return len({byte // line for byte in range(start, start + size)})


def transfer_cycles(bursts, accesses, bytes_per_cycle):
    """The channel and the on-chip port each do one thing a cycle, side by side."""
    waiting, cycles = bursts * 64, 0
    while waiting > 0 or accesses > 0:
        waiting -= min(waiting, bytes_per_cycle)
        accesses -= min(accesses, 1)
        cycles += 1
    return cycles


def parts_of(mask, window, width, height=1):
    """A mask cut into parts of at most `width` kept places, each of one window of `height` rows: lists of (row,
    column)."""
    rows, columns = mask.shape
    for top in range(0, rows, height):
        for start in range(0, columns, window):
            places = [
                (row, column)
                for row in range(top, min(top + height, rows))
                for column in range(start, min(start + window, columns))
                if mask[row, column]
            ]
            for first in range(0, len(places), width):
                yield places[first : first + width]


def radix_selection_cycles(columns, elements_per_cycle):
    """Passes over a row: a histogram for each byte of a key of four, and one that writes the mask."""
    cycles = 0
    for _ in ("byte 3", "byte 2", "byte 1", "byte 0", "mask"):
        left = columns
        while left > 0:
            left -= elements_per_cycle
            cycles += 1
    return cycles


# ------------------------------------------------------------------------------------------------ comparison

from attnc.isa.fields import ACC_BIT  # noqa: E402 - the models above are written without it
from attnc.isa.instructions import (  # noqa: E402
    Compact,
    Gather,
    GatherRows,
    LoadBlock,
    MaskedProduct,
    Pack,
    Product,
    StoreBlock,
    StructuredProduct,
    Top,
    VectorPass,
    VectorProgram,
)
from attnc.isa.machine import load_machine  # noqa: E402
from attnc.isa.matrix import MatrixMode  # noqa: E402

EDGE = load_machine("edge")
SMALL = [*itertools.product([1, 2, 3, 4, 5, 6], [1, 3, 4, 5], [1, 2, 4, 5, 9])]
SHAPES = [(1, 1, 1), (3, 4, 4), (4, 4, 4), (5, 4, 9), (9, 5, 8), (2, 9, 3), (7, 8, 17), (4, 3, 16)]


def machine_with(rows, columns, pack, law):
    matrix = dataclasses.replace(
        EDGE.matrix,
        law=law,
        rows=rows,
        columns=columns,
        fill_cycles=rows,
        drain_cycles=rows,
        rates={"i8": Fraction(pack)},
    )
    return dataclasses.replace(EDGE, matrix=matrix)


def product_cost(machine, m, n, k, accumulate=0):
    product = Product(
        mode=MatrixMode.I8.code,
        acc=ACC_BIT,
        a=0,
        b=1 << 16,
        m=m,
        n=n,
        k=k,
        acc_stride=4 * n,
        a_stride=k,
        b_stride=n,
        accumulate=accumulate,
    )
    assert not any(wrong for wrong, _ in product.faults(machine))
    return product.cost(machine)


def operands(m, n, k, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-9, 10, (m, k)), rng.integers(-9, 10, (k, n))


@pytest.mark.parametrize("pack", [1, 2])
@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (2, 3)])
@pytest.mark.parametrize(("m", "n", "k"), SMALL)
def test_the_pipelined_array(rows, columns, pack, m, n, k):
    machine = machine_with(rows, columns, pack, "pipelined_ws")
    a, b = operands(m, n, k)
    for old in (None, np.arange(m * n).reshape(m, n)):
        cost = product_cost(machine, m, n, k, int(old is not None))
        cycles, (result,), (traffic,) = WeightStationaryGrid(rows, columns, pack).run([(a, b, old)])
        np.testing.assert_array_equal(result, a @ b + (0 if old is None else old))
        assert cost.busy + cost.fill == cycles
        assert cost.events["sram.read"] == traffic.a + traffic.weights
        assert cost.events["acc.read"] == 4 * traffic.acc_reads
        assert cost.events["acc.write"] == 4 * traffic.acc_writes
        assert cost.events["mac.i8"] == m * n * k


def test_back_to_back_products_fill_the_array_once():
    machine = machine_with(4, 4, 1, "pipelined_ws")
    products = [(*operands(m, n, k, seed), None) for seed, (m, n, k) in enumerate(SHAPES)]
    cycles, results, _ = WeightStationaryGrid(4, 4, 1).run(products)
    for (a, b, _), result in zip(products, results, strict=True):
        np.testing.assert_array_equal(result, a @ b)
    costs = [product_cost(machine, *shape) for shape in SHAPES]
    assert sum(cost.busy for cost in costs) + costs[0].fill == cycles


@pytest.mark.parametrize("pack", [1, 2])
@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (2, 3)])
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
@pytest.mark.parametrize(
    ("law", "model"),
    [("plain_ws", systolic_weight_stationary), ("plain_os", systolic_output_stationary)],
)
def test_the_plain_arrays(law, model, rows, columns, pack, m, n, k):
    a, b = operands(m, n, k)
    cycles, result = model(a, b, rows, columns, pack)
    np.testing.assert_array_equal(result, a @ b)
    cost = product_cost(machine_with(rows, columns, pack, law), m, n, k)
    assert (cost.busy, cost.fill) == (cycles, 0)


def test_fractional_rates_cover_fewer_values():
    # fp32 at 1/8 on 32 rows takes 4 values of K a cycle, as a grid of 4 rows would.
    product = Product(mode=MatrixMode.F32.code, acc=ACC_BIT, m=40, n=33, k=9)
    assert product.cost(EDGE).busy == 3 * 2 * 40
    assert product.cost(EDGE).events["mac.f32"] == 40 * 33 * 9


@pytest.mark.parametrize(("values", "turns"), [(0, 1), (2, 1), (3, 2), (6, 4), (7, 8)])
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_cycles_of_a_packed_mode_go_with_the_bits_of_a(values, turns, m, n, k):
    matrix = dataclasses.replace(machine_with(4, 4, 1, "pipelined_ws").matrix, rates={"binary": Fraction(8)})
    machine = dataclasses.replace(EDGE, matrix=matrix)
    product = Product(mode=MatrixMode.BINARY.code, acc=ACC_BIT, m=m, n=n, k=k, transpose_b=1, a_values=values)
    cost = product.cost(machine)
    a, b = operands(m, n, k)
    cycles, _, _ = WeightStationaryGrid(4, 4, 8 // turns).run([(a, b, None)])
    assert cost.busy + cost.fill == cycles
    assert cost.events["mac.binary"] == m * n * k * turns


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("height", [1, 3])
@pytest.mark.parametrize("masked", ["result", "left"])
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_a_masked_product_takes_the_rows_that_its_mask_packs_into(m, n, k, masked, height, density):
    machine = machine_with(4, 3, 1, "pipelined_ws")
    a, b = operands(m, n, k)
    left = masked == "left"
    mask = np.random.default_rng(m * n * k).random((m, k if left else n)) < density
    width = 4 if left else 3
    # The array holds what a part has chosen: rows of b for kept values of a, columns of b for kept results.
    result, parts = np.zeros((m, n), dtype=np.int64), list(parts_of(mask, 6, width, height))
    for row, column in (place for part in parts for place in part):
        if left:
            result[row] += a[row, column] * b[column]
        else:
            result[row, column] = a[row] @ b[:, column]
    np.testing.assert_array_equal(result, np.where(mask, a, 0) @ b if left else np.where(mask, a @ b, 0))
    streamed = np.zeros((len(parts), width if left else k), dtype=np.int64)
    held = np.zeros((streamed.shape[1], n if left else width), dtype=np.int64)
    cycles, _, _ = WeightStationaryGrid(4, 3, 1).run([(streamed, held, None)])
    product = MaskedProduct(
        mode=MatrixMode.I8.code, acc=ACC_BIT, m=m, n=n, k=k, masked=int(left), packed=len(parts), window=6, width=width
    )
    cost = product.cost(machine)
    assert cost.busy + cost.fill == cycles
    assert cost.events["mac.i8"] <= m * n * k


@pytest.mark.parametrize(("kept", "group"), [(1, 2), (2, 4), (1, 4), (3, 4), (4, 8), (1, 8), (5, 16)])
@pytest.mark.parametrize(("rows", "columns"), [(6, 3), (8, 4)])
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_a_structured_product_streams_what_its_groups_keep(m, n, k, rows, columns, kept, group):
    a, _ = operands(m, n, k)
    random = np.random.default_rng(m * n * k)
    groups = math.ceil(k / group)
    padded = np.pad(a, ((0, 0), (0, groups * group - k)))
    # In each group and column, `kept` places and what stands there; a row of PEs is given the value of a that it chose.
    places = random.permuted(np.tile(np.arange(group)[:, None], (groups, 1, n)), axis=1)[:, :kept]
    values = random.integers(-9, 10, places.shape)
    dense = np.zeros((groups, group, n), dtype=np.int64)
    np.put_along_axis(dense, places, values, axis=1)
    whole = rows // kept * kept
    streamed = np.zeros((m, groups * kept), dtype=np.int64)
    cycles, _, (traffic,) = WeightStationaryGrid(whole, columns, 1).run([(streamed, values.reshape(-1, n), None)])
    chosen = padded[:, (places + group * np.arange(groups)[:, None, None]).reshape(-1, n)]
    np.testing.assert_array_equal(np.einsum("mjn,jn->mn", chosen, values.reshape(-1, n)), padded @ dense.reshape(-1, n))
    fields = {"mode": MatrixMode.I8.code, "acc": ACC_BIT, "m": m, "n": n, "k": k}
    product = StructuredProduct(**fields, kept=kept, group=group.bit_length() - 2)
    machine = machine_with(rows, columns, 1, "pipelined_ws")
    cost = product.cost(machine)
    index_bits = {2: 1, 4: 2, 8: 4, 16: 4}[group]
    read = m * k * math.ceil(n / columns) + traffic.weights + groups * kept * math.ceil(n * index_bits / 8)
    # Rows of PEs that no whole group fits into idle, and rows of A are padded to the array all the same.
    assert cost.busy == (cycles - whole - columns) // max(m, whole) * max(m, rows)
    assert cost.events["sram.read"] == read
    assert cost.events["acc.write"] == 4 * traffic.acc_writes
    assert cost.events["mac.i8"] == m * n * groups * kept


@pytest.mark.parametrize("text", ["1:2", "2:4", "1:4", "1:8", "2:8", "4:8"])
def test_array_cycles_of_a_structure_are_its_part_of_the_dense_ones(text):
    kept, group = map(int, text.split(":"))
    fields = {"mode": MatrixMode.I8.code, "acc": ACC_BIT, "m": 197, "n": 192, "k": 768}
    dense = Product(**fields).cost(EDGE)
    assert StructuredProduct(**fields, kept=kept, group=group.bit_length() - 2).cost(EDGE).busy * group == (
        dense.busy * kept
    )


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 32), (2, 33), (5, 197)])
def test_passes_of_the_sparse_engine(rows, columns):
    shape = {"rows": rows, "columns": columns}
    assert Top(**shape, format=0, keep=1).cost(EDGE).busy == rows * radix_selection_cycles(columns, 32)
    single = -(-columns // 32)
    assert Compact(**shape).cost(EDGE).busy == (rows + 1) * single
    assert Pack(**shape, window=1, width=1).cost(EDGE).busy == rows * single
    assert GatherRows(limit=9, count=rows, row_bytes=4 * columns - 3).cost(EDGE).busy == rows * single


BYTES = {0: 4, 1: 2, 4: 1}


@pytest.mark.parametrize("shape", [(1, 1), (1, 32), (3, 11), (4, 8), (5, 33), (0, 4)])
@pytest.mark.parametrize("a", [*itertools.product([0, 1, 4], ["sram", "acc"])])
@pytest.mark.parametrize("b", [None, *itertools.product([0, 4], ["sram", "acc"])])
def test_vector_passes(shape, a, b):
    machine = dataclasses.replace(EDGE, vector=dataclasses.replace(EDGE.vector, lanes=8))
    fields = {"rows": shape[0], "columns": shape[1], "out_format": 0}
    streams = []
    for name, stream in (("a", a), ("b", b)):
        if stream is not None:
            code, memory = stream
            fields |= {name: ACC_BIT if memory == "acc" else 0, f"{name}_format": code}
            streams.append((memory, BYTES[code]))
    wanted = vector_cycles(shape[0] * shape[1], 8, 16, 8, 4, streams)
    assert VectorPass(**fields).cost(machine).busy == wanted


def test_writing_a_program_takes_its_cycles():
    assert VectorProgram(slot=0).cost(EDGE).busy == EDGE.vector.program_cycles


COPIES = [
    # element, address, chip address, (count, DRAM stride, chip stride) from the outermost
    *(
        (element, address, chip, ((rows, pitch * element, chip_pitch * element), (columns, element, element)))
        for element in (1, 2, 4)
        for address, chip in ((0, 0), (60, 8))
        for rows, pitch, columns, chip_pitch in (
            (1, 0, 7, 0),
            (3, 40, 40, 40),
            (4, 50, 33, 36),
            (3, 16, 16, 20),
        )
    ),
    (4, 0, 0, ((4, 4, 32), (8, 256, 4))),  # a transpose
    (4, 64, 0, ((2, 512, 256), (4, 64, 64), (3, 4, 4))),
    (4, 128, 0, ((2, 0, 256), (4, 64, 64), (3, 4, 4))),  # repeated data
    (1, 4096, 0, ((5, -64, 16), (16, 1, 1))),  # backwards
    (2, 100, 6, ((3, 130, 34), (5, 12, 6), (3, 2, 2))),  # short strides with gaps
    (4, 12, 4, ((2, 1000, 512), (3, 200, 128), (4, 28, 28), (7, 4, 4))),
    (4, 0, 0, ((0, 64, 64), (4, 4, 4))),
]


@pytest.mark.parametrize("bandwidth", [8, 16, 128])
@pytest.mark.parametrize(("element", "address", "chip", "dims"), COPIES)
def test_block_copies(element, address, chip, dims, bandwidth):
    machine = dataclasses.replace(EDGE, dram=dataclasses.replace(EDGE.dram, bytes_per_cycle=bandwidth))
    fields = {"element": {1: 0, 2: 1, 4: 2}[element], "dram": address, "chip": chip}
    for place, (count, dram_stride, chip_stride) in enumerate(dims, 4 - len(dims)):
        fields |= {f"n{place}": count, f"dram_stride{place}": dram_stride, f"chip_stride{place}": chip_stride}
    empty = any(count == 0 for count, _, _ in dims)
    runs = [] if empty else fetched_runs([(n, s) for n, s, _ in dims], element)
    bursts = sum(touched(address + offset, size, 64) for offset, size in runs)
    pieces, size = ([], 1) if empty else pieces_on_chip(dims, element)
    accesses = sum(touched(chip + offset, size, 16) for offset in pieces)
    for record in (LoadBlock, StoreBlock):
        cost = record(**fields).cost(machine)
        assert cost.dram_read_bytes + cost.dram_write_bytes == 64 * bursts
        assert cost.channel_cycles == transfer_cycles(bursts, 0, bandwidth)
        assert cost.busy == transfer_cycles(bursts, accesses, bandwidth)
        assert cost.latency == (100 if bursts else 0)


@pytest.mark.parametrize("row_bytes", [4, 48, 64, 200])
@pytest.mark.parametrize("pitch", [64, 200, 256])
@pytest.mark.parametrize("table", [0, 8])
def test_gathers(row_bytes, pitch, table):
    cost = Gather(
        table=table, pitch=pitch, limit=50, ids=4096, count=5, row_bytes=row_bytes, chip=0, chip_stride=208
    ).cost(EDGE)
    # Where rows are whole bursts apart every id costs the same; else the dearest row of any id is counted.
    starts = [table + row * pitch for row in range(50)] if pitch % 64 == 0 else range(64)
    worst = max(touched(start, row_bytes, 64) for start in starts)
    accesses = sum(touched(place * 208, row_bytes, 16) for place in range(5)) + touched(4096, 20, 16)
    assert cost.dram_read_bytes == 64 * 5 * worst
    assert cost.busy == transfer_cycles(5 * worst, accesses, 16)
