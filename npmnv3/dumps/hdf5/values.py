"""Types, shapes and attributes of HDF5."""

import math
import struct
from typing import NamedTuple

import numpy as np

from ...errors import WeightsError, once_each
from .headers import ATTRIBUTE, ATTRIBUTES
from .heaps import FractalHeap, global_heap_objects, records
from .source import UNDEFINED

MAX_TEXTS = 100_000  # of an attribute
_INTEGER, _FLOAT, _STRING, _ENUM, _VARIABLE = 0, 1, 3, 8, 9  # classes of types
_ATTRIBUTES_BY_NAME = 8
_FLOATS = {  # (bits, place and size of the exponent, of the mantissa, bias)
    (16, 10, 5, 0, 10, 15): "f2",
    (32, 23, 8, 0, 23, 127): "f4",
    (64, 52, 11, 0, 52, 1023): "f8",
}
_REFERENCE = struct.Struct("<IQI")  # to a text of variable length: its length, its heap, its number there


class Attribute(NamedTuple):
    """A value that has not been made sense of yet."""

    kind: bytes  # its type
    dims: tuple[int, ...] | None  # None: empty
    data: bytes

    @property
    def count(self):
        return math.prod(self.dims or ()) if self.dims is not None else 0


def text_at(data, position):
    """The text that begins at a position and ends with a null character or the data."""
    end = data.find(b"\0", position)
    try:
        return data[position : len(data) if end < 0 else end].decode("utf-8")
    except UnicodeDecodeError as error:
        raise WeightsError(f"a name is no text: {error.reason}: damaged") from error


def dims_of(content):
    """A dataspace's dimensions, None if it is empty."""
    version, rank = struct.unpack_from("<2B", content)
    if version not in (1, 2):
        raise WeightsError(f"a dataspace of version {version}, which is not known: damaged")
    if version == 2 and content[3] == 2:
        return None
    return struct.unpack_from(f"<{rank}Q", content, 8 if version == 1 else 4)


def dtype_of(content):
    """The NumPy dtype of a datatype: of raw bytes where NumPy has no such number, of objects for texts of any length."""
    kind, size = content[0] & 15, struct.unpack_from("<I", content, 4)[0]
    order = ">" if content[1] & 1 else "<"
    if kind == _INTEGER and size in (1, 2, 4, 8) and struct.unpack_from("<2H", content, 8) == (0, 8 * size):
        return np.dtype(f"{order}{'i' if content[1] & 8 else 'u'}{size}")
    if kind == _FLOAT:
        offset, *layout = struct.unpack_from("<2H4BI", content, 8)
        if _FLOATS.get(tuple(layout)) == f"f{size}" and offset == 0 and not content[1] & 64:
            return np.dtype(f"{order}f{size}")
    if kind == _ENUM and b"FALSE\0" in content and b"TRUE\0" in content and size == 1:
        return np.dtype(bool)  # as h5py writes it
    if kind == _STRING:
        return np.dtype(f"S{size}")
    if kind == _VARIABLE:
        return np.dtype(object)
    return np.dtype(f"V{size}")


def attributes_of(source, messages):
    """{name: Attribute} of an object."""
    contents = list(messages.get(ATTRIBUTE, []))
    for info in messages.get(ATTRIBUTES, []):
        heap, tree = struct.unpack_from("<2Q", info, 2 + 2 * (info[1] & 1))
        if heap != UNDEFINED:
            objects = FractalHeap(source, heap)
            contents += [objects.object(record[:8]) for record in records(source, tree, _ATTRIBUTES_BY_NAME)]
    return once_each(map(_attribute, contents), "the attribute")


def _attribute(content):
    version, flags, *sizes = struct.unpack_from("<2B3H", content)
    if version not in (1, 2, 3) or (version > 1 and flags):
        raise WeightsError(f"an attribute of version {version}, flags {flags}, which is not read")
    position, parts = 9 if version == 3 else 8, []
    for size in sizes:
        parts.append(content[position : position + size])
        position += -(-size // 8) * 8 if version == 1 else size
    return text_at(parts[0], 0), Attribute(parts[1], dims_of(parts[2]), content[position:])


class Texts:
    """Texts in attributes; those of variable length lie in heaps, each of which is read once."""

    def __init__(self, source):
        self.source, self.heaps = source, {}

    def of(self, name, attribute, most, most_each=None):
        """The texts of an attribute.

        Parameters
        ----------
        name : str, for messages
        attribute : Attribute
        most, most_each : int, bytes of all texts together, and of one
        """
        kind, size = attribute.kind[0] & 15, struct.unpack_from("<I", attribute.kind, 4)[0]
        if kind not in (_STRING, _VARIABLE) or (kind == _VARIABLE and (attribute.kind[1] & 15 != 1 or size != 16)):
            raise WeightsError(f"attribute {name!r} is of class {kind}, expected texts")
        if attribute.count > MAX_TEXTS or attribute.count * size > len(attribute.data):
            raise WeightsError(
                f"attribute {name!r} claims {attribute.count} texts of {size} bytes, which are not there"
            )
        parts = [attribute.data[i * size : (i + 1) * size] for i in range(attribute.count)]
        if kind == _VARIABLE:
            places = [_REFERENCE.unpack(part) for part in parts]
            self._check([length for length, _, _ in places], name, most, most_each)
            parts = [self._variable(*place) for place in places]
        else:
            self._check([len(part) for part in parts], name, most, most_each)
        return [text_at(part, 0).rstrip(" ") if kind == _STRING else text_at(part, 0) for part in parts]

    def _check(self, lengths, name, most, most_each):
        if sum(lengths) > most:
            raise WeightsError(f"attribute {name!r} claims {sum(lengths)} bytes of text, more than {most}")
        if most_each is not None and max(lengths, default=0) > most_each:
            raise WeightsError(
                f"attribute {name!r} has a text of {max(lengths)} bytes, longer than {most_each}: damaged"
            )

    def _variable(self, length, address, index):
        if not length:
            return b""
        if address not in self.heaps:
            self.heaps[address] = global_heap_objects(self.source, address)
        text = self.heaps[address].get(index, b"")
        if length > len(text):
            raise WeightsError(f"a text of {length} bytes is not in its heap: damaged")
        return text[:length]


def plain(name, attribute, texts, most):
    """An attribute as plain Python: a number or text, or a list of them."""
    if attribute.dims is None:
        raise WeightsError(f"attribute {name!r} is neither numbers nor texts")
    dtype = dtype_of(attribute.kind)
    if dtype.kind in "SO":
        values = texts.of(name, attribute, most)
    elif dtype.kind in "iufb":
        size = attribute.count * dtype.itemsize
        if size > most:
            raise WeightsError(f"attribute {name!r} has {size} bytes, more than {most}")
        if size > len(attribute.data):
            raise WeightsError(f"attribute {name!r} is cut off: damaged")
        values = np.frombuffer(attribute.data[:size], dtype).tolist()
    else:
        raise WeightsError(f"attribute {name!r} is neither numbers nor texts")
    return values if attribute.dims else values[0]
