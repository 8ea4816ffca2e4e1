"""The kernels that move or combine little: copies, means, gates, maxima."""

from .kernel import FLOAT_BYTES, Kernel, Operand, activate, bits_float


def _each_row(code, a, row):
    """Call `row` for each row of each plane: it takes the addresses of a row of input and output, and gives the next."""

    def plane(carried):
        x, out = carried
        code.loop(a.rows, [x, out], row)
        return [code.add(x, a.x_plane), code.add(out, a.out_plane)]

    code.loop(a.planes, [a.x, a.out], plane)


def copy_rows(machine):
    """Copy rows of floats, plane by plane, into a ring. What lies `ahead` bytes on is prefetched."""
    args = ("x", "x_plane", "x_row", "out", "out_plane", "out_row", "floats", "rows", "planes", "ahead")
    lane, vector = FLOAT_BYTES, machine.bytes

    def emit(code, a):
        vectors = code.builder.udiv(a.floats, code.int(machine.width))
        rest = code.builder.urem(a.floats, code.int(machine.width))

        def move(load, size):
            def body(carried):
                x, out = carried
                code.prefetch(code.add(x, a.ahead))
                code.store(load(x), out)
                return [code.add(x, size), code.add(out, size)]

            return body

        def row(carried):
            x, out = carried
            code.loop(rest, code.loop(vectors, [x, out], move(code.load, vector)), move(code.load_float, lane))
            return [code.add(x, a.x_row), code.add(out, a.out_row)]

        _each_row(code, a, row)

    def operands(a):
        shape = (a.planes, a.rows, a.floats)
        return {
            "x": Operand(a.x, shape, (a.x_plane, a.x_row, lane)),
            "out": Operand(a.out, shape, (a.out_plane, a.out_row, lane)),
        }

    def plain(a, arrays):
        arrays["out"][...] = arrays["x"]

    return Kernel("copy_rows", args, emit, operands, plain)


def mean(machine):
    """The sum of `count` vectors, `x_step` apart, times `factor`; for each of some planes."""
    args = ("x", "x_plane", "x_step", "count", "out", "planes", "factor")
    lane, vector = FLOAT_BYTES, machine.bytes
    ways = 4  # running sums, so that one addition need not wait for the one before

    def emit(code, a):
        factor = code.splat(code.float_of(a.factor))
        rounds = code.builder.udiv(a.count, code.int(ways))
        rest = code.builder.urem(a.count, code.int(ways))

        def several(carried):
            x, *sums = carried
            for way in range(ways):
                sums[way] = code.fadd(sums[way], code.load(x))
                x = code.add(x, a.x_step)
            return [x, *sums]

        def one(carried):
            x, total, *others = carried
            return [code.add(x, a.x_step), code.fadd(total, code.load(x)), *others]

        def plane(carried):
            x, out = carried
            _, *sums = code.loop(rest, code.loop(rounds, [x, *[code.constant(0)] * ways], several), one)
            code.store(code.fmul(code.total(sums), factor), out)
            return [code.add(x, a.x_plane), code.add(out, vector)]

        code.loop(a.planes, [a.x, a.out], plane)

    def operands(a):
        return {
            "x": Operand(a.x, (a.planes, a.count, machine.width), (a.x_plane, a.x_step, lane)),
            "out": Operand(a.out, (a.planes, machine.width), (vector, lane)),
        }

    def plain(a, arrays):
        arrays["out"][...] = arrays["x"].sum(axis=1) * bits_float(a.factor)

    return Kernel("mean", args, emit, operands, plain)


def gate_map(machine):
    """Each plane times its vector of gates, then an activation; in place."""
    args = ("out", "out_plane", "gate", "pixels", "planes", "act", "slope")
    lane, vector = FLOAT_BYTES, machine.bytes

    def emit(code, a):
        slope = code.float_of(a.slope)

        def plane(carried):
            start, gate_at = carried
            gate = code.load(gate_at)

            def some(count, out):
                values = [code.fmul(code.load(out, p * vector), gate) for p in range(count)]
                for p, value in enumerate(code.activate(values, a.act, slope)):
                    code.store(value, out, p * vector)
                return [code.add(out, count * vector)]

            code.tiles(a.pixels, machine.depthwise_tiles, [start], some)
            return [code.add(start, a.out_plane), code.add(gate_at, vector)]

        code.loop(a.planes, [a.out, a.gate], plane)

    def operands(a):
        return {
            "gate": Operand(a.gate, (a.planes, machine.width), (vector, lane)),
            "out": Operand(a.out, (a.planes, a.pixels, machine.width), (a.out_plane, vector, lane)),
        }

    def plain(a, arrays):
        arrays["out"][...] = activate(arrays["out"] * arrays["gate"][:, None], a.act, a.slope)

    return Kernel("gate_map", args, emit, operands, plain)


def gate_weights(machine):
    """Rows of a pointwise layer's weights, one an input channel, each times that channel's gate; `half` is 1 or 0."""
    args = ("weight", "gate", "out", "channels", "vectors", "half")
    lane, vector = FLOAT_BYTES, machine.bytes

    def emit(code, a):
        def move(gate, size):
            def body(carried):
                weight, out = carried
                code.store(code.fmul(code.load(weight, kind=gate.type), gate), out)
                return [code.add(weight, size), code.add(out, size)]

            return body

        def channel(carried):
            gate_at, weight, out = carried
            gate = code.broadcast(gate_at)
            at = code.loop(a.vectors, [weight, out], move(gate, vector))
            return [code.add(gate_at, lane), *code.loop(a.half, at, move(code.lower(gate), vector // 2))]

        code.loop(a.channels, [a.gate, a.weight, a.out], channel)

    def operands(a):
        lanes = a.vectors * machine.width + a.half * machine.width // 2
        return {
            "gate": Operand(a.gate, (a.channels,), (lane,)),
            "weight": Operand(a.weight, (a.channels, lanes), (lanes * lane, lane)),
            "out": Operand(a.out, (a.channels, lanes), (lanes * lane, lane)),
        }

    def plain(a, arrays):
        arrays["out"][...] = arrays["weight"] * arrays["gate"][:, None]

    return Kernel("gate_weights", args, emit, operands, plain)


def max_pool(machine):
    """The largest of each square of `side` x `side` pixels, squares side by side."""
    args = ("x", "x_plane", "x_row", "out", "out_plane", "out_row", "side", "pixels", "rows", "planes")
    lane, vector = FLOAT_BYTES, machine.bytes

    def emit(code, a):
        def square_row(carried):
            at, largest = carried
            _, largest = code.loop(
                a.side, [at, largest], lambda c: [code.add(c[0], vector), code.maximum(c[1], code.load(c[0]))]
            )
            return [code.add(at, a.x_row), largest]

        def pixel(carried):
            x, out = carried
            _, largest = code.loop(a.side, [x, code.load(x)], square_row)
            code.store(largest, out)
            return [code.add(x, code.mul(a.side, vector)), code.add(out, vector)]

        def row(carried):
            x, out = carried
            code.loop(a.pixels, [x, out], pixel)
            return [code.add(x, code.mul(a.side, a.x_row)), code.add(out, a.out_row)]

        _each_row(code, a, row)

    def operands(a):
        squares = (a.planes, a.rows, a.side, a.pixels, a.side, machine.width)
        strides = (a.x_plane, a.side * a.x_row, a.x_row, a.side * vector, vector, lane)
        out = (a.planes, a.rows, a.pixels, machine.width)
        return {"x": Operand(a.x, squares, strides), "out": Operand(a.out, out, (a.out_plane, a.out_row, vector, lane))}

    def plain(a, arrays):
        arrays["out"][...] = arrays["x"].max(axis=(2, 4))

    return Kernel("max_pool", args, emit, operands, plain)
