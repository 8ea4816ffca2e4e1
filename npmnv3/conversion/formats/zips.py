"""Zip files that hold checkpoints: their entries, checked, and each one's bytes. Plain or deflated, not endless."""

import struct
import zipfile
import zlib

from ...errors import WeightsError

MAGIC = b"PK\x03\x04"
MAX_DIRECTORY = 32 << 20  # bytes; every entry costs some tens of them
MAX_EXPANSION, SPARE = 100, 1 << 24  # all entries together: times the file's size, and bytes beside
MAX_BYTES = 4 << 30
_LOCAL = struct.Struct("<4s5H3L2H")  # the header before an entry's data


class _Bounded:
    """The reader as zipfile sees it: the directory, which it turns into objects at once, may not be endless."""

    def __init__(self, reader):
        self.reader, self.seek, self.tell = reader, reader.seek, reader.tell

    def read(self, count=-1):
        if count > MAX_DIRECTORY:
            raise WeightsError(f"the zip's directory has {count} bytes, more than {MAX_DIRECTORY}")
        return self.reader.read(count)


def read_entries(reader):
    """{name: ZipInfo}: plainly named, each in a place of its own within the file."""
    try:
        with zipfile.ZipFile(_Bounded(reader)) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, struct.error, OSError, NotImplementedError) as error:
        fault = f"damaged ({str(error)[:300]})"
        if "not a zip file" in fault:
            fault = f"cut off: its directory, the end of every zip, is not within its {reader.size} bytes"
        raise WeightsError(f"a zip file that is {fault}; copy or download it again, whole") from error
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        _check(info)
        if info.header_offset < end:
            raise WeightsError(f"the zip's entry {info.filename[:100]!r} overlaps another")
        end = info.header_offset + _LOCAL.size + len(info.filename) + info.compress_size
    entries = {info.filename: info for info in infos}
    total = unpacked_size(entries)
    if total > min(MAX_EXPANSION * reader.size + SPARE, max(MAX_BYTES, reader.size)):
        raise WeightsError(f"the zip's {reader.size} bytes would become {total}: refused")
    if end > reader.size or len(entries) < len(infos):
        raise WeightsError(
            "the zip's entries reach beyond its end: cut off" if end > reader.size else "the zip has an entry twice"
        )
    return entries


def _check(info):
    name = info.orig_filename
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"):
        raise WeightsError(f"the zip has an entry {name[:200]!r}, whose path leads out of it: refused")
    if info.flag_bits & 1:
        raise WeightsError(f"the zip's entry {name[:100]!r} is encrypted")
    stored = info.compress_type == zipfile.ZIP_STORED
    if info.compress_type != zipfile.ZIP_DEFLATED and not (stored and info.compress_size == info.file_size):
        raise WeightsError(
            f"the zip's entry {name[:100]!r} is compressed otherwise than zips are (type {info.compress_type}, "
            f"{info.compress_size} bytes for {info.file_size})"
        )


def unpacked_size(entries):
    """Bytes of all entries together."""
    return sum(info.file_size for info in entries.values())


def read_entry(reader, info, count=None):
    """An entry's bytes, or the first `count` of them."""
    what = f"the zip's entry {info.filename[:100]!r}"
    header = _LOCAL.unpack(reader.take(info.header_offset, _LOCAL.size, what))
    if header[0] != MAGIC:
        raise WeightsError(f"{what} does not begin where the directory says")
    data = reader.take(info.header_offset + _LOCAL.size + header[-2] + header[-1], info.compress_size, what)
    if info.compress_type == zipfile.ZIP_DEFLATED:
        data = _inflated(data, info.file_size, what)
    if info.CRC and zlib.crc32(data) != info.CRC:  # torch can leave the sum out; then it is 0
        raise WeightsError(f"{what} is damaged: its checksum is {zlib.crc32(data):08x}, expected {info.CRC:08x}")
    return data if count is None else data[:count]


def _inflated(data, size, what):
    try:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        unpacked = inflate.decompress(data, size + 1)
    except zlib.error as error:
        raise WeightsError(f"{what} is damaged: {error}") from error
    if len(unpacked) != size:
        raise WeightsError(f"{what} unpacks to other than the {size} bytes that the directory says: damaged")
    return unpacked
