"""Memory that kernels work on: aligned arrays, and checked views of what a command touches."""

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
    """Npmnv3Error if any of what a command touches lies outside of the buffers; parameters as of `views`."""
    a, tables = _named(kernel, args), {}
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


def views(kernel, args, regions, label=""):
    """What a command touches, as arrays.

    Parameters
    ----------
    kernel : Kernel
    args : sequence of int, the command's arguments
    regions : Regions
    label : str, where the command comes from, for messages

    Returns
    -------
    (arguments by name, {operand's name: array, or list of arrays for one that a table leads to})
    """
    a, arrays = _named(kernel, args), {}
    for name, operand in kernel.operands(a).items():
        if 0 in operand.shape:
            continue
        dtype, what = (np.int64 if name == "table" else operand.dtype), f"{label} {kernel.name} {name}"
        offsets = arrays[operand.table] if operand.table else [0]
        found = [regions.view(operand.address + int(o), operand.shape, operand.strides, dtype, what) for o in offsets]
        arrays[name] = found if operand.table else found[0]
    return a, arrays


def _named(kernel, args):
    """A command's arguments by name."""
    return SimpleNamespace(**dict(zip(kernel.args, (int(value) for value in args))))
