"""Matrix-vector product: a pointwise layer on one pixel, which takes as long as its weights take to arrive from memory.

A processor fetches more at once if it reads in several places. So several blocks of channels are summed side by side, each
where its weights lie, and their sums are added in order. A pixel has the same bits as by `pointwise`, which sums one block
after the other.
"""

import numpy as np

from .kernel import FLOAT16_BYTES, FLOAT_BYTES, LINE, Kernel, Operand, activate
from .pointwise import AHEAD_LINES, FAR_LINES, PanelWriter, channels_of, name_of

#: Blocks that are summed at once.
STREAMS = 4

# fmt: off
ARGS = (
    "x", "weight", "bias", "out",       # (channels,), (channels, lanes), (lanes,), (lanes,)
    "first", "blocks", "chunks", "tail",  # as in `pointwise`, and so are these:
    "act", "slope", "ahead", "ahead_step", "far", "far_step",
)
# fmt: on


class _Writer(PanelWriter):
    """Writes the kernel: some blocks at a time, in them one chunk of each after the other."""

    def __init__(self, code, a, machine, halves, float16):
        super().__init__(code, a, machine, halves, float16)
        self.zeros = [code.constant(0, kind) for kind in self.kinds]

    def write(self):
        code, a = self.code, self.a
        bias = [code.load(a.bias, j * self.vector, kind) for j, kind in enumerate(self.kinds)]
        # The chunks by which the first block is longer than the others come first.
        longer = code.sub(a.first, a.chunks)
        *sums, x, weight, ahead, far = code.loop(
            longer, [*bias, a.x, a.weight, a.ahead, a.far], lambda c: self.chunks_of(1, c)
        )
        count = code.add(a.blocks, 1)
        carried = [0, *sums, *self.zeros, x, weight, ahead, far]
        for streams, rounds in (
            (STREAMS, code.builder.udiv(count, code.int(STREAMS))),
            (1, code.builder.urem(count, code.int(STREAMS))),
        ):
            carried = code.loop(rounds, carried, lambda c, streams=streams: self.blocks(streams, *c))
        totals = carried[1 + len(sums) : 1 + 2 * len(sums)]
        for j, value in enumerate(code.activate(totals, a.act, code.float_of(a.slope))):
            code.store(value, a.out, j * self.vector)

    def blocks(self, streams, index, *carried):
        """Sum some blocks and add their sums to the totals.

        Carried are the number of the first, the sums to start it from, the totals, and where it lies.
        """
        code, a, size = self.code, self.a, len(self.kinds)
        sums, totals, (x, weight, ahead, far) = carried[:size], carried[size : 2 * size], carried[2 * size :]
        steps = [code.mul(a.chunks, self.chunk * step) for step in (FLOAT_BYTES, self.channel_bytes)]
        places = [[code.add(at, code.mul(step, s)) for at, step in zip((x, weight), steps)] for s in range(streams)]
        start = [*sums, *self.zeros * (streams - 1), *sum(zip(*places), ()), ahead, far]
        *sums, ahead, far = code.loop(a.chunks, start, lambda c: self.chunks_of(streams, c))
        ends, sums = sums[streams * size :], sums[: streams * size]
        after = code.add(index, streams)
        tail = code.builder.select(code.builder.icmp_signed(">", after, a.blocks), a.tail, code.int(0))
        last = [*sums[-size:], ends[streams - 1], ends[-1]]
        sums[-size:] = code.loop(tail, last, lambda c: self.channels(1, c))[:size]
        first, *others = (sums[s * size : (s + 1) * size] for s in range(streams))
        totals = code.when(code.is_set(index), lambda: [code.fadd(*pair) for pair in zip(totals, first)], first)
        for more in others:
            totals = [code.fadd(*pair) for pair in zip(totals, more)]
        x, weight = (code.add(at, code.mul(step, streams)) for at, step in zip((x, weight), steps))
        return [after, *self.zeros, *totals, x, weight, ahead, far]

    def chunks_of(self, streams, carried):
        """A chunk of each of some blocks: their sums, where each one's channels and weights are, what is prefetched."""
        code, (*carried, ahead, far) = self.code, carried
        for s in range(streams):
            for lines, at, step in ((AHEAD_LINES, ahead, self.a.ahead_step), (FAR_LINES, far, self.a.far_step)):
                for line in range(lines):
                    code.prefetch(code.add(at, code.mul(step, s)), line * LINE)
        carried = code.loop(self.chunk, carried, lambda c: self.channels(streams, c))
        steps = (code.mul(step, streams) for step in (self.a.ahead_step, self.a.far_step))
        return [*carried, *(code.add(at, step) for at, step in zip((ahead, far), steps))]

    def channels(self, streams, carried):
        """A channel of each of some blocks: their sums, where each one's channels and weights are."""
        code, size = self.code, len(self.kinds)
        sums, places = carried[: streams * size], carried[streams * size :]
        after = []
        for s, (x, weight) in enumerate(zip(places[:streams], places[streams:])):
            value = code.broadcast(x)
            for j, kind in enumerate(self.kinds):
                factor = value if kind is code.vector else code.lower(value)
                after.append(
                    code.fma(factor, self.load_weights(weight, j * self.weight_bytes, kind), sums[s * size + j])
                )
        steps = [FLOAT_BYTES] * streams + [self.channel_bytes] * streams
        return [*after, *map(code.add, places, steps)]


def matvec(machine, halves, float16=False):
    """The kernel for so many half vectors of output channels."""
    lane = FLOAT_BYTES
    stored, dtype = (FLOAT16_BYTES, "float16") if float16 else (FLOAT_BYTES, "float32")
    lanes = halves * machine.width // 2

    def operands(a):
        channels = channels_of(a, machine)
        return {
            "x": Operand(a.x, (channels,), (lane,)),
            "weight": Operand(a.weight, (channels, lanes), (lanes * stored, stored), dtype=dtype),
            "bias": Operand(a.bias, (lanes,), (lane,)),
            "out": Operand(a.out, (lanes,), (lane,)),
        }

    def plain(a, arrays):
        total = arrays["x"] @ arrays["weight"].astype(np.float32) + arrays["bias"]
        arrays["out"][...] = activate(total, a.act, a.slope)

    def emit(code, a):
        _Writer(code, a, machine, halves, float16).write()

    return Kernel(name_of(halves, float16, "matvec"), ARGS, emit, operands, plain)
