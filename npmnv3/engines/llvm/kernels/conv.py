"""The first convolution: a few input planes, each of its pixels a broadcast, to vectors of output channels.

Like the depthwise kernel it reads padded rows through a table. Here a plane holds single floats, not vectors.
"""

import numpy as np

from .depthwise import add_taps
from .kernel import FLOAT_BYTES, LINE, Kernel, Operand, activate

#: Cache lines that are asked for with every tile, in each input plane.
COMING_LINES = 4

# fmt: off
ARGS = (
    "x", "x_plane", "inputs",           # the first float of a plane's padded row is x + its offset in the table
    "table", "stride",                  # offsets, 8 bytes each; rows that an output row is further down
    "weight",                           # for each output plane: bias, then for each input plane its taps, a vector each
    "out", "out_plane", "out_row",
    "pixels", "rows", "planes",         # pixels in a row of the output
    "act", "slope",
    "coming", "coming_plane", "coming_step",  # rows wanted soon, in the first input plane: bytes to move on for each tile
)
# fmt: on


class _Writer:
    """Writes the kernel: loops over output planes, in them over rows, over tiles of pixels, over input planes."""

    def __init__(self, code, a, machine, size, step):
        self.code, self.a, self.vector, self.tiles = code, a, machine.bytes, machine.conv_tiles
        self.size, self.step = size, step
        self.slope, self.by_lane = code.float_of(a.slope), machine.multiplies_by_lane

    def write(self):
        a = self.a
        self.code.loop(a.planes, [a.weight, a.out, a.coming], lambda c: self.plane(*c))

    def plane(self, weight, out, coming):
        code, a = self.code, self.a
        *_, coming = code.loop(a.rows, [a.table, out, coming], lambda c: self.row(weight, *c))
        taps = code.mul(a.inputs, self.size**2 * self.vector)
        return [code.add(weight, code.add(taps, self.vector)), code.add(out, a.out_plane), coming]

    def row(self, weight, table, out, coming):
        code, a = self.code, self.a
        rows = [code.add(a.x, code.load_int(table, 8 * i)) for i in range(self.size)]
        _, coming, *_ = code.tiles(a.pixels, self.tiles, [out, coming, *rows], lambda n, *c: self.pixels(n, weight, *c))
        return [code.add(table, code.mul(a.stride, 8)), code.add(out, a.out_row), coming]

    def pixels(self, count, weight, out, coming, *rows):
        """`count` outputs side by side; gives back where the next ones are."""
        code, a = self.code, self.a
        start = [*[code.load(weight)] * count, code.add(weight, self.vector), coming, *rows]
        sums = code.loop(a.inputs, start, lambda c: self.input_plane(c[:count], *c[count:]))[:count]
        for p, value in enumerate(code.activate(sums, a.act, self.slope)):
            code.store(value, out, p * self.vector)
        rows = [code.add(row, count * self.step * FLOAT_BYTES) for row in rows]
        return [code.add(out, count * self.vector), code.add(coming, a.coming_step), *rows]

    def input_plane(self, sums, weight, coming, *rows):
        code, sums = self.code, list(sums)
        for line in range(COMING_LINES):
            code.prefetch(coming, line * LINE)
        for i, row in enumerate(rows):
            taps = [code.load(weight, (i * self.size + j) * self.vector) for j in range(self.size)]
            add_taps(code, sums, self.columns(row, self.step * (len(sums) - 1) + self.size), taps, self.step)
        weight = code.add(weight, self.size**2 * self.vector)
        return [*sums, weight, code.add(coming, self.a.coming_plane), *(code.add(row, self.a.x_plane) for row in rows)]

    def columns(self, row, count):
        """The first floats of a row, one after the other, each in every lane."""
        code = self.code
        whole = count // code.width * code.width if self.by_lane else 0
        for column in range(0, whole, code.width):
            loaded = code.load(row, column * FLOAT_BYTES)
            yield from (code.lane(loaded, lane) for lane in range(code.width))
        yield from (code.broadcast(row, column * FLOAT_BYTES) for column in range(whole, count))


def conv(machine, size, step):
    """The kernel for size x size taps, at every `step`-th pixel of a row."""
    lane, vector = FLOAT_BYTES, machine.bytes

    def operands(a):
        pixels, width, taps = a.pixels, machine.width, 1 + a.inputs * size * size
        return {
            "table": Operand(a.table, ((a.rows - 1) * a.stride + size,), (8,)),
            "x": Operand(a.x, (a.inputs, step * (pixels - 1) + size), (a.x_plane, lane), table="table"),
            "weight": Operand(a.weight, (a.planes, taps, width), (taps * vector, vector, lane)),
            "out": Operand(a.out, (a.planes, a.rows, pixels, width), (a.out_plane, a.out_row, vector, lane)),
        }

    def plain(a, arrays):
        weight, out = arrays["weight"], arrays["out"]
        planes, rows, pixels, width = out.shape
        taps = weight[:, 1:].reshape(planes, a.inputs, size, size, width)
        total = np.broadcast_to(weight[:, 0, None, None, :], out.shape).copy()
        for y in range(rows):
            for i in range(size):
                for j in range(size):
                    row = arrays["x"][y * a.stride + i][:, j : j + step * (pixels - 1) + 1 : step]
                    total[:, y] += np.einsum("cp,ocv->opv", row, taps[:, :, i, j])
        out[...] = activate(total, a.act, a.slope)

    def emit(code, a):
        _Writer(code, a, machine, size, step).write()

    return Kernel(f"conv{size}_{step}", ARGS, emit, operands, plain)
