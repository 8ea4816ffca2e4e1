"""Last pass: programs bound to memory, and run. Any number of callers may run at once, each in memory of its own."""

import collections
import functools
import threading
import time
import weakref

import numpy as np

from ...errors import Npmnv3Error
from .kernels.kernel import AT_HAND, CALLS, STALLS, control_bytes
from .memory import Regions, address_of, aligned, check
from .threads import PAUSE, RENEWED_BY_FORK
from .workspace import KEPT, MASK, PICTURE, SEGMENT_BITS, WORK, bind

#: How often a helper looks for the next run before it goes to sleep: for a tenth of a millisecond or so. To wake it would
#: take half as long, and calls that follow each other closely are spared that. Where others want its core it waits briefly:
#: a thread that was busy, even with waiting, is the first to lose its core, and then the caller waits for the part that it has
#: begun.
LINGER, BRIEFLY = 200_000, 50_000

#: What fills all memory of a debug run before it starts: a NaN that no arithmetic makes.
PATTERN = 0x7FC5A5A5


class Bound:
    """A program in memory of its own, which one caller at a time may run; `with` gives it back, but not after an error.

    A call for a small picture takes little more than a millisecond, and finds no Python code in the processor's caches. So
    as little as possible is done in Python for each call.

    Parameters
    ----------
    program : Program
    weights : Weights
    library : compiler.Library
    home : deque that it is put into when it is given back, if that is still there
    debug : bool, check every command, and look for stray writes after every run

    Attributes
    ----------
    input, output : float32 views (planes, vectors, width) of the program's maps; the input is None where it is a
    picture
    row : view (1, channels) of the output, if that is one vector for each plane
    """

    def __init__(self, program, weights, library, home, debug=False):
        self.program, self._weights, self._library, self._debug = program, weights, library, debug
        self._home = weakref.ref(home)  # `home` refers to this: in a cycle memory would outlive the engine
        self._works = [aligned(program.work_bytes) for _ in range(program.pictures)]
        self._work, self._kept = self._works[0], aligned(program.kept_bytes)
        self._tables = aligned(program.tables.nbytes)
        self._tables.view(np.int64)[:] = program.tables
        memory = (weights.block, self._work, self._kept, self._tables)
        others = [array.ctypes.data for array in self._works[1:]]
        bases = [0, *(array.ctypes.data for array in memory), 0, *others, 0]
        self._commands = [bind(commands, bases) for commands in program.commands]
        self._list = self._commands[0].ctypes.data, len(self._commands[0])
        self._picture, self._picture_at = None, None
        self._pointers = [_Pointers(*lists) for lists in zip(program.commands, self._commands)]
        self.input = self._vectors(program.input) if program.input else None
        self.output = self._vectors(program.output)
        self.row = self.output.reshape(1, -1)[:, : program.output.shape[0]] if self.output.shape[1] == 1 else None
        self._control, self._lists = aligned(control_bytes(self.parts)).view(np.int64), self._phase_lists()
        self._counters = memoryview(self._control)  # from which a number is sooner read
        self._shared = self._control.ctypes.data, self._lists.ctypes.data, len(self._lists), self.parts
        if debug:
            self._fill_gaps()

    def _phase_lists(self):
        """For each part of each phase the address of its first command and the number of its commands, (phases, parts, 2)."""
        ends = np.array(self.program.ends, np.int64).reshape(-1, self.parts)
        starts = np.concatenate([np.zeros_like(ends[:1]), ends[:-1]])
        bases = np.array([commands.ctypes.data for commands in self._commands], np.int64)
        return np.stack([bases + starts * self._commands[0].strides[0], ends - starts], axis=-1)

    @property
    def parts(self):
        return len(self._commands)

    @property
    def stalls(self):
        """How often so far a thread has waited long for another that had begun a part and did not go on."""
        return self._counters[STALLS // 8]

    @property
    def nbytes(self):
        """Memory that belongs to this program alone."""
        arrays = (*self._works, self._kept, self._tables, *self._commands, self._control, self._lists)
        return sum(array.nbytes for array in arrays)

    def _vectors(self, tensor):
        shape = (tensor.planes, tensor.pixels, tensor.pixel // 4)
        return np.ndarray(shape, np.float32, self._work, tensor.address - WORK, (tensor.plane, tensor.pixel, 4))

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if error is not None:
            return  # an interrupt may have left helpers at work: memory and picture are theirs until they are done
        self._picture, home = None, self._home()
        if home is not None:
            home.append(self)

    def read_from(self, x, first=0, start=None):
        """The pictures to work on: x (N, 3, H, W) float32, contiguous, from index `first` on.

        They must live until the commands have run. `start` is the address of x, if it is known.
        """
        start = (address_of(x) if start is None else start) + first * x.strides[0]
        if start != self._picture_at:
            self._picture_at = None  # so that an interrupted change is done again
            for pointers in self._pointers:
                self._library.point(*pointers.args, start)
            self._picture_at = start
        self._picture = x[first : first + self.program.pictures]

    def call_helpers(self, team):
        """Ask threads of a team to help with the next run. They take a while to come, and then wait a little for it.

        Those that come too late, or for a run that never comes, do nothing.
        """
        self._counters[CALLS // 8] += 1  # before the look: who is at hand then waits for the run
        if self._counters[AT_HAND // 8] < self.parts - 1:
            team.invite(functools.partial(self._help, LINGER if team.is_calm else BRIEFLY), self.parts - 1)

    def forget_helpers(self):
        """No helper is at hand, whatever was counted before."""
        self._counters[AT_HAND // 8] = 0

    def run(self):
        """Run all commands."""
        if self._debug:
            self._check()
        if self.parts == 1:
            self._library.execute(*self._list)
        else:
            self._library.share(*self._shared, 0, PAUSE, 1, 0)
        if self._debug:
            self._check_gaps()

    def _help(self, spins, number):
        self._library.share(*self._shared, number % self.parts, PAUSE, 0, spins)

    def timed_run(self, rounds):
        """Time each command by itself.

        Returns
        -------
        ({label: seconds}, multiply-adds a second that the core reaches with nothing else to do): the least, and the
        most, of some rounds, in each of which both are measured
        """
        from .profile import peak_command  # imports the compiler, which an ordinary run does not need

        execute, (start, count), step = self._library.execute, self._list, self._commands[0].strides[0]
        peak, work = peak_command(self._library)
        best = np.full(count + 2, np.inf)
        for _ in range(rounds):
            for index in range(count):
                best[count] = min(best[count], _time_of(execute, start, 0))  # what a call costs
                best[index] = min(best[index], _time_of(execute, start + index * step, 1))
            best[count + 1] = min(best[count + 1], _time_of(execute, peak.ctypes.data, 1))
        *spent, call, at_peak = best
        seconds = {}
        for label, nanoseconds in zip(self.program.labels[0], spent):
            seconds[label] = seconds.get(label, 0.0) + max(nanoseconds - call, 0) * 1e-9
        return seconds, work / max(at_peak - call, 1) * 1e9  # a coarse clock may see no time pass

    # Debugging

    def _buffers(self):
        for name, address, size in self.program.buffers:
            start = address & MASK
            for segment in self._works if address < KEPT else [self._kept]:
                yield name, segment, start, start + size

    def _check(self):
        """Hold every command against the bounds of the buffers that it touches."""
        buffers = [(name, segment[start:stop]) for name, segment, start, stop in self._buffers()]
        buffers += [("weights", self._weights.block), ("tables", self._tables)]
        if self._picture is not None:
            buffers.append(("picture", self._picture.reshape(-1).view(np.uint8)))
        regions = Regions(buffers)
        names = {self._library.addresses[name]: kernel for name, kernel in self._library.kernels.items()}
        for commands, labels in zip(self._commands, self.program.labels):
            for command, label in zip(commands, labels):
                if int(command[0]) not in names:
                    raise Npmnv3Error(f"a command of {label} calls {int(command[0])}, which is no kernel")
                check(names[int(command[0])], command[1:], regions, label)

    def _gaps(self):
        """All memory that belongs to no buffer, as integers."""
        for segment in (*self._works, self._kept):
            inside = sorted((start, stop) for _, owner, start, stop in self._buffers() if owner is segment)
            ends = [0, *(stop for _, stop in inside)]
            starts = [*(start for start, _ in inside), segment.nbytes]
            for stop, start in zip(ends, starts):
                yield segment[stop:start][: (start - stop) // 4 * 4].view(np.uint32)

    def _fill_gaps(self):
        for work in self._works:
            work.view(np.uint32)[:] = PATTERN
        for gap in self._gaps():
            gap[:] = PATTERN

    def _check_gaps(self):
        for gap in self._gaps():
            if (gap != PATTERN).any():
                before = [name for name, _, _, stop in self._buffers() if stop <= gap.ctypes.data]
                raise Npmnv3Error(f"the llvm engine wrote between its buffers, near {before[-1:]}")


class _Pointers:
    """Where the addresses in the picture are in a list of commands, and how far from its start they point."""

    def __init__(self, unbound, bound):
        at = np.flatnonzero(unbound >> SEGMENT_BITS == PICTURE >> SEGMENT_BITS)
        self._places, self._offsets = bound.ctypes.data + 8 * at, bound.reshape(-1)[at]
        self.args = self._places.ctypes.data, self._offsets.ctypes.data, len(at)


def _time_of(execute, commands, count):
    """Nanoseconds."""
    before = time.perf_counter_ns()
    execute(commands, count)
    return time.perf_counter_ns() - before


class Programs:
    """Programs, each with the bound copies that nobody runs at the moment.

    Parameters
    ----------
    bind : callable (program, deque that the copy goes back to) -> Bound
    limit : int, programs that are kept
    """

    def __init__(self, bind, limit=32):
        self._bind, self._limit, self._entries = bind, limit, {}
        self.renew()
        RENEWED_BY_FORK.add(self)

    def renew(self):
        """Forget the lock, and the helpers, which a fork leaves behind; what another thread had borrowed is lost."""
        self._lock = threading.Lock()
        for _, free in self._entries.values():
            for bound in free:
                bound.forget_helpers()

    def _add(self, key):
        """(program, deque of free bound copies) under a new key; the oldest makes room."""
        entry = key[0](*key[1:]), collections.deque()
        with self._lock:
            entry = self._entries.setdefault(key, entry)
            while len(self._entries) > self._limit:
                del self._entries[next(iter(self._entries))]
        return entry

    def borrow(self, *key):
        """A bound program for the caller alone, in a `with` statement.

        Parameters
        ----------
        key : callable that makes the program, and its arguments, all hashable
        """
        program, free = self._entries.get(key) or self._add(key)
        try:
            return free.pop()
        except IndexError:
            return self._bind(program, free)
