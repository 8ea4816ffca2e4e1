"""Last pass: programs bound to memory, and run. Any number of callers may run at once, each in memory of its own."""

import collections
import functools
import threading
import weakref

import numpy as np

from .kernels.kernel import AT_HAND, CALLS, STALLS, control_bytes
from .memory import address_of, aligned
from .threads import PAUSE, RENEWED_BY_FORK
from .workspace import PICTURE, SEGMENT_BITS, WORK, bind

#: How often a helper looks for the next run before it goes to sleep: for a tenth of a millisecond or so. To wake it would
#: take half as long, and calls that follow each other closely are spared that. Where others want its core it waits briefly:
#: a thread that was busy, even with waiting, is the first to lose its core, and then the caller waits for the part that
#: it has begun.
LINGER, BRIEFLY = 200_000, 50_000


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
    commands : for each part int64 (commands, RECORD), as they run
    """

    def __init__(self, program, weights, library, home, debug=False):
        self.program, self._weights, self._library = program, weights, library
        self._home = weakref.ref(home)  # `home` refers to this: in a cycle memory would outlive the engine
        self._works = [aligned(program.work_bytes) for _ in range(program.pictures)]
        self._work, self._kept = self._works[0], aligned(program.kept_bytes)
        self._tables = aligned(program.tables.nbytes)
        self._tables.view(np.int64)[:] = program.tables
        memory = (weights.block, self._work, self._kept, self._tables)
        others = [array.ctypes.data for array in self._works[1:]]
        bases = [0, *(array.ctypes.data for array in memory), 0, *others, 0]
        self.commands = [bind(commands, bases) for commands in program.commands]
        self._list = self.commands[0].ctypes.data, len(self.commands[0])
        self._picture, self._picture_at = None, None
        self._pointers = [_Pointers(*lists) for lists in zip(program.commands, self.commands)]
        self.input = self._vectors(program.input) if program.input else None
        self.output = self._vectors(program.output)
        self.row = self.output.reshape(1, -1)[:, : program.output.shape[0]] if self.output.shape[1] == 1 else None
        self._control, self._lists = aligned(control_bytes(self.parts)).view(np.int64), self._phase_lists()
        self._counters = memoryview(self._control)  # from which a number is sooner read
        self._shared = self._control.ctypes.data, self._lists.ctypes.data, len(self._lists), self.parts
        self._guard = self._guarded() if debug else None

    def _guarded(self):
        from .guard import Guard  # which an ordinary run does not need

        others = [("weights", self._weights.block), ("tables", self._tables)]
        return Guard(self.program, self._works, self._kept, others, self._library)

    def _phase_lists(self):
        """For each part of each phase the address of its first command and the number of its commands, (phases, parts, 2)."""
        ends = np.array(self.program.ends, np.int64).reshape(-1, self.parts)
        starts = np.concatenate([np.zeros_like(ends[:1]), ends[:-1]])
        bases = np.array([commands.ctypes.data for commands in self.commands], np.int64)
        return np.stack([bases + starts * self.commands[0].strides[0], ends - starts], axis=-1)

    @property
    def parts(self):
        return len(self.commands)

    @property
    def stalls(self):
        """How often so far a thread has waited long for another that had begun a part and did not go on."""
        return self._counters[STALLS // 8]

    @property
    def at_hand(self):
        """Helpers that are in a run, or wait for the next."""
        return self._counters[AT_HAND // 8]

    @property
    def nbytes(self):
        """Memory that belongs to this program alone."""
        arrays = (*self._works, self._kept, self._tables, *self.commands, self._control, self._lists)
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
        if self.at_hand < self.parts - 1:
            team.invite(functools.partial(self._help, LINGER if team.is_calm else BRIEFLY), self.parts - 1)

    def forget_helpers(self):
        """No helper is at hand, whatever was counted before."""
        self._counters[AT_HAND // 8] = 0

    def run(self):
        """Run all commands."""
        if self._guard:
            self._guard.check_commands(self.commands, self._picture)
        if self.parts == 1:
            self._library.execute(*self._list)
        else:
            self._library.share(*self._shared, 0, PAUSE, 1, 0)
        if self._guard:
            self._guard.check_gaps()

    def _help(self, spins, number):
        self._library.share(*self._shared, number % self.parts, PAUSE, 0, spins)


class _Pointers:
    """Where the addresses in the picture are in a list of commands, and how far from its start they point."""

    def __init__(self, unbound, bound):
        at = np.flatnonzero(unbound >> SEGMENT_BITS == PICTURE >> SEGMENT_BITS)
        self._places, self._offsets = bound.ctypes.data + 8 * at, bound.reshape(-1)[at]
        self.args = self._places.ctypes.data, self._offsets.ctypes.data, len(at)


class Programs:
    """Programs, each with the bound copies that nobody runs at the moment.

    Parameters
    ----------
    bind : callable (program, home=deque that the copy goes back to) -> Bound
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
            return self._bind(program, home=free)
