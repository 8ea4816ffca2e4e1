"""Texts in HDF5 files: what must be right before the HDF5 library may read them.

Attributes keep texts of variable length outside, in heaps, with references (length, heap's address, number there). The
library (2.0 at least) believes both: it allocates whatever length a damaged reference claims, and walks in place for
ever on a heap whose objects have no size. It offers no way to ask first, so the file's own bytes are looked at.

Source: HDF5 file format specification, III.E (global heap), IV.A.2.m (attribute message)
"""

import contextlib
import mmap
import struct

from ..errors import WeightsError

_REFERENCE = struct.Struct("<IQI")
# Versions of the message: (version, bytes before the name, what name, type and shape are each filled up to).
_MESSAGES = ((1, 8, 8), (2, 8, 1), (3, 9, 1))


def check_heaps(path):
    """Refuse a heap with an object that has no size.

    A heap is a run of objects, each with its size; the library steps from one to the next by that size, unchecked.
    """
    with _mapped(path) as data:
        for start in _places(data, b"GCOL\x01"):
            place, end = start + 16, min(start + int.from_bytes(data[start + 8 : start + 16], "little"), len(data))
            while place + 16 <= end:
                index = int.from_bytes(data[place : place + 2], "little")
                size = int.from_bytes(data[place + 8 : place + 16], "little")
                step = (size if index == 0 else 16 + (size + 7) // 8 * 8) % (1 << 64)
                if step == 0:
                    raise WeightsError(
                        f"{path}: damaged: the heap of texts at byte {start} has an object without a size"
                    )
                place += step


def check_texts(path, name, count, size, most):
    """Refuse an attribute of `count` texts, `size` bytes of references, if they claim more than `most` bytes of text."""
    sought = name.encode("utf-8", "surrogateescape") + b"\0"
    with _mapped(path) as data:
        found = [begin for start in _places(data, sought) for begin in _references(data, start, len(sought))]
        for begin in found:
            texts = data[begin : begin + count * _REFERENCE.size]
            usable = len(texts) // _REFERENCE.size * _REFERENCE.size
            claimed = sum(length for length, _, _ in _REFERENCE.iter_unpack(texts[:usable]))
            if claimed > most:
                raise WeightsError(f"{path}: attribute {name!r} claims {claimed} bytes of text, more than {most}")
    if not found or size != count * _REFERENCE.size:
        raise WeightsError(f"{path}: damaged: attribute {name!r} has texts that are not where the format has them")


def _references(data, start, length):
    """Where the references begin of each attribute message that has its name, of this length, at `start`.

    In a message a few bytes with the sizes of name, type and shape come first, then these three, then the references.
    """
    for version, before, step in _MESSAGES:
        if start >= before and data[start - before] == version:
            sizes = struct.unpack_from("<3H", data, start - before + 2)
            if sizes[0] == length:
                yield start + sum(-(-part // step) * step for part in sizes)


def _places(data, sought):
    start = data.find(sought)
    while start >= 0:
        yield start
        start = data.find(sought, start + 1)


@contextlib.contextmanager
def _mapped(path):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data
