"""The functions that run command lists: the loop over commands, what points them at other memory, and the barrier."""

from llvmlite import ir

from .ir import INT, Code
from .kernel import ABANDONED, ARRIVALS, RECORD, ROUNDS

BARRIER_ARGS = ("state", "threads", "pause")
PEAK_ARGS = ("out", "rounds")

#: Multiply-adds of vectors in a round of `peak`, none of which waits for another one of the same round.
PEAK_SUMS = 12

#: Rounds that a thread waits at a barrier before it begins to offer its core to others: a few microseconds.
SPINS = 1000


def build_execute(module):
    """`execute(commands, count)`: call each command's kernel with the address of its arguments."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [INT, INT]), "execute")
    code = Code(function, 4)
    kernel_type = ir.FunctionType(ir.VoidType(), [INT]).as_pointer()

    def command(carried):
        (at,) = carried
        kernel = code.builder.inttoptr(code.load_int(at), kernel_type)
        code.builder.call(kernel, [code.add(at, 8)])
        return [code.add(at, 8 * RECORD)]

    code.loop(function.args[1], [function.args[0]], command)
    code.builder.ret_void()


def build_point(module):
    """`point(places, offsets, count, start)`: write `start` plus each offset to the address beside it in `places`."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [INT] * 4), "point")
    code = Code(function, 4)
    places, offsets, count, start = function.args

    def one(carried):
        place = code.builder.inttoptr(code.load_int(carried[0]), INT.as_pointer())
        code.builder.store(code.add(code.load_int(carried[1]), start), place)
        return [code.add(address, 8) for address in carried]

    code.loop(count, [places, offsets], one)
    code.builder.ret_void()


def build_barrier(code, a):
    """Wait until all threads are here. `state` is the address of BARRIER_BYTES zeroed bytes.

    A thread that has waited long calls `pause`, the address of a function that gives the core away (0: there is none).
    """
    builder = code.builder
    arrivals, rounds = (builder.inttoptr(code.add(a.state, 8 * at), INT.as_pointer()) for at in (ARRIVALS, ROUNDS))
    before = builder.load_atomic(rounds, "acquire", 8)
    arrived = builder.atomic_rmw("add", arrivals, INT(1), "acq_rel")
    with builder.if_else(builder.icmp_signed("==", arrived, code.sub(a.threads, 1))) as (last, other):
        with last:
            builder.store_atomic(INT(0), arrivals, "monotonic", 8)
            builder.store_atomic(code.add(before, 1), rounds, "release", 8)
        with other:
            _wait(code, a, rounds, before)


def _wait(code, a, rounds, before):
    """Look at `rounds` until it is no longer `before`, or the barrier is abandoned."""
    builder, start = code.builder, code.builder.block
    abandoned = builder.inttoptr(code.add(a.state, 8 * ABANDONED), INT.as_pointer())
    look, rest, again, done = (builder.append_basic_block(name) for name in ("look", "rest", "again", "released"))
    builder.branch(look)
    builder.position_at_end(look)
    spins = builder.phi(INT)
    spins.add_incoming(INT(0), start)
    same = builder.icmp_signed("==", builder.load_atomic(rounds, "acquire", 8), before)
    wanted = builder.icmp_signed("==", builder.load_atomic(abandoned, "monotonic", 8), INT(0))
    builder.cbranch(builder.and_(same, wanted), rest, done)
    builder.position_at_end(rest)
    tired = builder.and_(builder.icmp_signed(">", spins, INT(SPINS)), code.is_set(a.pause))
    with builder.if_then(tired):
        builder.call(builder.inttoptr(a.pause, ir.FunctionType(ir.IntType(32), []).as_pointer()), [])
    builder.branch(again)
    builder.position_at_end(again)
    spins.add_incoming(code.add(spins, 1), again)
    builder.branch(look)
    builder.position_at_end(done)


def build_peak(code, a):
    """Nothing but multiply-adds in registers: the rate that no kernel can beat."""
    factor = code.load(a.out)
    sums = code.loop(
        a.rounds, [code.constant(i) for i in range(PEAK_SUMS)], lambda c: [code.fma(x, factor, factor) for x in c]
    )
    code.store(code.total(sums), a.out)
