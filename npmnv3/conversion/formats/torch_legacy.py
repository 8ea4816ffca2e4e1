"""torch's files before 1.6: five pickles in a row, then the storages."""

import functools
import struct

from ...errors import WeightsError
from . import pickles
from .states import choose
from .torch_pickles import KNOWN, Storages

MAGIC = 0x1950A86A20F9469CFC6C  # what the first pickle holds
PROTOCOL = 1001


def read(reader, key):
    """Read what follows the first pickle."""
    protocol = pickles.load(reader)
    if protocol != PROTOCOL:
        raise WeightsError(f"a torch file of protocol {str(protocol)[:50]}, expected {PROTOCOL}")
    pickles.load(reader)  # the writer's word sizes and byte order; the data are little-endian whatever it says
    storages = Storages(reader.size)
    top = pickles.load(reader, KNOWN, storages.persistent)
    keys = pickles.load(reader)
    if type(keys) is not list or any(type(name) is not str for name in keys):
        raise WeightsError("the list of storages is damaged")
    _locate(reader, keys, storages.by_key)
    return choose("torch-legacy", top, key, reader.size)


def _locate(reader, keys, by_key):
    """Say where each storage lies: one after another in the order of the keys, each behind its number of elements."""
    position = reader.tell()
    for name in keys:
        storage = by_key.get(name)
        if storage is None:
            raise WeightsError(f"storage {name[:50]!r} is listed, but nothing refers to it")
        (count,) = struct.unpack("<q", reader.take(position, 8, f"the size of storage {name[:50]!r}"))
        if count != storage.count:
            raise WeightsError(f"storage {name[:50]!r} has {count} elements, expected {storage.count}")
        position += 8
        if position + storage.nbytes > reader.size:
            raise WeightsError(
                f"storage {name[:50]!r} is cut off: {storage.nbytes} bytes from {position} in {reader.size}"
            )
        storage.read = functools.partial(reader.take, position, storage.nbytes, f"storage {name[:50]!r}")
        position += storage.nbytes
