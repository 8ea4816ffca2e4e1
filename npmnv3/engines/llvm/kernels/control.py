"""The functions around the kernels: `execute` runs a list of commands, `share` lets threads run one together, `point`
directs its commands to another picture, and `peak` measures the processor.
"""

from .ir import Code
from .kernel import AT_HAND, CALLS, CLAIMS, DONE, LIMIT, LINE, PHASE, RECORD, STALLS
from .text import INT, INT32, integer

PEAK_ARGS = ("out", "rounds")

#: Multiply-adds of vectors in a round of `peak`, none of which waits for another one of the same round.
PEAK_SUMS = 12

#: How often a waiting thread looks whether the other is done before it pauses. This takes a fifth of a millisecond or so:
#: longer than the parts of a phase differ, and shorter than any time slice. (With a quarter of it, on a quiet machine, one
#: call in six of Large was taken for a stall; with this number one in a hundred.)
SPINS = 400_000

PAUSE_MICROSECONDS = 20


def build_execute(module):
    """`execute(commands, count)`: call each command's kernel with the address of its arguments."""
    function = module.function("execute", 2)
    code = Code(function, 4)

    def command(carried):
        (at,) = carried
        code.builder.call_address(code.load_int(at), [code.add(at, 8)])
        return [code.add(at, 8 * RECORD)]

    code.loop(function.args[1], [function.args[0]], command)
    code.builder.ret_void()


def build_point(module):
    """`point(places, offsets, count, start)`: write `start` plus each offset to the address beside it in `places`."""
    function = module.function("point", 4)
    code = Code(function, 4)
    places, offsets, count, start = function.args

    def one(carried):
        place = code.load_int(carried[0])
        code.builder.store(code.add(code.load_int(carried[1]), start), place, 8)
        return [code.add(address, 8) for address in carried]

    code.loop(count, [places, offsets], one)
    code.builder.ret_void()


def build_share(module):
    """`share(control, lists, phases, parts, own, pause, opens, spins)`: do parts of phases as long as there are any.

    Any number of threads may run it at once, and come and go as they like. A part belongs to the thread that claims it
    first, and the thread that finishes the last part of a phase opens the next phase. So a thread waits only for parts that
    another one has begun; alone it does them all.

    control : address of `control_bytes` bytes, zeroed before the first run
    lists : address of a pair for each part of each phase: address of its first command, number of its commands
    phases, parts : of a run, and of a phase
    own : the part that this thread claims first, so that it finds what it made before in its cache
    pause : address of a function that lets other threads run for a moment (0: there is none)
    opens : 1 for the caller, who begins a run; 0 for a helper
    spins : how often a helper looks for a run before it leaves, counted from its start, the last run, or the last call for
    helpers
    """
    function = module.function("share", 8)
    code = Code(function, 4)
    builder = code.builder
    control, lists, phases, parts, own, pause, opens, spins = function.args
    limit_at, at_hand = code.add(control, LIMIT), code.add(control, AT_HAND)
    with builder.if_then(code.is_set(opens)):  # who makes runs is one thread at a time
        builder.store_atomic(code.add(builder.load_atomic(limit_at, "monotonic"), phases), limit_at, "release")
    with builder.if_then(code.equal(opens, 0)):
        builder.atomic_rmw("add", at_hand, integer(1), "monotonic")
    look, idle, work, over = (builder.append_basic_block(name) for name in ("look", "idle", "work", "over"))
    start = builder.block
    builder.branch(look)
    builder.position_at_end(look)
    looks, calls = builder.phi(INT), builder.phi(INT)
    looks.add_incoming(integer(0), start)
    calls.add_incoming(integer(0), start)
    phase = builder.load_atomic(code.add(control, PHASE), "acquire")
    limit = builder.load_atomic(limit_at, "acquire")
    builder.cbranch(builder.icmp_signed("<", phase, limit), work, idle)
    builder.position_at_end(idle)
    now = builder.load_atomic(code.add(control, CALLS), "monotonic")
    looks.add_incoming(builder.select(code.equal(now, calls), code.add(looks, 1), integer(0)), idle)
    calls.add_incoming(now, idle)
    builder.cbranch(builder.icmp_signed("<", looks, spins), look, over)
    builder.position_at_end(work)
    of_run = builder.urem(phase, phases)
    code.loop(parts, [own], _claiming(code, module.functions["execute"], control, lists, of_run, phase, parts))
    _wait(code, control, phase, pause)
    looks.add_incoming(integer(0), builder.block)
    calls.add_incoming(calls, builder.block)
    builder.branch(look)
    builder.position_at_end(over)
    with builder.if_then(code.equal(opens, 0)):
        builder.atomic_rmw("sub", at_hand, integer(1), "monotonic")
    builder.ret_void()


def _claiming(code, execute, control, lists, of_run, phase, parts):
    """The body of a thread's loop over the parts of a phase, from its own on and round: claim the part, and do it."""
    builder = code.builder

    def one(carried):
        (part,) = carried
        claim = code.add(code.add(control, code.mul(part, LINE)), CLAIMS)
        seen = builder.load_atomic(claim, "monotonic")
        with builder.if_then(builder.icmp_signed("<", seen, code.add(phase, 1))):
            with builder.if_then(builder.compare_exchange(claim, seen, code.add(phase, 1), "acq_rel", "monotonic")):
                at = code.add(lists, code.mul(code.add(code.mul(of_run, parts), part), 16))
                builder.call(execute, [code.load_int(at), code.load_int(at, 8)])
                _finish(code, control, phase, parts)
        following = code.add(part, 1)
        return [builder.select(code.equal(following, parts), integer(0), following)]

    return one


def _finish(code, control, phase, parts):
    """Count a part as done; if it was the last one of the phase, open the next phase."""
    builder, following = code.builder, code.add(phase, 1)
    done = builder.atomic_rmw("add", code.add(control, DONE), integer(1), "acq_rel")
    with builder.if_then(code.equal(code.add(done, 1), code.mul(following, parts))):
        builder.store_atomic(following, code.add(control, PHASE), "release")


def _wait(code, control, phase, pause):
    """Wait until the next phase is open: spin for a while, then count one stall, and pause between looks."""
    builder, start = code.builder, code.builder.block
    look, rest, again, done = (builder.append_basic_block(name) for name in ("wait", "rest", "again", "opened"))
    builder.branch(look)
    builder.position_at_end(look)
    spins = builder.phi(INT)
    spins.add_incoming(integer(0), start)
    now = builder.load_atomic(code.add(control, PHASE), "acquire")
    builder.cbranch(code.equal(now, phase), rest, done)
    builder.position_at_end(rest)
    with builder.if_then(code.equal(spins, SPINS)):
        builder.atomic_rmw("add", code.add(control, STALLS), integer(1), "monotonic")
    with builder.if_then(builder.and_(builder.icmp_signed(">=", spins, integer(SPINS)), code.is_set(pause))):
        builder.call_address(pause, [integer(PAUSE_MICROSECONDS, INT32)], INT32)
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
