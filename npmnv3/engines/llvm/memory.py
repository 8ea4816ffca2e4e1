"""Memory that kernels work on: aligned arrays, and whether what a command touches lies in them."""

import bisect
import ctypes
from types import SimpleNamespace

import numpy as np

from ...errors import Npmnv3Error
from ...ops.pages import system_pages
from .kernels.kernel import LINE

#: Bytes from which on memory is the system's own: what is given back to a heap in pieces is not given back to the system.
OWN_PAGES = 1 << 16


def aligned(count):
    """`count` zeroed bytes that start at a cache line."""
    if count >= OWN_PAGES:
        return system_pages(count)
    raw = np.zeros(count + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + count]


def address_of(array):
    """Of the first byte of a contiguous array. `array.ctypes` takes twice as long, which shows with a small picture."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except (TypeError, ValueError):  # it may not be written, or is empty
        return array.ctypes.data


class Regions:
    """The memory that commands may touch.

    Parameters
    ----------
    buffers : sequence of (name, uint8 array)
    """

    def __init__(self, buffers):
        self._buffers = sorted(
            (array.ctypes.data, array.ctypes.data + array.nbytes, name, array) for name, array in buffers
        )
        self._starts = [start for start, *_ in self._buffers]

    def place(self, address, shape, strides, dtype, what):
        """(buffer that holds it, offset in it) of the array at an address; Npmnv3Error if any of it lies outside of one."""
        last = address + sum((n - 1) * step for n, step in zip(shape, strides))
        index = bisect.bisect_right(self._starts, address) - 1
        start, end, name, array = self._buffers[index] if index >= 0 else (0, 0, "", None)
        if address >= end:
            raise Npmnv3Error(f"{what} starts at {address}, in none of the engine's buffers")
        stop = last + np.dtype(dtype).itemsize
        if stop > end or last < address:
            raise Npmnv3Error(
                f"{what} reaches {stop - end} bytes beyond the buffer {name} of {end - start} bytes: it starts at "
                f"{address - start}, shape {shape}, strides {strides}"
            )
        return array, address - start

    def view(self, address, shape, strides, dtype, what):
        """The array at an address; Npmnv3Error as of `place`."""
        array, offset = self.place(address, shape, strides, dtype, what)
        return np.ndarray(shape, dtype, array, offset, strides)


def check(kernel, args, regions, label=""):
    """Hold what a command touches against the buffers.

    Parameters
    ----------
    kernel : Kernel
    args : sequence of int, the command's arguments
    regions : Regions
    label : str, where the command comes from, for messages

    Raises
    ------
    Npmnv3Error
        Some of it lies outside of the buffer that it begins in.
    """
    a, tables = SimpleNamespace(**dict(zip(kernel.args, map(int, args)))), {}
    for name, operand in kernel.operands(a).items():
        if 0 in operand.shape:
            continue
        what = f"{label} {kernel.name} {name}"
        if name == "table":
            tables[name] = regions.view(operand.address, operand.shape, operand.strides, np.int64, what)
            continue
        address, shape, strides = operand.address, operand.shape, operand.strides
        if operand.table:  # from the least of its offsets to the largest, all in one buffer
            low, high = int(tables[operand.table].min()), int(tables[operand.table].max())
            address, shape, strides = address + low, (2, *shape), (high - low, *strides)
        regions.place(address, shape, strides, operand.dtype, what)
