"""1x1 convolution, and with one pixel a matrix-vector product: where nine tenths of the time goes.

A tile of some pixels by up to three vectors of output channels stays in registers while all input channels pass by:
a channel costs one load for each vector of weights and one for each pixel, and pixels * vectors multiply-adds. (NEON
loads a pixel's next four channels at once, and multiplies by one lane after the other.) The last vector may be half a
one. The sum starts from the bias (and what is to be added) and takes the channels in their order, in a full tile as in a
small one: a pixel has the same bits wherever it lies. Many channels are summed in blocks, and the blocks' sums added,
since a rounding error grows with the sum that is rounded.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from .kernel import FLOAT16_BYTES, FLOAT_BYTES, LINE, NONE, Kernel, Operand, activate

#: Cache lines that are prefetched with every chunk of channels: of those needed soon, and of those needed later.
AHEAD_LINES, FAR_LINES = 2, 2

#: Sums of a tile that keep two multiply-add units busy. Its channels are written out one by one; a tile of fewer waits for
#: its sums, and takes as long with a loop, which is sooner compiled.
ENOUGH_SUMS = 8

#: Input channels of a block, about.
BLOCK = 128

# fmt: off
ARGS = (
    "x", "x_plane", "x_row",            # input: a plane is `width` channels of all pixels
    "weight", "bias",                   # (channels, lanes), (lanes,)
    "out", "out_plane", "out_row",
    "add", "add_plane", "add_row",      # what is added before the activation; address 0: nothing
    "first", "blocks", "chunks", "tail",  # input channels: (first + blocks * chunks) * chunk + tail
    "pixels", "rows",                   # pixels in a row
    "act", "slope",
    "ahead", "ahead_step",              # memory wanted soon: bytes to move on for each chunk
    "far", "far_step",                  # the same for memory wanted later
)
# fmt: on


class _Block(NamedTuple):
    """A block of channels while its code is written, all of them values.

    is_first : of the layer's blocks, whose sums start from the bias
    chunks, tail : channels: chunks * chunk + tail
    weight : address
    steps : bytes from its first chunk to the second, and from that to the third
    act : what is done to the totals, NONE before the last block
    """

    is_first: Any
    chunks: Any
    tail: Any
    weight: Any
    steps: tuple[Any, Any]
    act: Any


class PanelWriter:
    """What `pointwise` and `matvec` have in common: the vectors and the weights of a panel of `halves` half vectors."""

    def __init__(self, code, a, machine, halves, float16):
        self.code, self.a, self.chunk, self.vector = code, a, machine.chunk, machine.bytes
        vectors = (halves + 1) // 2
        self.kinds = [code.half if 2 * j + 1 == halves else code.vector for j in range(vectors)]
        self.load_weights = code.load_float16 if float16 else code.load
        self.weight_bytes = (FLOAT16_BYTES if float16 else FLOAT_BYTES) * machine.width  # of a vector
        self.channel_bytes = halves * self.weight_bytes // 2


class _Writer(PanelWriter):
    """Writes the kernel: loops over blocks of channels, in them over rows, over tiles, over the block's channels."""

    def __init__(self, code, a, machine, halves, float16):
        super().__init__(code, a, machine, halves, float16)
        self.tiles = machine.tiles(len(self.kinds))
        self.slope, self.by_lane = code.float_of(a.slope), machine.multiplies_by_lane
        # Within a plane the next chunk is `step` bytes on; after the last one the next plane follows.
        step = machine.chunk * FLOAT_BYTES
        whole = machine.chunk == machine.width
        self.steps = [a.x_plane, a.x_plane] if whole else [code.int(step), code.sub(a.x_plane, step)]

    def write(self):
        code, a = self.code, self.a
        start = [0, a.first, a.x, a.weight, a.ahead, a.far, *self.steps]
        code.loop(code.add(a.blocks, 1), start, lambda c: self.block(*c))

    def block(self, index, chunks, x, weight, ahead, far, step, next_step):
        """A block of channels for all pixels, by itself: its weights stay in the first-level cache.

        The totals of the blocks before are kept in the output. Returns where the next block is.
        """
        code, a = self.code, self.a
        last = code.equal(index, a.blocks)
        block = _Block(
            code.equal(index, 0),
            chunks,
            code.builder.select(last, a.tail, code.int(0)),
            weight,
            (step, next_step),
            code.builder.select(last, a.act, code.int(NONE)),
        )
        *_, ahead, far = code.loop(a.rows, [x, a.out, a.add, ahead, far], lambda c: self.row(block, *c))
        pairs, odd = code.builder.lshr(chunks, code.int(1)), code.is_odd(chunks)
        x = code.add(
            x, code.add(code.mul(pairs, code.add(step, next_step)), code.builder.select(odd, step, code.int(0)))
        )
        weight = code.add(weight, code.mul(chunks, self.chunk * self.channel_bytes))
        swapped = [code.builder.select(odd, *pair) for pair in ((next_step, step), (step, next_step))]
        return [code.add(index, 1), a.chunks, x, weight, ahead, far, *swapped]

    def row(self, block, x, out, add, ahead, far):
        code, a = self.code, self.a
        start = [x, out, add, ahead, far]
        *_, ahead, far = code.tiles(a.pixels, self.tiles, start, lambda n, *c: self.pixels(n, block, *c))
        return [code.add(x, a.x_row), code.add(out, a.out_row), code.add(add, a.add_row), ahead, far]

    def pixels(self, count, block, x, out, add, ahead, far):
        """`count` pixels side by side; gives back where the next ones are."""
        code, a = self.code, self.a
        start = [code.constant(0, kind) for kind in self.kinds for _ in range(count)]
        sums = code.when(block.is_first, lambda: self.start(count, add), start)
        *sums, at, weight, ahead, far, _, _ = code.loop(
            block.chunks, [*sums, x, block.weight, ahead, far, *block.steps], lambda c: self.whole_chunk(count, *c)
        )
        *sums, _, _ = code.loop(block.tail, [*sums, at, weight], lambda c: self.one_channel(count, *c))
        totals = code.when(
            code.builder.not_(block.is_first),
            lambda: [code.fadd(*pair) for pair in zip(self.load(count, out, a.out_plane), sums)],
            sums,
        )
        self.store(code.activate(totals, block.act, self.slope), count, out)
        return [*(code.add(address, count * self.vector) for address in (x, out, add)), ahead, far]

    def start(self, count, add):
        """The bias for each vector and pixel, plus what is added."""
        code, a = self.code, self.a
        values = [code.load(a.bias, j * self.vector, kind) for j, kind in enumerate(self.kinds) for _ in range(count)]
        return code.when(
            code.is_set(a.add),
            lambda: [code.fadd(value, there) for value, there in zip(values, self.load(count, add, a.add_plane))],
            values,
        )

    def load(self, count, address, plane):
        """The vectors of a tile."""
        code = self.code
        starts = [code.add(address, code.mul(plane, j)) for j in range(len(self.kinds))]
        return [code.load(at, p * self.vector, kind) for at, kind in zip(starts, self.kinds) for p in range(count)]

    def store(self, values, count, out):
        code = self.code
        for index, value in enumerate(values):
            j, p = divmod(index, count)
            code.store(value, code.add(out, code.mul(self.a.out_plane, j)), p * self.vector)

    def whole_chunk(self, count, *carried):
        code, (*sums, x, weight, ahead, far, step, next_step) = self.code, carried
        for line in range(AHEAD_LINES):
            code.prefetch(ahead, line * LINE)
        for line in range(FAR_LINES):
            code.prefetch(far, line * LINE)
        if len(sums) >= ENOUGH_SUMS:
            loaded = [code.load(x, p * self.vector) for p in range(count)] if self.by_lane else None
            for u in range(self.chunk):
                sums = self.channel(count, sums, x, weight, u, loaded)
        else:
            start = [*sums, x, weight]
            *sums, _, _ = code.loop(self.chunk, start, lambda c: self.one_channel(count, *c))
        x, weight = code.add(x, step), code.add(weight, self.chunk * self.channel_bytes)
        ahead, far = code.add(ahead, self.a.ahead_step), code.add(far, self.a.far_step)
        return [*sums, x, weight, ahead, far, next_step, step]

    def one_channel(self, count, *carried):
        code, (*sums, x, weight) = self.code, carried
        return [
            *self.channel(count, sums, x, weight, 0),
            code.add(x, FLOAT_BYTES),
            code.add(weight, self.channel_bytes),
        ]

    def channel(self, count, sums, x, weight, u, loaded=None):
        """The sums after the u-th channel from here; a pixel's chunk of channels may have been loaded already."""
        code, sums = self.code, list(sums)
        weights = [
            self.load_weights(weight, u * self.channel_bytes + j * self.weight_bytes, kind)
            for j, kind in enumerate(self.kinds)
        ]
        for p in range(count):
            value = code.lane(loaded[p], u) if loaded else code.broadcast(x, p * self.vector + u * FLOAT_BYTES)
            for j, kind in enumerate(self.kinds):
                factor = value if kind is code.vector else code.lower(value)
                sums[j * count + p] = code.fma(factor, weights[j], sums[j * count + p])
        return sums


@functools.cache
def blocks_of(channels, machine):
    """The arguments for so many input channels: first, blocks, chunks, tail."""
    chunks, tail = divmod(channels, machine.chunk)
    blocks = max(1, round(channels / BLOCK))
    size = chunks // blocks
    return {"first": chunks - (blocks - 1) * size, "blocks": blocks - 1, "chunks": size, "tail": tail}


def channels_of(a, machine):
    """The input channels of a command."""
    return (a.first + a.blocks * a.chunks) * machine.chunk + a.tail


def name_of(halves, float16=False, product="pointwise"):
    """The name of the kernel for so many half vectors of output channels, and weights of 16 bits or 32."""
    return f"{product}{halves}{'_float16' if float16 else ''}"


def pointwise(machine, halves, float16=False):
    """The kernel for so many half vectors of output channels."""
    lane, vector = FLOAT_BYTES, machine.bytes
    stored, dtype = (FLOAT16_BYTES, "float16") if float16 else (FLOAT_BYTES, "float32")
    vectors, lanes = (halves + 1) // 2, halves * machine.width // 2

    def operands(a):
        channels = channels_of(a, machine)
        planes, map_of = -(-channels // machine.width), (a.rows, a.pixels, machine.width)
        found = {
            "x": Operand(a.x, (planes, *map_of), (a.x_plane, a.x_row, vector, lane)),
            "weight": Operand(a.weight, (channels, lanes), (lanes * stored, stored), dtype=dtype),
            "bias": Operand(a.bias, (lanes,), (lane,)),
            "out": Operand(a.out, (vectors, *map_of), (a.out_plane, a.out_row, vector, lane)),
        }
        if a.add:
            found["add"] = Operand(a.add, (vectors, *map_of), (a.add_plane, a.add_row, vector, lane))
        return found

    def plain(a, arrays):
        def by_pixel(planes):
            return planes.transpose(1, 2, 0, 3).reshape(*planes.shape[1:3], -1)

        weight, out = arrays["weight"].astype(np.float32), by_pixel(arrays["out"])
        total = by_pixel(arrays["x"])[..., : len(weight)] @ weight + arrays["bias"]
        if a.add:
            total = total + by_pixel(arrays["add"])[..., :lanes]
        out[..., :lanes] = activate(total, a.act, a.slope)
        arrays["out"][...] = out.reshape(*out.shape[:2], vectors, -1).transpose(2, 0, 1, 3)

    def emit(code, a):
        _Writer(code, a, machine, halves, float16).write()

    return Kernel(name_of(halves, float16), ARGS, emit, operands, plain, tiles=machine.tiles(vectors))
