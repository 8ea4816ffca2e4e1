"""Threads that help: a few that wait for work, called for one job at a time."""

import ctypes
import os
import queue
import threading
import weakref

from ...errors import UsageError


def _pause_address():
    """The system's function that gives the rest of a time slice away, or 0."""
    try:
        return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value
    except (AttributeError, TypeError, OSError):  # not on this system
        return 0


#: What a thread calls that has waited long at a barrier.
PAUSE = _pause_address()


#: More than any machine has cores; a larger number is a slip.
MOST_THREADS = 1024


def thread_count(wanted=None):
    """How many threads to use: as asked for, else NPMNV3_THREADS, else one for each core this process may use."""
    name, value = "threads", wanted
    if wanted is None:
        name, value = "the environment variable NPMNV3_THREADS", os.environ.get("NPMNV3_THREADS")
        if not value:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            return min(cores, MOST_THREADS)
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = 0
    if not 1 <= count <= MOST_THREADS or isinstance(value, (bool, float)):
        raise UsageError(f"{name} is {value!r:.40}, expected a whole number from 1 to {MOST_THREADS}")
    return count


class Team:
    """Runs a job in several threads at once, the caller's among them. One team serves all engines of a process.

    One job at a time: if the team is at work, `run` says so and does nothing. The helpers are started by the first job
    that needs them, and again in a process that was forked, where threads do not come along.
    """

    def __init__(self):
        self.renew()
        RENEWED_BY_FORK.add(self)

    def renew(self):
        """Forget helpers and locks."""
        self._busy, self._helpers = threading.Lock(), []

    def run(self, job, abandon, size):
        """Call job(0), ..., job(size - 1), side by side.

        Parameters
        ----------
        job : callable (number)
        abandon : callable (), called if the caller's own part fails or is interrupted: makes the others come to an end
        size : int, threads

        Returns
        -------
        bool, False if the team was at work for somebody else, or has not so many threads, and nothing was called

        Raises
        ------
        What a job raised, when all are done
        """
        if not self._busy.acquire(blocking=False):
            return False
        try:
            while len(self._helpers) < size - 1:
                self._helpers.append(_Helper(len(self._helpers) + 1))
        except RuntimeError:  # the system has no more threads to give
            self._busy.release()
            return False
        try:
            _run(self._helpers[: size - 1], job, abandon)
        finally:
            self._busy.release()
        return True


def _run(helpers, job, abandon):
    try:
        for helper in helpers:
            helper.calls.put(job)
        job(0)
        errors = [helper.answers.get() for helper in helpers]
    except BaseException:
        abandon()
        _calm(helpers)
        raise
    for error in errors:
        if error is not None:
            raise error


def _calm(helpers):
    """Wait until every helper is idle, whatever it was called for: its memory is about to change hands."""
    while True:
        try:
            for helper in helpers:
                last = object()
                helper.calls.put(last)
                while helper.answers.get() is not last:
                    pass
            return
        except KeyboardInterrupt:  # one KeyboardInterrupt is being raised already
            continue


class _Helper:
    """One waiting thread; it ends with the process.

    It answers a call with what that raised, or None, and anything else with the thing itself.
    """

    def __init__(self, number):
        self.calls, self.answers = queue.SimpleQueue(), queue.SimpleQueue()
        threading.Thread(target=self._serve, args=(number,), name=f"npmnv3-{number}", daemon=True).start()

    def _serve(self, number):
        while True:
            job = self.calls.get()
            answer = None if callable(job) else job
            try:
                if callable(job):
                    job(number)
            except BaseException as error:  # raised again in the thread that waits for the job
                answer = error
            self.answers.put(answer)
            del job, answer  # they hold what the job works on, and the next may be long in coming


#: Everything with a lock that another thread may have held when the process forked.
RENEWED_BY_FORK = weakref.WeakSet()


#: The one that engines use: threads of many models that all wait would be no use, and those of many at work would fight.
TEAM = Team()


def _after_fork():
    for owner in list(RENEWED_BY_FORK):
        owner.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
