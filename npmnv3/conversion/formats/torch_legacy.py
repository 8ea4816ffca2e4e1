"""torch's files before 1.6: five pickles in a row, then the storages.

A tensor that is pickled without torch.save, by `pickle.dump` or joblib, brings its storage as such a file within the pickle.
"""

import functools
import struct

from ...dumps.reader import Reader
from ...errors import WeightsError
from . import pickles
from .states import choose
from .torch_pickles import KNOWN, Storage, Storages

MAGIC = 0x1950A86A20F9469CFC6C  # what the first pickle holds
PROTOCOL = 1001


def read(reader, key):
    """Read what follows the first pickle."""
    return choose("torch-legacy", _top(reader), key, reader.size)


class Within:
    """The storages within a pickle, each a file of its own; `known` is the function by which the pickle asks for them.

    left : how many bytes they may still have: each is in the file once, so that none is looked into again and again
    found : whether there are any
    """

    def __init__(self, file_size):
        self.left, self.has_storage = file_size, False
        self.known = KNOWN | pickles.table(("torch.storage._load_from_bytes", self._storage, 1, 1))

    def _storage(self, data):
        if type(data) is not bytes or len(data) > self.left:
            raise WeightsError("the pickle has a storage that is no bytes, or the same one twice; pickle by protocol 4")
        self.left, self.has_storage = self.left - len(data), True
        reader = Reader(data)
        storage = _top(reader) if pickles.load(reader, KNOWN) == MAGIC else None
        if not isinstance(storage, Storage):
            raise WeightsError("the pickle has a storage that is none")
        return storage


def _top(reader):
    """What the third pickle holds, its storages located in the file."""
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
    return top


def _locate(reader, keys, by_key):
    """Set where each storage is read: one after another in the order of the keys, each behind its number of elements."""
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
