"""Results side by side in blocks: who shares one, that nobody is overwritten, and which memory is used again."""

import errno
import mmap
import weakref

import numpy as np
import pytest
from memory_owner import owner

from npmnv3.ops.pages import BLOCK, HUGE_PAGE, KEPT, LINE, SMALL, Blocks, empty, side_by_side, system_pages


def filled(blocks, count):
    """Arrays of half a block each, the first full of zeros, the next of ones, and so on."""
    with blocks.side_by_side():
        arrays = [empty((BLOCK // 8,), "float32") for _ in range(count)]
    for value, array in enumerate(arrays):
        array[:] = value
    return arrays


@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_results_share_blocks_and_no_bytes(dtype):
    count = SMALL // np.dtype(dtype).itemsize
    with Blocks().side_by_side():
        arrays = [empty((count + 1,), dtype) for _ in range(3 * BLOCK // SMALL)]
    for value, array in enumerate(arrays):
        array[:] = value
    assert all((array == value).all() and array.dtype == dtype for value, array in enumerate(arrays))
    assert all(array.ctypes.data % LINE == 0 and array.flags.writeable for array in arrays)
    assert 3 <= len({id(owner(array)) for array in arrays}) <= 4


def test_what_is_small_or_large_lies_by_itself():
    with Blocks().side_by_side():
        small, large, another = (empty((count,), "uint8") for count in (SMALL - 1, BLOCK + 1, SMALL))
    assert len({id(owner(array)) for array in (small, large, another)}) == 3
    assert owner(large).nbytes == large.nbytes and owner(another).nbytes == BLOCK


def test_blocks_end_with_the_wish_for_them():
    with pytest.raises(ZeroDivisionError), Blocks().side_by_side():
        raise ZeroDivisionError
    array = empty((3, SMALL), "float32")
    assert owner(array) is array and array.shape == (3, SMALL)


def test_memory_is_used_again_once_nobody_looks_at_it():
    blocks = Blocks()
    first = filled(blocks, 6)
    kept, addresses = first[2].reshape(2, -1)[1], {array.ctypes.data for array in first}
    del first
    second = filled(blocks, 4)
    assert {array.ctypes.data for array in second} < addresses
    assert (kept == 2).all() and not any(np.may_share_memory(kept, array) for array in second)
    assert all((array == value).all() for value, array in enumerate(second))


def test_memory_waits_for_nobody_who_is_gone():
    blocks = Blocks()
    with blocks.side_by_side():
        results = [empty((BLOCK // 2 + 1,), np.uint8) for _ in range(2)]
    gone = weakref.ref(blocks)
    del blocks
    assert gone() is None and len(results) == 2, "a result holds what its memory would wait for"


def test_what_is_loaded_goes_with_its_own_block_alone():
    with side_by_side():
        first, second = (empty((BLOCK // 2 + 1,), np.uint8) for _ in range(2))
    pages = weakref.ref(owner(first))
    del first
    assert pages() is None and second.size


def test_no_more_than_some_blocks_wait():
    blocks = Blocks()
    arrays = filled(blocks, 2 * KEPT + 6)
    assert len(blocks._unused) == 0
    del arrays
    assert len(blocks._unused) == KEPT


def test_results_outlive_their_blocks():
    arrays = filled(Blocks(), 3)
    assert [float(array.max()) for array in arrays] == [0, 1, 2]


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="a system that is not asked for large pages")
def test_pages_of_a_system_without_large_ones(monkeypatch):
    asked = []

    class Pages(mmap.mmap):
        def madvise(self, *advice):
            asked.append(advice)
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(mmap, "mmap", Pages)
    block = system_pages(HUGE_PAGE + 1)
    assert (
        asked == [(mmap.MADV_HUGEPAGE,)] and len(block) == HUGE_PAGE + 1 and block.flags.writeable and not block.any()
    )
