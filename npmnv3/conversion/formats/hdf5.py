"""HDF5 files as Keras writes them, read without the HDF5 library.

On some damaged files the library comes to no end, not always on the same ones. What Keras needs of the format is
little: groups, attributes that are lists of texts, and arrays in one piece, all in the layout that h5py writes by
default (superblock 0 or 1, groups as symbol tables). Everything is read from the file itself, and no more in all than
twice what it holds, however its parts refer to one another.

Source: HDF5 File Format Specification 3.0, sections II to IV
"""

import contextlib
import math
import struct

from ...errors import WeightsError
from .arrays import check_shape, shaped

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_DEPTH = 32  # steps of a path
MAX_NAMES = 100_000  # of a group, and texts of an attribute
MAX_TEXT = 1000  # bytes
MAX_HEADERS = 16 << 20  # bytes, of all objects together

_SPACE, _TYPE, _EXTERNAL, _LAYOUT, _ATTRIBUTE, _CONTINUATION, _SYMBOLS = 0x01, 0x03, 0x07, 0x08, 0x0C, 0x10, 0x11
_NEW_STYLE = {0x02, 0x06, 0x15}  # messages of the layout that h5py writes on demand: links, attributes
_SOFT_LINK = 2
_INTEGER, _FLOAT, _STRING, _VARIABLE = 0, 1, 3, 9  # classes of types
_FLOATS = {  # (bits, place and size of the exponent, of the mantissa, bias)
    (16, 10, 5, 0, 10, 15): "f2",
    (32, 23, 8, 0, 23, 127): "f4",
    (64, 52, 11, 0, 52, 1023): "f8",
}
_RESAVE = "; npmnv3's own dumps need no conversion, other files can be copied with h5py's default settings"


class Tree:
    """Groups, lists of texts and arrays of one file, by path; the root's path is empty.

    Parameters
    ----------
    reader : Reader
    """

    def __init__(self, reader):
        self.reader, self.left, self.left_for_headers = reader, 2 * reader.size, MAX_HEADERS  # bytes
        self.headers, self.groups, self.attributes, self.heaps = {}, {}, {}, {}  # by address
        head = self._take(0, 100, "the superblock")
        shift = {0: 0, 1: 4}.get(head[8])
        if shift is None:
            raise WeightsError(f"HDF5 with superblock {head[8]}, expected 0 or 1{_RESAVE}")
        base, _, end, _, _, root = struct.unpack_from("<6Q", head, 24 + shift)
        if head[13:15] != b"\x08\x08" or base:
            raise WeightsError(
                f"HDF5 with addresses of {head[13]} and lengths of {head[14]} bytes from {base}, expected 8, 8, 0"
            )
        if end > reader.size:
            raise WeightsError(f"an HDF5 file of {reader.size} bytes that says it has {end}: cut off")
        self.addresses = {"": root}

    def _take(self, address, size, what):
        data = self.reader.take(address, size, what)
        self.left -= size
        if self.left < 0:
            raise WeightsError(f"{what} lies where other parts of the file lie, and these too often: refused")
        return data

    def address(self, path):
        """Where in the file an object's header is: the same for all its names."""
        if path not in self.addresses:
            parent, _, name = path.rpartition("/")
            if path.count("/") > MAX_DEPTH or name in ("", ".", ".."):
                raise WeightsError(f"the path {path[:200]!r} leads astray: refused")
            self.addresses[path] = self._link(parent, name)
        return self.addresses[path]

    def _link(self, parent, name):
        kind, address = self._members(parent).get(name, (None, 0))
        if kind is None:
            raise WeightsError(f"'{parent[-200:]}/{name[:200]}' is listed, but not there")
        if kind == _SOFT_LINK:
            raise WeightsError(f"'{parent[-200:]}/{name[:200]}' is a link: refused")
        return address

    def members(self, path):
        """The names in a group, sorted, numbers at their ends as numbers; none in what is no group."""
        return sorted(self._members(path), key=natural)

    def names(self, path, attribute):
        """An attribute's list of texts; also one that was split into NAME0, NAME1, ... for its length."""
        attributes = self._attributes(path)
        if attribute in attributes:
            return self._texts(attribute, attributes[attribute])
        found, part = [], 0
        while f"{attribute}{part}" in attributes:
            found += self._texts(attribute, attributes[f"{attribute}{part}"])
            part += 1
        return found

    def text(self, path, attribute):
        """An attribute's text, "" where there is none."""
        return next(iter(self.names(path, attribute)), "")

    def array(self, path):
        """A dataset's array, read-only, of the machine's byte order."""
        name, messages = path[-200:], self._messages(path)
        if not {_SPACE, _TYPE, _LAYOUT} <= messages.keys():
            raise WeightsError(f"{name} is no array")
        if _EXTERNAL in messages:
            raise WeightsError(f"{name} has its data in another file: refused")
        dims, (dtype, order) = _dims(messages[_SPACE][0]), _number(messages[_TYPE][0], name)
        if dims is None:
            raise WeightsError(f"{name} is an empty dataset")
        shape = check_shape(dims, name)
        size = math.prod(shape) * int(dtype[1])
        return shaped(self._data(messages[_LAYOUT][0], size, name), dtype, shape, name, order=order)

    def _data(self, layout, size, name):
        version, kind = struct.unpack_from("<2B", layout)
        if version != 3 or kind not in (0, 1):
            raise WeightsError(f"{name} is not stored in one piece (chunked, compressed or virtual){_RESAVE}")
        if kind == 0:  # within the header
            (length,) = struct.unpack_from("<H", layout, 2)
            return layout[4 : 4 + min(length, size)]
        address, length = struct.unpack_from("<2Q", layout, 2)
        return self._take(address, min(length, size), name)

    def _messages(self, path):
        """{type: [contents]} of an object's header."""
        address = self.address(path)
        if address not in self.headers:
            version, _, length = struct.unpack(
                "<B7sI", self._take(address, 12, f"the header of {path[-200:] or '/'!r}")
            )
            if version != 1:
                raise WeightsError(f"{path[-200:] or '/'!r} has a header of version {version}, expected 1{_RESAVE}")
            blocks, found = [(address + 16, length)], {}
            for begin, size in blocks:  # grows while it is walked
                for kind, content in self._block(begin, size):
                    if kind == _CONTINUATION:
                        blocks.append(struct.unpack_from("<2Q", content))
                    found.setdefault(kind, []).append(content)
            if found.keys() & _NEW_STYLE:
                raise WeightsError(f"{path[-200:] or '/'!r} keeps its links or attributes in a newer way{_RESAVE}")
            self.headers[address] = found
        return self.headers[address]

    def _block(self, begin, size):
        self.left_for_headers -= size
        if self.left_for_headers < 0:
            raise WeightsError(f"the headers of the file's objects take more than {MAX_HEADERS} bytes: refused")
        data, position = self._take(begin, size, "a header's block"), 0
        while position + 8 <= len(data):
            kind, length, flags = struct.unpack_from("<2HB", data, position)
            content = data[position + 8 : position + 8 + length]
            if len(content) < length or (flags & 2 and kind in (_SPACE, _TYPE, _LAYOUT, _ATTRIBUTE)):
                raise WeightsError(f"a header's message at {begin + position} is cut off, or shared with other objects")
            yield kind, content
            position += 8 + length

    def _members(self, path):
        """{name: (kind of link, address)} of a group."""
        address = self.address(path)
        if address not in self.groups:
            tables = self._messages(path).get(_SYMBOLS, [])
            self.groups[address] = self._symbols(*struct.unpack("<2Q", tables[0][:16])) if tables else {}
        return self.groups[address]

    def _symbols(self, tree, heap):
        signature, size, _, segment = struct.unpack("<8s3Q", self._take(heap, 32, "a group's names"))
        if signature[:5] != b"HEAP\0":
            raise WeightsError(f"a group's names at {heap} do not begin with HEAP: damaged")
        names = self._take(segment, size, "a group's names")
        found, nodes, seen = {}, [tree], set()
        while nodes:
            node = nodes.pop()
            if node in seen or len(found) > MAX_NAMES:
                raise WeightsError(f"a group goes round in circles, or has more than {MAX_NAMES} members")
            seen.add(node)
            signature, count = struct.unpack("<6sH", self._take(node, 8, "a group's node"))
            if signature[:4] == b"SNOD":
                for entry in struct.iter_unpack("<2QI20x", self._take(node + 8, 40 * count, "a group's node")):
                    found[_name(names, entry[0])] = (entry[2], entry[1])
            elif signature[:5] == b"TREE\0":
                keys_and_children = self._take(node + 24, 16 * count, "a group's tree")
                nodes += [child for _, child in struct.iter_unpack("<2Q", keys_and_children)][::-1]
            else:
                raise WeightsError(f"a group's node at {node} begins with {signature[:4]!r}: damaged")
        return found

    def _attributes(self, path):
        """{name: (type, dims, data)} of an object."""
        address = self.address(path)
        if address not in self.attributes:
            self.attributes[address] = dict(map(_attribute, self._messages(path).get(_ATTRIBUTE, [])))
        return self.attributes[address]

    def _texts(self, attribute, content):
        kind, dims, data = content
        count = math.prod(dims or ())
        if dims is None or not count:
            return []  # an empty list is stored as one of floats
        (size,) = struct.unpack_from("<I", kind, 4)
        text_class = kind[0] & 15
        if text_class not in (_STRING, _VARIABLE) or (text_class == _VARIABLE and (kind[1] & 15 != 1 or size != 16)):
            raise WeightsError(f"the attribute {attribute} is of class {text_class}, expected texts")
        if count > MAX_NAMES or count * size > len(data):
            raise WeightsError(f"the attribute {attribute} claims {count} texts of {size} bytes, which are not there")
        parts = [data[i * size : (i + 1) * size] for i in range(count)]
        if text_class == _VARIABLE:
            parts = [self._heap_object(*struct.unpack("<IQI", part)) for part in parts]
        return [_name(part, 0).rstrip(" ") for part in parts]

    def _heap_object(self, length, address, index):
        """A text of variable length, which lies in a heap with others."""
        if length and address not in self.heaps:
            signature, size = struct.unpack("<8sQ", self._take(address, 16, "a heap of texts"))
            if signature != b"GCOL\1\0\0\0":
                raise WeightsError(f"a heap of texts at {address} does not begin with GCOL: damaged")
            self.heaps[address] = dict(_heap_objects(self._take(address, size, "a heap of texts")))
        text = self.heaps[address].get(index, b"") if length else b""
        if length > min(len(text), MAX_TEXT):
            raise WeightsError(f"a text of {length} bytes is not in its heap, or longer than {MAX_TEXT}: damaged")
        return text[:length]


def _attribute(content):
    """(name, (type, dims, data)) of an attribute's message."""
    version, flags, *sizes = struct.unpack_from("<2B3H", content)
    if version not in (1, 2, 3) or (version > 1 and flags):
        raise WeightsError(f"an attribute of version {version}, flags {flags}, which is not read")
    position, parts = 9 if version == 3 else 8, []
    for size in sizes:
        parts.append(content[position : position + size])
        position += -(-size // 8) * 8 if version == 1 else size
    return _name(parts[0], 0), (parts[1], _dims(parts[2]), content[position:])


def _heap_objects(data):
    position = 16
    while position + 16 <= len(data):
        index, size = struct.unpack_from("<H6xQ", data, position)
        if not index:  # the rest is free
            return
        yield index, data[position + 16 : position + 16 + size]
        position += 16 + -(-size // 8) * 8


def _dims(content):
    """A dataspace's dimensions, None if it is empty."""
    version, rank = struct.unpack_from("<2B", content)
    if version not in (1, 2):
        raise WeightsError(f"a dataspace of version {version}, which is not known: damaged")
    if version == 2 and content[3] == 2:
        return None
    return struct.unpack_from(f"<{rank}Q", content, 8 if version == 1 else 4)


def _number(content, name):
    """(NumPy's name, byte order) of a datatype that is a number."""
    kind, flags, (size,) = content[0] & 15, content[1], struct.unpack_from("<I", content, 4)
    order = ">" if flags & 1 else "<"
    if kind == _INTEGER and size in (1, 2, 4, 8) and struct.unpack_from("<2H", content, 8) == (0, 8 * size):
        return f"{'i' if flags & 8 else 'u'}{size}", order
    if kind == _FLOAT:
        offset, *layout = struct.unpack_from("<2H4BI", content, 8)
        dtype = _FLOATS.get(tuple(layout))
        if dtype == f"f{size}" and offset == 0 and not flags & 64:
            return dtype, order
    raise WeightsError(f"{name} has elements of class {kind} and {size} bytes, expected numbers that NumPy has")


def _name(data, position):
    """The text that begins at a position and ends with a null character or the data."""
    end = data.find(b"\0", position)
    try:
        return data[position : len(data) if end < 0 else end].decode("utf-8")
    except UnicodeDecodeError as error:
        raise WeightsError(f"a name is no text: {error.reason}: damaged") from error


@contextlib.contextmanager
def open_tree(reader):
    """The reader's file as a `Tree`; records that are cut off become WeightsError."""
    try:
        yield Tree(reader)
    except (struct.error, IndexError) as error:
        raise WeightsError(f"a damaged HDF5 file: {error}") from error


def natural(name):
    """Sort key by which name_10 comes after name_9, and name before both."""
    stem, _, number = name.rpartition("_")
    return (stem, int(number)) if stem and number.isdecimal() and len(number) < 10 else (name, -1)
