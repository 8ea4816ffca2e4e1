"""The bytes of an array: in its header, in one piece, or in chunks that may be compressed."""

import itertools
import math
import struct
import zlib
from typing import NamedTuple

import numpy as np

from ...errors import WeightsError
from ...ops.pages import empty
from .checksum import fletcher32
from .headers import EXTERNAL, FILTERS, LAYOUT
from .source import RESAVE, UNDEFINED

MAX_RATIO = 1100  # of deflate: no honest stream expands more
MAX_CHUNKS = 1_000_000
_DEFLATE, _SHUFFLE, _FLETCHER = 1, 2, 3
_ELSEWHERE = "takes its data from elsewhere (virtual or external); only plain datasets are read"


class Filter(NamedTuple):
    """What was done to each chunk."""

    number: int
    values: tuple[int, ...]


class Layout(NamedTuple):
    """Where an array's bytes are."""

    data: bytes | None = None  # in the header
    address: int = UNDEFINED  # of the only piece, or of the tree of chunks
    chunk: tuple[int, ...] = ()  # elements, an axis; () for one piece
    single: tuple[int, int] | None = None  # of the only chunk: bytes stored, filters left out
    filters: tuple[Filter, ...] = ()

    def bytes_in_file(self, shape, dtype):
        """Of an array that lies in one piece; chunks are counted when they are read."""
        return 0 if self.chunk or self.data is not None else math.prod(shape) * dtype.itemsize


def layout_of(messages, name):
    """The Layout of a dataset with these messages."""
    content = messages[LAYOUT][0]
    version, kind = struct.unpack_from("<2B", content)
    if EXTERNAL in messages or kind == 3:
        raise WeightsError(f"{name} {_ELSEWHERE}")
    if version not in (3, 4, 5) or kind > 2:
        raise WeightsError(
            f"{name} is stored in a layout of version {version}, class {kind}, which is not read{RESAVE}"
        )
    filters = tuple(_filters(messages[FILTERS][0])) if FILTERS in messages else ()
    if {each.number for each in filters} - {_DEFLATE, _SHUFFLE, _FLETCHER}:
        numbers = [each.number for each in filters]
        raise WeightsError(f"{name} is stored with filters {numbers}; only gzip, shuffle and fletcher32 are read")
    if kind == 0:
        (length,) = struct.unpack_from("<H", content, 2)
        return Layout(data=content[4 : 4 + length])
    if kind == 1:
        return Layout(address=struct.unpack_from("<Q", content, 2)[0])
    layout = _chunked_3(content) if version == 3 else _chunked_4(content, name)
    return layout._replace(filters=filters)


def _chunked_3(content):
    rank = content[2] - 1
    address, *dims = struct.unpack_from(f"<Q{rank}I", content, 3)
    return Layout(address=address, chunk=tuple(dims))


def _chunked_4(content, name):
    flags, rank, width = struct.unpack_from("<3B", content, 2)
    dims = [int.from_bytes(content[5 + i * width : 5 + (i + 1) * width], "little") for i in range(rank - 1)]
    at = 5 + rank * width
    if content[at] != 1:
        raise WeightsError(f"{name} has its chunks in an index of kind {content[at]}, which is not read{RESAVE}")
    single, at = (0, 0), at + 1
    if flags & 2:
        single, at = struct.unpack_from("<QI", content, at), at + 12
    return Layout(address=struct.unpack_from("<Q", content, at)[0], chunk=tuple(dims), single=single)


def _filters(content):
    version, count = struct.unpack_from("<2B", content)
    position = 8 if version == 1 else 2
    for _ in range(count):
        number, length = struct.unpack_from("<2H", content, position)
        if version > 1 and number < 256:  # known ones have no name
            length, position = 0, position + 2
        else:
            position += 4
        _, values = struct.unpack_from("<2H", content, position)
        position += 4 + (-(-length // 8) * 8 if version == 1 else length)
        yield Filter(number, struct.unpack_from(f"<{values}I", content, position))
        position += 4 * values + (4 * (values % 2) if version == 1 else 0)


def check_size(layout, shape, dtype, file_size, name):
    """Refuse an array that a file of this size cannot hold, before anything is allocated."""
    size = math.prod(shape) * dtype.itemsize
    chunk = math.prod(layout.chunk) * dtype.itemsize if layout.chunk else 0
    packed = any(each.number == _DEFLATE for each in layout.filters)
    if max(size, chunk) > file_size * (MAX_RATIO if packed else 1):
        raise WeightsError(f"{name} claims {shape} {dtype}, more than a file of {file_size} bytes holds")
    if size and layout.data is None and layout.address == UNDEFINED:
        raise WeightsError(f"{name} was never written: its data are not in the file")


def read(source, layout, shape, dtype, name):
    """The array's elements in the file's byte order, read-only or fresh.

    Parameters
    ----------
    source : Source
    layout : Layout, checked by `check_size`
    shape, dtype : of the array
    """
    size = math.prod(shape) * dtype.itemsize
    if not size:
        return np.zeros(shape, dtype)
    if layout.chunk:
        return _read_chunks(source, layout, shape, dtype, name)
    if layout.data is None:
        array = empty(shape, dtype)
        source.fill(layout.address, array, name)
        return array
    if len(layout.data) < size:
        raise WeightsError(f"{name} is {size} bytes, but {len(layout.data)} are there: damaged")
    return np.frombuffer(layout.data[:size], dtype).reshape(shape)


def _read_chunks(source, layout, shape, dtype, name):
    if len(layout.chunk) != len(shape) or not all(layout.chunk):
        raise WeightsError(f"{name} of shape {shape} is in chunks of {layout.chunk}: damaged")
    grid = [range(0, length, step) for length, step in zip(shape, layout.chunk)]
    missing = math.prod(map(len, grid))
    if missing > MAX_CHUNKS:
        raise WeightsError(f"{name} is in {missing} chunks, more than {MAX_CHUNKS}: refused")
    out, places = empty(shape, dtype), set()
    for place, address, stored, mask in _chunks(source, layout, dtype, len(shape), name):
        if place in places or any(at not in steps for at, steps in zip(place, grid)):
            raise WeightsError(f"{name} has a chunk at {place}, where none can be: damaged")
        places.add(place)
        full = math.prod(layout.chunk) * dtype.itemsize
        data = _decode(source.take(address, stored, name), layout.filters, mask, full, name)
        part = tuple(slice(at, min(at + step, length)) for at, step, length in zip(place, layout.chunk, shape))
        inside = tuple(slice(0, cut.stop - cut.start) for cut in part)
        out[part] = np.frombuffer(data, dtype).reshape(layout.chunk)[inside]
    if len(places) != missing:
        raise WeightsError(f"{name} has {missing - len(places)} of {missing} chunks that were never written")
    return out


def _chunks(source, layout, dtype, rank, name):
    """(place, address, bytes stored, filters left out) of every chunk."""
    if layout.single is not None:
        stored, mask = layout.single
        stored = stored or math.prod(layout.chunk) * dtype.itemsize
        yield (0,) * rank, layout.address, stored, mask
        return
    nodes, seen = [layout.address], set()
    key = struct.Struct(f"<2I{rank + 1}QQ")  # and the child's address
    while nodes:
        node = nodes.pop()
        if node in seen:
            raise WeightsError(f"{name} has chunks in a tree that goes round in circles: damaged")
        seen.add(node)
        signature, kind, level, count = struct.unpack("<4s2BH", source.take(node, 8, "a tree of chunks"))
        if signature != b"TREE" or kind != 1:
            raise WeightsError(f"a tree of chunks at {node} begins with {signature!r}, kind {kind}: damaged")
        for stored, mask, *place, within, child in key.iter_unpack(
            source.take(node + 24, key.size * count, "a tree of chunks")
        ):
            if level:
                nodes.append(child)
            elif within:
                raise WeightsError(f"{name} has a chunk that begins within an element: damaged")
            else:
                yield tuple(place), child, stored, mask


def _decode(data, filters, mask, size, name):
    """A chunk's bytes before the filters, `size` of them; filters are undone from the last to the first."""
    for index, (number, values) in reversed(list(enumerate(filters))):
        if mask >> index & 1:
            continue
        if number == _DEFLATE:
            data = _inflate(data, size + 4, name)
        elif number == _SHUFFLE:
            data = _unshuffle(data, values[0] if values else 1)
        elif number == _FLETCHER:
            data = _checked(data, name)
    if len(data) != size:
        raise WeightsError(f"{name} has a chunk of {len(data)} bytes, expected {size}: damaged")
    return data


def _inflate(data, most, name):
    try:
        return zlib.decompressobj().decompress(data, most)
    except zlib.error as error:
        raise WeightsError(f"{name} has a chunk that is no gzip stream: {error}: damaged") from error


def _unshuffle(data, size):
    count = len(data) // size if size else 0
    if count < 1 or size < 2:
        return data
    planes = np.frombuffer(data, np.uint8, count * size).reshape(size, count)
    return planes.T.tobytes() + data[count * size :]


def _checked(data, name):
    """Without the checksum at its end, which may have been written by a machine of either byte order."""
    if len(data) < 4:
        raise WeightsError(f"{name} has a chunk of {len(data)} bytes: damaged")
    first, second = fletcher32(data[:-4])
    halves = [number % 65535 for number in struct.unpack("<2H", data[-4:])]
    swapped = [number % 65535 for number in struct.unpack(">2H", data[-4:])]
    if (first, second) not in {tuple(order) for pair in (halves, swapped) for order in itertools.permutations(pair)}:
        raise WeightsError(f"{name} has a chunk whose checksum is another: damaged")
    return data[:-4]
