"""Arrays in the system's large pages, and results side by side in such arrays.

The system hands out memory a page at a time, and zeroes a page when it is first written to: for a result of some
megabytes that takes about as long as a pass over it. Of large pages it needs 512 times fewer, and pages that were in use
before cost nothing.
"""

import contextlib
import contextvars
import functools
import math
import mmap
import weakref

import numpy as np

#: Bytes of the system's large pages.
HUGE_PAGE = 1 << 21
#: Bytes of a block that results share. A larger result has pages of its own, a small one is NumPy's.
BLOCK = 1 << 23
SMALL = 1 << 16
#: Blocks that are kept for later results when none of theirs is in use any more: 128 MiB.
KEPT = 16
#: Bytes of a cache line, at which results start.
LINE = 64
#: Not shared with a process that is forked off, which is what `mmap` would do.
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}


def system_pages(count):
    """`count` zeroed bytes in pages of their own, large ones where the system has them: a uint8 array."""
    return np.frombuffer(_mapped(count), np.uint8)


def _mapped(count):
    try:
        pages = mmap.mmap(-1, count, **_PRIVATE)
    except OSError as error:
        raise MemoryError(f"no memory for {count:,} bytes: {error}") from error
    if count >= HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # of a kernel that has none
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


_places = contextvars.ContextVar("places", default=None)


class Blocks:
    """Memory for results that are all kept, such as a trace's.

    A block lives as long as any result in it; then its memory waits for the next results, as long as this object lives.
    """

    def __init__(self):
        self._unused = []

    def side_by_side(self):
        """A context within which `empty` puts results into blocks."""
        return _results_in(self.take)

    def take(self):
        """A block, uint8."""
        try:
            pages = self._unused.pop()
        except IndexError:
            pages = _mapped(BLOCK)
        block = np.frombuffer(pages, np.uint8)
        weakref.finalize(block, _put_back, weakref.ref(self), pages).atexit = False
        return block

    def put_back(self, pages):
        if len(self._unused) < KEPT:
            self._unused.append(pages)


def _put_back(blocks, pages):
    """Give memory that is no longer in use back to its `Blocks`, if these still exist."""
    if (owner := blocks()) is not None:
        owner.put_back(pages)


def side_by_side():
    """A context within which `empty` puts results into blocks that each go with the last result in it."""
    return _results_in(functools.partial(system_pages, BLOCK))


@contextlib.contextmanager
def _results_in(take):
    token = _places.set(_Places(take))
    try:
        yield
    finally:
        _places.reset(token)


class _Places:
    """Hands out a block's bytes one after another, then the next block's; `take` gives a block."""

    def __init__(self, take):
        self._take, self._block, self._used = take, np.empty(0, np.uint8), 0

    def take(self, count):
        if count > BLOCK:
            return system_pages(count)
        if self._used + count > self._block.size:
            self._block, self._used = self._take(), 0
        start, self._used = self._used, self._used + -(-count // LINE) * LINE
        return self._block[start : start + count]


def empty(shape, dtype):
    """`np.empty`; within `Blocks.side_by_side` in a block."""
    places, count = _places.get(), math.prod(shape) * np.dtype(dtype).itemsize
    if places is None or count < SMALL:
        return np.empty(shape, dtype)
    return places.take(count).view(dtype).reshape(shape)
