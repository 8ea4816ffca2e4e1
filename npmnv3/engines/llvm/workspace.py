"""Addresses before they are known: where weights, tensors, tables and the picture will lie.

A command is made once and bound later, to each thread's own memory. Until then an address is an offset with the number
of its segment in the upper bits; plain numbers are in segment 0, which starts at 0.
"""

from typing import NamedTuple

import numpy as np

from .kernels.kernel import LINE

SEGMENT_BITS = 48
MASK = (1 << SEGMENT_BITS) - 1
WEIGHTS, WORK, KEPT, TABLES, PICTURE = (n << SEGMENT_BITS for n in (1, 2, 3, 4, 5))


def of_picture(number, values, picture_bytes):
    """Addresses and plain numbers of commands for the first of several pictures, as those for another one.

    The pictures lie side by side. Each has a segment for its tensors: number 0 has WORK, the others those after PICTURE.

    Parameters
    ----------
    number : int from 0, of the picture
    values : int or int array
    picture_bytes : int

    Returns
    -------
    int64 array of the same shape
    """
    segment = np.asarray(values, np.int64) >> SEGMENT_BITS
    own = PICTURE - WORK + (number << SEGMENT_BITS) if number else 0
    shift = np.where(segment == WORK >> SEGMENT_BITS, own, 0)
    return values + np.where(segment == PICTURE >> SEGMENT_BITS, number * picture_bytes, shift)


def bind(commands, bases):
    """Commands with real addresses.

    Parameters
    ----------
    commands : int array, numbers and addresses with segments
    bases : sequence of ints, where each segment starts; 0 first, and last, for negative numbers
    """
    return (commands & MASK) + np.asarray(bases, np.int64)[commands >> SEGMENT_BITS]


class Workspace:
    """Hands out memory in the order of execution.

    Tensors get the lowest memory that is free in the segment WORK. The segment KEPT, zeroed once, is for what nothing else
    may ever write to.

    Parameters
    ----------
    guard : bool, leave a gap after each buffer and use no memory twice, so that a stray write shows

    Attributes
    ----------
    work_bytes, kept_bytes : needed in each of the two segments
    buffers : [(name, address, size)] of everything handed out
    """

    GAP = 4 * LINE

    def __init__(self, guard=False):
        self.work_bytes, self.kept_bytes, self.buffers, self._gap = 0, 0, [], self.GAP if guard else 0
        self._taken = []  # (start, stop), sorted

    def take(self, size, name):
        """An address for `size` bytes, aligned to a cache line, until it is given back."""
        needed, start = self._rounded(size), 0
        for taken_start, taken_stop in self._taken:
            if taken_start - start >= needed:
                break
            start = max(start, taken_stop)
        self._taken = sorted([*self._taken, (start, start + needed)])
        self.work_bytes = max(self.work_bytes, start + needed)
        self.buffers.append((name, WORK + start, size))
        return WORK + start

    def give_back(self, address):
        """The memory at an address may be used for something else from here on."""
        if not self._gap:
            self._taken = [taken for taken in self._taken if taken[0] != address - WORK]

    def keep(self, size, name):
        """An address for `size` zeroed bytes that nothing else ever uses."""
        address = KEPT + self.kept_bytes
        self.kept_bytes += self._rounded(size)
        self.buffers.append((name, address, size))
        return address

    def _rounded(self, size):
        return round_up(size, LINE) + self._gap


class Place(NamedTuple):
    """Where a kernel reads or writes: the first vector, and how far it is from there to the next plane and the next row."""

    address: int
    plane: int  # bytes
    row: int = 0  # bytes; of a single row it does not matter


class Map(NamedTuple):
    """A tensor in memory: planes of `width` channels, in each the pixels row by row, a vector each."""

    address: int
    shape: tuple[int, ...]  # (C, H, W) or (C,)
    planes: int
    plane: int  # bytes from a plane to the next
    pixel: int  # bytes of a vector

    @property
    def row(self):
        """Bytes of a row of pixels."""
        return self.shape[2] * self.pixel

    @property
    def pixels(self):
        return self.shape[1] * self.shape[2] if len(self.shape) == 3 else 1

    def at_row(self, row):
        """The Place of the rows from this one on."""
        return Place(self.address + row * self.row, self.plane, self.row)

    def at_pixel(self, pixel):
        """The Place of the pixels from this one on, as a single row."""
        return Place(self.address + pixel * self.pixel, self.plane)


def round_up(size, step):
    return -(-size // step) * step


def plane_bytes(pixels, pixel):
    """Bytes from a plane to the next: an odd number of vectors, to have a pixel's planes in different cache sets."""
    return (pixels | 1) * pixel


class Ring:
    """Rows of a padded map, as many as a band of output rows needs, in memory that is used round and round.

    Row r of the map is in slot r % capacity; the slot after the last is a row of zeros that stands for all rows outside
    of the map. The columns at both ends are zeros as well. Nothing but rows is ever written, so the zeros stay.

    Parameters
    ----------
    height, width : of the map, pixels
    pad : (top, bottom, left, right)
    capacity : rows that are kept
    planes : of one thread
    pixel : bytes
    """

    def __init__(self, height, width, pad, capacity, planes, pixel):
        self.top, _, left, right = pad
        self.height, self.capacity = height, capacity
        # Bytes from a row's start to the first pixel of the map.
        self.inner = round_up(left * pixel, min(LINE, 16 * pixel))
        self.row = self.inner + round_up((width + right) * pixel, min(LINE, 16 * pixel))
        self._start = self.inner - left * pixel
        plane = (capacity + 1) * self.row
        self.plane = plane_bytes(plane // pixel, pixel)
        self.size = self.plane * planes
        self.key = (height, width, pad, capacity, planes, pixel)

    def offsets(self, count):
        """Offset in a plane of the first padded pixel of each of `count` rows of the padded map."""
        rows = np.arange(count) - self.top
        inside = (rows >= 0) & (rows < self.height)
        return np.where(inside, rows % self.capacity, self.capacity) * self.row + self._start

    def runs(self, start, stop):
        """Rows start..stop of the map as runs that lie side by side: (first row, stop row, offset of the first)."""
        while start < stop:
            end = min(stop, start - start % self.capacity + self.capacity)
            yield start, end, start % self.capacity * self.row
            start = end
