"""A small language for kernels: vectors of floats, addresses, loops, on top of LLVM's IR.

A kernel is written once, for vectors of `width` floats, by calling the methods of `Code`: each appends an instruction and
returns its value. Addresses and counts are 64-bit integers. To add a constant to an address costs nothing: the processor
does it while loading.
"""

from .kernel import FLOAT16_BYTES, FLOAT_BYTES, HARD_SIGMOID, HARD_SWISH, NONE, RELU
from .text import BOOL, FLOAT, FLOAT16, INT, INT32, VOID, Builder, Value, filled, integer, lanes, vector_of


class Code:
    """One function under construction.

    Parameters
    ----------
    function : Function without blocks
    width : floats in a vector
    """

    def __init__(self, function, width):
        self.width, self.bytes = width, width * FLOAT_BYTES
        self.vector, self.half = vector_of(FLOAT, width), vector_of(FLOAT, width // 2)
        self.builder = Builder(function)

    # Numbers

    def int(self, value):
        """A Python int as an integer value; a value is left alone."""
        return value if isinstance(value, Value) else integer(value)

    def add(self, a, b):
        return self.builder.add(self.int(a), self.int(b))

    def sub(self, a, b):
        return self.builder.sub(self.int(a), self.int(b))

    def mul(self, a, b):
        return self.builder.mul(self.int(a), self.int(b))

    def is_set(self, value):
        """True where an integer is not 0."""
        return self.builder.icmp_signed("!=", value, integer(0))

    def is_odd(self, value):
        return self.builder.trunc(value, BOOL)

    def equal(self, a, b):
        return self.builder.icmp_signed("==", self.int(a), self.int(b))

    # Vectors

    def constant(self, value, kind=None):
        """A number in every lane of a vector, by default a whole one."""
        return filled(kind or self.vector, value)

    def splat(self, scalar, kind=None):
        """A float in every lane."""
        kind = kind or self.vector
        undefined = Value(kind, "undef")
        first = self.builder.insert_element(undefined, scalar, integer(0, INT32))
        return self.builder.shuffle_vector(first, undefined, lanes(*[0] * kind.count))

    def float_of(self, bits):
        """The float whose bits are the lower half of an integer."""
        return self.builder.bitcast(self.builder.trunc(bits, INT32), FLOAT)

    def lower(self, value):
        """The lower half of a vector."""
        return self.builder.shuffle_vector(value, value, lanes(*range(self.half.count)))

    def lane(self, value, index):
        """One float of a vector in every lane."""
        return self.builder.shuffle_vector(value, value, lanes(*[index] * value.type.count))

    def fma(self, a, b, c):
        """a * b + c, in one rounding where the processor can."""
        return self.builder.intrinsic(f"llvm.fmuladd.v{a.type.count}f32", a.type, [a, b, c])

    def fadd(self, a, b):
        return self.builder.fadd(a, b)

    def fmul(self, a, b):
        return self.builder.fmul(a, b)

    def total(self, values):
        """Sum of several vectors, as a tree."""
        while len(values) > 1:
            pairs = [self.fadd(a, b) for a, b in zip(values[::2], values[1::2])]
            values = pairs + values[len(pairs) * 2 :]
        return values[0]

    def clip_below(self, value, low):
        """max(value, low); NaN stays NaN, since every comparison with it is false."""
        return self.builder.select(self.builder.fcmp_ordered(">", low, value), low, value)

    def clip_above(self, value, high):
        return self.builder.select(self.builder.fcmp_ordered("<", high, value), high, value)

    def maximum(self, a, b):
        """The larger one; NaN if either is."""
        larger = self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)
        return self.builder.select(self.builder.is_nan(a), a, larger)

    def activate(self, values, act, slope):
        """Apply the activation whose number is in `act` to some vectors; `slope` is a float.

        hard-sigmoid is clip(slope * x + 0.5, 0, 1), hard-swish is x times that.
        """
        slopes = {
            kind: self.splat(slope, kind) for kind in (self.vector, self.half) if kind in [v.type for v in values]
        }

        def constant(number, x):
            return self.constant(number, x.type)

        def gate(x):
            line = self.fma(x, slopes[x.type], constant(0.5, x))
            return self.clip_above(self.clip_below(line, constant(0, x)), constant(1, x))

        return self.switch(
            act,
            {
                NONE: lambda: list(values),
                RELU: lambda: [self.clip_below(x, constant(0, x)) for x in values],
                HARD_SWISH: lambda: [self.fmul(x, gate(x)) for x in values],
                HARD_SIGMOID: lambda: [gate(x) for x in values],
            },
        )

    # Memory

    def load(self, address, offset=0, kind=None):
        """A vector, by default a whole one."""
        return self._load(kind or self.vector, address, offset, FLOAT_BYTES)

    def load_float16(self, address, offset, kind):
        """A vector of floats of which memory holds 16 bits each."""
        stored = self._load(vector_of(FLOAT16, kind.count), address, offset, FLOAT16_BYTES)
        return self.builder.fpext(stored, kind)

    def load_int(self, address, offset=0):
        return self._load(INT, address, offset, 8)

    def load_float(self, address, offset=0):
        return self._load(FLOAT, address, offset, FLOAT_BYTES)

    def broadcast(self, address, offset=0):
        """One float of memory in every lane."""
        return self.splat(self.load_float(address, offset))

    def store(self, value, address, offset=0):
        self.builder.store(value, self.add(address, offset), FLOAT_BYTES)

    def prefetch(self, address, offset=0):
        """Prefetch a cache line that will be read soon; any address is allowed."""
        kind = [integer(number, INT32) for number in (0, 2, 1)]  # to read, into the second level, data
        self.builder.intrinsic("llvm.prefetch.p0", VOID, [self.builder.pointer(self.add(address, offset)), *kind])

    def _load(self, kind, address, offset, align):
        return self.builder.load(kind, self.add(address, offset), align)

    # Control

    def loop(self, count, carried, body):
        """Run `body` count times (none if count is 0).

        Parameters
        ----------
        count : integer
        carried : list of values before the first round
        body : callable (values of this round) -> values of the next; instructions are appended while it runs

        Returns
        -------
        list of values after the last round
        """
        builder, before = self.builder, self.builder.block
        start, end = builder.append_basic_block("loop"), builder.append_basic_block("done")
        carried = [self.int(value) for value in carried]
        builder.cbranch(builder.icmp_signed(">", self.int(count), integer(0)), start, end)
        builder.position_at_end(start)
        index = builder.phi(INT)
        current = [builder.phi(value.type) for value in carried]
        after = [self.int(value) for value in body(list(current))]
        following = self.add(index, 1)
        latch = builder.block
        for phi, first, again in zip([index, *current], [integer(0), *carried], [following, *after]):
            phi.add_incoming(first, before)
            phi.add_incoming(again, latch)
        builder.cbranch(builder.icmp_signed("<", following, self.int(count)), start, end)
        builder.position_at_end(end)
        return self._merge([(before, carried), (latch, after)])

    def tiles(self, pixels, tiles, carried, body):
        """Go along a row of pixels in tiles, as `split` has it.

        Parameters
        ----------
        pixels : integer
        tiles : sizes from large to small, 1 at the end
        carried : list of values before the first tile
        body : callable (a tile's pixels, *values) -> values after it

        Returns
        -------
        list of values after the last tile
        """
        builder, kept = self.builder, integer(0)
        if tiles[0] == tiles[1] + 1:
            short = builder.urem(builder.sub(integer(tiles[0] << 32), pixels), integer(tiles[0]))
            kept = builder.mul(short, integer(tiles[1]))
            kept = builder.select(builder.icmp_unsigned("<=", kept, pixels), kept, integer(0))
        for tile in tiles:
            count = builder.udiv(builder.sub(pixels, kept), integer(tile))
            pixels, kept = builder.sub(pixels, builder.mul(count, integer(tile))), integer(0)
            carried = self.loop(count, carried, lambda values, tile=tile: body(tile, *values))
        return carried

    def switch(self, value, cases):
        """Run the body of this number, of any other number the last body, and return its list of values."""
        builder = self.builder
        blocks = {number: builder.append_basic_block(f"case{number}") for number in cases}
        end = builder.append_basic_block("chosen")
        builder.switch(value, list(blocks.values())[-1], blocks)
        results = []
        for number, block in blocks.items():
            builder.position_at_end(block)
            values = cases[number]()
            results.append((builder.block, values))
            builder.branch(end)
        builder.position_at_end(end)
        return self._merge(results)

    def when(self, condition, body, otherwise):
        """The list of values that `body` gives if the condition holds, else the list `otherwise`."""
        builder, before = self.builder, self.builder.block
        then, end = builder.append_basic_block("then"), builder.append_basic_block("after")
        builder.cbranch(condition, then, end)
        builder.position_at_end(then)
        values = body()
        last = builder.block
        builder.branch(end)
        builder.position_at_end(end)
        return self._merge([(before, otherwise), (last, values)])

    def _merge(self, ways):
        """One list of values out of several, each a (block it comes from, its list)."""
        merged = []
        for values in zip(*(values for _, values in ways)):
            phi = self.builder.phi(values[0].type)
            for (block, _), value in zip(ways, values):
                phi.add_incoming(value, block)
            merged.append(phi)
        return merged
