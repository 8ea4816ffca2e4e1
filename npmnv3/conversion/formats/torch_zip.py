"""torch's zip files (1.6 and later): NAME/data.pkl and the storages, NAME/data/KEY, uncompressed."""

import functools
import struct
import zipfile
import zlib

from ...dumps.reader import Reader
from ...errors import WeightsError
from . import pickles
from .states import choose
from .torch_pickles import KNOWN, Storages

MAGIC = b"PK\x03\x04"
MAX_DIRECTORY = 32 << 20  # bytes; every entry costs some tens of them
PICKLE = "/data.pkl"
_LOCAL = struct.Struct("<4s5H3L2H")  # the header before an entry's data


def read(reader, key):
    entries = _entries(reader)
    names = [name for name in entries if name.endswith(PICKLE)]
    if len(names) != 1:
        raise WeightsError(f"a zip file with {len(names)} entries NAME{PICKLE}, expected one{_hint(entries)}")
    folder = names[0].removesuffix(PICKLE)
    order = ">" if _optional(reader, entries, f"{folder}/byteorder") == b"big" else "<"
    storages = Storages(reader.size)
    with Reader(_data(reader, entries[names[0]])) as stream:
        top = pickles.load(stream, KNOWN, storages.persistent)
    for storage in storages.by_key.values():
        entry = entries.get(f"{folder}/data/{storage.key}")
        if entry is None or entry.file_size < storage.nbytes:
            found = "missing" if entry is None else f"{entry.file_size} bytes"
            raise WeightsError(f"storage {storage.key[:50]!r} is {found}, expected {storage.nbytes} bytes")
        storage.order, storage.read = order, functools.partial(_data, reader, entry, storage.nbytes)
    return choose("torch", top, key, reader.size)


def _hint(entries):
    if any(name.endswith(".npy") for name in entries):
        return "; this is an .npz, which npmnv3 loads as it is"
    inside = next((name for name in entries if name.endswith((".h5", ".pth", ".pdparams"))), None)
    return f"; unpack it and give {inside}" if inside else ""


class _Bounded:
    """The reader as zipfile sees it: the directory, which it turns into objects at once, may not be endless."""

    def __init__(self, reader):
        self.reader, self.seek, self.tell = reader, reader.seek, reader.tell

    def read(self, count=-1):
        if count > MAX_DIRECTORY:
            raise WeightsError(f"the zip's directory has {count} bytes, more than {MAX_DIRECTORY}")
        return self.reader.read(count)


def _entries(reader):
    """{name: ZipInfo}: stored, plainly named, each in a place of its own within the file."""
    try:
        with zipfile.ZipFile(_Bounded(reader)) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, struct.error, OSError, NotImplementedError) as error:
        raise WeightsError(f"a damaged zip file: {error}") from error
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        _check(info)
        if info.header_offset < end:
            raise WeightsError(f"the zip's entry {info.filename[:100]!r} overlaps another")
        end = info.header_offset + _LOCAL.size + len(info.filename) + info.file_size
    entries = {info.filename: info for info in infos}
    if end > reader.size or len(entries) < len(infos):
        raise WeightsError(
            "the zip's entries reach beyond its end: cut off" if end > reader.size else "the zip has an entry twice"
        )
    return entries


def _check(info):
    name = info.orig_filename
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"):
        raise WeightsError(f"the zip has an entry {name[:200]!r}, whose path leads out of it: refused")
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
        raise WeightsError(
            f"the zip's entry {name[:100]!r} is compressed or encrypted ({info.compress_size} bytes for "
            f"{info.file_size}); torch stores entries as they are"
        )


def _data(reader, info, count=None):
    """An entry's bytes, or the first `count` of them."""
    what = f"the zip's entry {info.filename[:100]!r}"
    header = _LOCAL.unpack(reader.take(info.header_offset, _LOCAL.size, what))
    if header[0] != MAGIC:
        raise WeightsError(f"{what} does not begin where the directory says")
    data = reader.take(info.header_offset + _LOCAL.size + header[-2] + header[-1], info.file_size, what)
    if info.CRC and zlib.crc32(data) != info.CRC:  # torch can leave the sum out; then it is 0
        raise WeightsError(f"{what} is damaged: its checksum is {zlib.crc32(data):08x}, expected {info.CRC:08x}")
    return data if count is None else data[:count]


def _optional(reader, entries, name):
    return _data(reader, entries[name]) if name in entries else None
