"""Threads that help: a few that wait for work, and what is shared with them."""

import collections
import contextlib
import ctypes
import os
import queue
import threading
import time
import weakref


def _function(name):
    """A function of the system's library, or None."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, TypeError, OSError):  # not on this system
        return None


_usleep, _current_core = _function("usleep"), _function("sched_getcpu")


#: The function with which a thread that has waited long for another sleeps for a moment. If it yielded its core instead,
#: whatever else wants that would get a whole time slice.
PAUSE = ctypes.cast(_usleep, ctypes.c_void_p).value if _usleep else 0

#: Seconds, at least and at most, for which helpers are left alone after they failed because others use their cores. Each
#: failure doubles the time and each success halves it. So what wants a core for a moment only, such as another engine's
#: threads that wait for their next call, costs little more than that moment.
REST, LONGEST_REST = 0.005, 1.0

#: Seconds of rest from which on it pays to make a program for the caller alone. One failure, as happens anywhere, is no
#: reason.
LONG_REST = 4 * REST

#: Runs in a row to which no helper came that count as a failure. To call one in vain costs little, and it may come to a
#: later run.
MISSES = 8

#: Seconds after a stall in which helpers do not spin while they wait for the next call: the system would count that as work,
#: and take their cores from them when they have some.
CALM = 1.0


class Team:
    """Helpers for whoever asks. One team serves all engines of a process.

    Nobody waits for a helper to come: those that are awake take a share of what they find, and late ones find nothing.
    The helpers are started by the first invitation that needs them, and again in a process that was forked, where threads
    do not come along.
    """

    def __init__(self):
        self.renew()
        RENEWED_BY_FORK.add(self)

    def renew(self):
        """Forget helpers and locks."""
        self._lock, self._helpers = threading.Lock(), []
        self._resting_until, self._rest, self._calm_from, self._missed = 0.0, REST, 0.0, 0

    def invite(self, job, count):
        """Ask helpers 1 to `count` to call job(number), instead of an earlier job that they have not begun.

        There are fewer helpers if the system allows no more threads.
        """
        with contextlib.suppress(RuntimeError), self._lock:
            while len(self._helpers) < count:
                self._helpers.append(_Helper(len(self._helpers) + 1))
        cores = _own_cores()
        for helper in self._helpers[:count]:
            helper.invite(job, *cores)

    @property
    def is_resting(self):
        """True for a while after helpers failed: one picture is then better done without them."""
        return self._resting_until > time.monotonic()

    @property
    def is_resting_long(self):
        """True where they failed again and again, and so will be resting for much longer than a picture takes."""
        return self._rest >= LONG_REST and self.is_resting

    @property
    def is_calm(self):
        """True if no helper has stalled for a while: nobody else seems to want their cores."""
        return self._calm_from <= time.monotonic()

    def learn(self, came, stalled):
        """Note whether helpers came to a run, and whether they held the caller up; if they fail, they are left alone."""
        self._missed = 0 if came else self._missed + 1
        if stalled or self._missed >= MISSES:
            now, self._missed = time.monotonic(), 0
            self._resting_until, self._calm_from = now + self._rest, now + CALM
            self._rest = min(2 * self._rest, LONGEST_REST)
        elif came:
            self._rest = max(self._rest / 2, REST)


class _Helper:
    """One waiting thread; it ends with the process."""

    def __init__(self, number):
        self._jobs = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, args=(number,), name=f"npmnv3-{number}", daemon=True)
        self._thread.start()
        # With gevent and eventlet it is no thread of the system's, but a part of the one that starts it, which nobody may move.
        self._is_own = self._thread.native_id != threading.get_native_id()

    def invite(self, job, cores, others):
        """Wake it to call job(number): on one of the `others`, after which it may use all `cores`; sets, empty if not known.

        Where all cores were busy a moment ago, Linux wakes a thread on the core of the one that wakes it, and moves it only
        some milliseconds later, though another core is idle by now.
        """
        with contextlib.suppress(queue.Empty):
            self._jobs.get_nowait()
        if not self._is_own:
            cores = others = frozenset()
        _move(self._thread.native_id, others)
        self._jobs.put((job, cores))

    def _serve(self, number):
        while True:
            job, cores = self._jobs.get()
            _move(0, cores)
            job(number)
            del job  # it holds what it works on, and the next may be long in coming


def _own_cores():
    """(the cores that this thread may use, those of them that it is not on), two sets; empty if there is but one."""
    if _current_core is None or not hasattr(os, "sched_getaffinity"):
        return frozenset(), frozenset()
    cores = os.sched_getaffinity(0)
    others = cores - {_current_core()}
    return (cores, others) if others else (others, others)


def _move(thread, cores):
    """Let a thread (0: this one) run on these cores alone, if there are any."""
    if cores:
        with contextlib.suppress(OSError):  # the system may not allow it, and does without
            os.sched_setaffinity(thread, cores)


class Tasks:
    """Numbered tasks that any number of threads do together.

    The caller may be interrupted at any instruction. So nothing here holds a lock that another thread wants, and a caller
    that is interrupted leaves to its helpers what they work on (see `programs.Bound`).

    Parameters
    ----------
    task : callable (number)
    count : int
    """

    def __init__(self, task, count):
        self._task, self._pending = task, collections.deque(range(count))
        self._helping, self._errors = [], []

    def help(self, _):
        """A helper's part: claim tasks and do them until none is left; what one raises is raised by `finish`."""
        done = threading.Lock()
        done.acquire()
        self._helping.append(done)  # before a task is claimed: who finds none left knows all who have one
        try:
            self._work()
        except BaseException as error:
            self._errors.append(error)
            self._pending.clear()
        finally:
            done.release()

    def finish(self):
        """The caller's part: do what nobody has begun, and wait for what others have.

        Raises
        ------
        What a task raised; an interrupt. Helpers may then be at work still, on what they have begun.
        """
        try:
            self._work()
            for done in self._helping:
                done.acquire()
        except BaseException:
            self._pending.clear()
            raise
        if self._errors:
            raise self._errors[0]

    def _work(self):
        while True:
            try:
                number = self._pending.popleft()
            except IndexError:
                return
            self._task(number)


#: Everything with a lock that another thread may have held when the process forked.
RENEWED_BY_FORK = weakref.WeakSet()


#: The one team of all engines: each model's own threads would only wait, or compete for the same cores.
TEAM = Team()


def _after_fork():
    for owner in list(RENEWED_BY_FORK):
        owner.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
