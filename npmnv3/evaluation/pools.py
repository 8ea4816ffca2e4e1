"""Who works: threads of this process, or the workers of a dask cluster. Results come in the order of the work.

Threads, since nearly all time is spent in decoders and kernels that let others run, and since a killed process then
leaves nobody behind.
"""

import collections
import concurrent.futures
import contextlib
import ctypes
import functools
import multiprocessing
import signal
import sys
import threading

from ..engines.cores import thread_count
from ..errors import Npmnv3Error, UsageError, require

BATCH = 32  # pictures a worker takes at a time

#: Batches under way for each worker: one at work, and enough behind it that none waits for the slowest.
AHEAD = 3

#: Seconds in which a cluster must answer and have a worker.
PATIENCE = 30

#: How a cluster of this machine is made. Its scheduler serves a page even without a dashboard; at the usual port, where
#: another cluster may have its own, it would warn of that.
LOCAL = {
    "threads_per_worker": 1,
    "dashboard_address": "127.0.0.1:0",
    "scheduler_kwargs": {"dashboard": False},
    "silence_logs": "CRITICAL",  # what matters is raised here
}

#: How processes of this machine are started where the system can copy processes: as copies of one that has imported
#: `IMPORTED` once for all, and while this one loads the networks. A third of a cluster's start is saved so.
COPIES = "forkserver"
IMPORTED = ("distributed", f"{__package__}.work")

#: What workers of a cluster are told of memory, as glibc's `mallopt` numbers it: bytes that may lie free before they are
#: given back to the system (M_TRIM_THRESHOLD), and bytes of a piece that the system itself is asked for
#: (M_MMAP_THRESHOLD). By dask's choice whatever is free beyond 64 KB goes back, to be asked for anew with every batch,
#: which takes a fifth of the time.
MALLOC = {-1: 1 << 27, -3: 1 << 25}


def pieces_of(pictures, batch=None):
    """Pictures in batches, default 32 each: few enough to be small in memory, and enough for the head's weights."""
    batch = BATCH if batch is None else batch
    if batch < 1:
        raise UsageError(f"`batch={batch}`, expected a whole number from 1")
    return (pictures[i : i + batch] for i in range(0, len(pictures), batch))


def prepare_workers(scheduler):
    """Begin what takes long of `start_workers` with this scheduler; it goes on while this process does something else.

    Raises
    ------
    UsageError, if the scheduler is called local but not local:N
    """
    if _local_processes(scheduler) and _can_copy():
        from multiprocessing import forkserver, resource_tracker

        forkserver.set_forkserver_preload(list(IMPORTED))
        resource_tracker.ensure_running()  # which would let Ctrl-C in again
        # A terminal sends Ctrl-C to all processes. The copies inherit that they do not hear it; this one stops them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def start_workers(count=None, scheduler=None):
    """A pool of workers; with a scheduler, after `prepare_workers`.

    Parameters
    ----------
    count : int, threads; default one more than NPMNV3_THREADS or the cores; not with a scheduler
    scheduler : str, "tcp://host:port" of a dask scheduler, or "local:N" for N processes on this machine

    Yields
    ------
    callable (function, iterable of work) -> iterator of (piece of work, its result), in order
    """
    if scheduler is None:
        # One more than there are cores: Python lets one thread at a time do what is not decoding or kernels.
        count = thread_count() + 1 if count is None else thread_count(count)
        with concurrent.futures.ThreadPoolExecutor(count, "npmnv3-evaluate") as pool:
            try:
                yield lambda function, work: _in_order(
                    functools.partial(pool.submit, function), work, lambda: AHEAD * count
                )
            finally:
                pool.shutdown(cancel_futures=True)
    else:
        if count is not None:
            raise UsageError("workers is for threads; a dask cluster has the workers it has (local:N starts N)")
        with _cluster(scheduler) as run:
            yield run


def _in_order(submit, work, room):
    """Submit pieces of work, at most `room()` at once, and yield (piece, result) one after another."""
    waiting = collections.deque()
    for piece in work:
        waiting.append((piece, submit(piece)))
        while len(waiting) >= room():
            piece, future = waiting.popleft()
            yield piece, future.result()
    while waiting:
        piece, future = waiting.popleft()
        yield piece, future.result()


def _local_processes(scheduler):
    """N if the scheduler is "local:N", else None."""
    kind, _, number = (scheduler or "").partition(":")
    if kind != "local":
        return None
    if not (number.isascii() and number.isdigit() and int(number)):
        raise UsageError(
            f"scheduler is {scheduler!r}, expected local:N with N from 1, or an address such as tcp://host:8786"
        )
    return int(number)


@contextlib.contextmanager
def _cluster(scheduler):
    distributed = require("distributed", "dask", f"the scheduler {scheduler}")
    number = _local_processes(scheduler)
    with contextlib.ExitStack() as stack:
        try:
            if number:
                with _interrupts_later(), _by_copying():
                    scheduler = stack.enter_context(distributed.LocalCluster(n_workers=number, **LOCAL))
            client = stack.enter_context(distributed.Client(scheduler, timeout=PATIENCE))
            client.wait_for_workers(1, timeout=PATIENCE)
            client.run(keep_memory, on_error="ignore")  # one without npmnv3 is told of with the work
        except (OSError, TimeoutError, distributed.TimeoutError, ValueError) as error:
            raise UsageError(f"the dask scheduler {scheduler} cannot be used, or has no worker: {error}") from error

        def room():
            return AHEAD * max(1, sum(client.nthreads().values()))

        def run(function, work):
            # Not "pure": dask would otherwise hash every piece to look for equal ones.
            submit = functools.partial(client.submit, function, pure=False)
            return _explained(_in_order(submit, work, room), distributed)

        yield run


def _can_copy():
    return COPIES in multiprocessing.get_all_start_methods()


def _by_copying():
    """Within, dask's processes are copies, where they can be."""
    import dask

    return dask.config.set({"distributed.worker.multiprocessing-method": COPIES} if _can_copy() else {})


def keep_memory():
    """Tell the C library of this process, if it is glibc, to keep what is freed for the next batch."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        for number, value in MALLOC.items():
            library.mallopt(number, value)


@contextlib.contextmanager
def _interrupts_later():
    """Ctrl-C within is heard afterwards: dask cannot end a cluster that is half begun."""
    if threading.current_thread() is not threading.main_thread():  # nobody sends it there, nor can it be set
        yield
        return
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


def _explained(results, distributed):
    """Turn what dask raises when the work cannot go on into our error."""
    lost = (distributed.KilledWorker, distributed.comm.CommClosedError, concurrent.futures.CancelledError)
    try:
        yield from results
    except Npmnv3Error:
        raise
    except lost as error:
        raise Npmnv3Error(
            f"the dask cluster lost the work ({type(error).__name__}: {error}); --resume goes on from the CSV"
        ) from error
    except (ImportError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "deserialization" not in str(error):
            raise
        raise UsageError(
            f"the dask scheduler and all its workers need npmnv3 installed, and what it needs ({error})"
        ) from error
