"""Depthwise convolution, and the sums over the pixels that squeeze-and-excitation wants.

The input lies in a ring of rows with zero borders (see `workspace.Ring`): a table gives, for each row of the padded
map, its offset in a plane, the same row of zeros for all rows outside of the map. So the kernel knows no borders.
"""

import numpy as np

from .kernel import FLOAT_BYTES, Kernel, Operand, activate

# fmt: off
ARGS = (
    "x", "x_plane",                     # input: the first pixel of a plane's padded row is x + its offset in the table
    "table", "stride",                  # offsets, 8 bytes each; rows that an output row is further down
    "weight",                           # for each plane: bias, then the taps, a vector each
    "out", "out_plane", "out_row",
    "pool",                             # a vector of sums for each plane; address 0: none
    "pixels", "rows", "planes",         # pixels in a row of the output
    "act", "slope",
)
# fmt: on


def add_taps(code, sums, columns, taps, step):
    """Add to the sums of outputs side by side what a row of taps makes of the columns below them, `step` columns on each."""
    for column, x in enumerate(columns):
        for j, tap in enumerate(taps):
            p, other = divmod(column - j, step)
            if not other and 0 <= p < len(sums):
                sums[p] = code.fma(x, tap, sums[p])


class _Writer:
    """Writes the kernel: loops over planes, in them over rows, in them over tiles of pixels."""

    def __init__(self, code, a, machine, size, step):
        self.code, self.a, self.vector, self.tiles = code, a, machine.bytes, machine.depthwise_tiles
        self.size, self.step = size, step
        self.keeps_taps = size == 3 and machine.registers >= 32  # nine taps fit beside a tile
        self.slope, self.pooled = code.float_of(a.slope), code.is_set(a.pool)

    def write(self):
        a = self.a
        self.code.loop(a.planes, [a.x, a.weight, a.out, a.pool], lambda c: self.plane(*c))

    def plane(self, x, weight, out, pool):
        code, a = self.code, self.a
        taps = [self.taps(weight, i) for i in range(self.size)] if self.keeps_taps else None
        start = [a.table, out, code.constant(0)]
        _, _, total = code.loop(a.rows, start, lambda c: self.row(x, weight, taps, *c))
        code.when(self.pooled, lambda: code.store(total, pool) or [], [])
        weight = code.add(weight, (1 + self.size**2) * self.vector)
        return [code.add(x, a.x_plane), weight, code.add(out, a.out_plane), code.add(pool, self.vector)]

    def taps(self, weight, i):
        """The i-th row of taps."""
        return [self.code.load(weight, (1 + i * self.size + j) * self.vector) for j in range(self.size)]

    def row(self, x, weight, taps, table, out, total):
        code, a = self.code, self.a
        rows = [code.add(x, code.load_int(table, 8 * i)) for i in range(self.size)]
        start = [out, code.constant(0), *rows]
        _, of_row, *_ = code.tiles(a.pixels, self.tiles, start, lambda n, *c: self.pixels(n, weight, taps, *c))
        return [code.add(table, code.mul(a.stride, 8)), code.add(out, a.out_row), code.fadd(total, of_row)]

    def pixels(self, count, weight, taps, out, total, *rows):
        """`count` outputs side by side; gives back where the next ones are, and the running sum."""
        code, sums = self.code, [self.code.load(weight)] * count
        for i, row in enumerate(rows):
            w = taps[i] if taps else self.taps(weight, i)
            columns = self.step * (count - 1) + self.size
            add_taps(code, sums, (code.load(row, column * self.vector) for column in range(columns)), w, self.step)
        sums = code.activate(sums, self.a.act, self.slope)
        for p, value in enumerate(sums):
            code.store(value, out, p * self.vector)
        (total,) = code.when(self.pooled, lambda: [code.fadd(total, code.total(sums))], [total])
        return [
            code.add(out, count * self.vector),
            total,
            *(code.add(row, count * self.step * self.vector) for row in rows),
        ]


def depthwise(machine, size, step):
    """The kernel for size x size taps, at every `step`-th pixel of a row."""
    lane, vector = FLOAT_BYTES, machine.bytes

    def operands(a):
        pixels, width = a.pixels, machine.width
        columns = step * (pixels - 1) + size
        found = {
            "table": Operand(a.table, ((a.rows - 1) * a.stride + size,), (8,)),
            "x": Operand(a.x, (a.planes, columns, width), (a.x_plane, vector, lane), table="table"),
            "weight": Operand(a.weight, (a.planes, 1 + size * size, width), ((1 + size * size) * vector, vector, lane)),
            "out": Operand(a.out, (a.planes, a.rows, pixels, width), (a.out_plane, a.out_row, vector, lane)),
        }
        if a.pool:
            found["pool"] = Operand(a.pool, (a.planes, width), (vector, lane))
        return found

    def plain(a, arrays):
        weight, out = arrays["weight"], arrays["out"]
        _, rows, pixels, _ = out.shape
        total = np.broadcast_to(weight[:, 0, None, None, :], out.shape).copy()
        for y in range(rows):
            for i in range(size):
                for j in range(size):
                    row = arrays["x"][y * a.stride + i][:, j : j + step * (pixels - 1) + 1 : step]
                    total[:, y] += row * weight[:, 1 + i * size + j, None, :]
        out[...] = activate(total, a.act, a.slope)
        if a.pool:
            arrays["pool"][...] = out.sum(axis=2).sum(axis=1)

    def emit(code, a):
        _Writer(code, a, machine, size, step).write()

    return Kernel(f"depthwise{size}_{step}", ARGS, emit, operands, plain, writes=("out", "pool"))
