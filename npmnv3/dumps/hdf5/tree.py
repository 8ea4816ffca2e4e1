"""Groups, attributes and arrays of an HDF5 file, by path."""

import contextlib
import math
import struct

import numpy as np

from ...errors import WeightsError
from . import storage
from .groups import links
from .headers import LAYOUT, LINK, LINKS, SPACE, SYMBOLS, TYPE, Headers, root_address
from .source import Source
from .values import Texts, attributes_of, dims_of, dtype_of, plain

MAX_DEPTH = 32  # steps of a path
MAX_DIMS = 32
MAX_ELEMENTS = 1 << 40  # dimensions beyond are damage, whatever they multiply to
MAX_TEXT = 1000  # bytes of a name in an attribute
MAX_NAMES = 100_000  # texts of an attribute
_OF_ARRAYS = {SPACE, TYPE, LAYOUT}


class Tree:
    """The objects of one file; the root's path is empty, others begin with a slash.

    Parameters
    ----------
    reader : `dumps.reader.Reader`
    """

    def __init__(self, reader):
        self.source = Source(reader)
        self.headers, self.texts = Headers(self.source), Texts(self.source)
        self.addresses, self.groups, self.known_attributes = {"": root_address(self.source)}, {}, {}

    def address(self, path):
        """Where in the file an object's header is: the same for all its names."""
        if path not in self.addresses:
            parent, _, name = path.rpartition("/")
            if path.count("/") > MAX_DEPTH or name in ("", ".", ".."):
                raise WeightsError(f"the path {path[:200]!r} leads astray: refused")
            self.addresses[path] = self._target(parent, name)
        return self.addresses[path]

    def _target(self, parent, name):
        link = self.links(parent).get(name)
        if link is None:
            raise WeightsError(f"'{parent[-200:]}/{name[:200]}' is listed, but not there")
        if link.address is None:
            raise WeightsError(f"'{parent[-200:]}/{name[:200]}' is a soft or external link: refused")
        return link.address

    def messages(self, path):
        """{type: [contents]} of an object's header."""
        return self.headers.messages(self.address(path), path[-200:] or "/")

    def links(self, path):
        """{name: Link} of a group, in the file's order; none of what is no group."""
        address = self.address(path)
        if address not in self.groups:
            self.groups[address] = links(self.source, self.messages(path))
        return self.groups[address]

    def is_group(self, path):
        return bool(self.messages(path).keys() & {LINK, LINKS, SYMBOLS})

    def is_array(self, path):
        return _OF_ARRAYS <= self.messages(path).keys()

    def members(self, path):
        """The names in a group, sorted, numbers at their ends as numbers; none in what is no group."""
        return sorted(self.links(path), key=natural)

    def attributes(self, path):
        """{name: Attribute} of an object."""
        address = self.address(path)
        if address not in self.known_attributes:
            self.known_attributes[address] = attributes_of(self.source, self.messages(path))
        return self.known_attributes[address]

    def plain_attributes(self, path, most):
        """{name: number, text, or list of them} of an object, each of at most so many bytes."""
        return {name: plain(name, value, self.texts, most) for name, value in self.attributes(path).items()}

    def names(self, path, attribute, most=MAX_TEXT):
        """An attribute's list of texts of up to `most` bytes; also one that was split into NAME0, NAME1, ... for its
        length."""
        attributes = self.attributes(path)
        if attribute in attributes:
            return self._names(attribute, attributes[attribute], most)
        names, part = [], 0
        while f"{attribute}{part}" in attributes:
            names += self._names(attribute, attributes[f"{attribute}{part}"], most)
            part += 1
        return names

    def _names(self, name, attribute, most):
        if not attribute.count:
            return []  # an empty list is stored as one of floats
        return [text.rstrip(" ") for text in self.texts.of(name, attribute, MAX_NAMES * MAX_TEXT, most)]

    def text(self, path, attribute, most=MAX_TEXT):
        """An attribute's text of up to `most` bytes, "" where there is none."""
        return next(iter(self.names(path, attribute, most)), "")

    def describe(self, path):
        """(shape, dtype, Layout) of an array that the file can hold."""
        name, messages = path.lstrip("/")[-200:], self.messages(path)
        if not _OF_ARRAYS <= messages.keys():
            raise WeightsError(f"{name} is no array")
        shape, dtype = dims_of(messages[SPACE][0]), dtype_of(messages[TYPE][0])
        if shape is None:
            raise WeightsError(f"{name} is an empty dataset")
        if len(shape) > MAX_DIMS or math.prod(max(length, 1) for length in shape) > MAX_ELEMENTS:
            raise WeightsError(f"{name} has the impossible shape {shape}")
        layout = storage.layout_of(messages, name)
        storage.check_size(layout, shape, dtype, self.source.size, name)
        return shape, dtype, layout

    def array(self, path):
        """An array of numbers, of the machine's byte order, read-only."""
        return self.read(path, *self.describe(path))

    def read(self, path, shape, dtype, layout):
        """As `array`, of one that was described before."""
        name = path.lstrip("/")[-200:]
        if dtype.kind not in "iufb":
            kind = self.messages(path)[TYPE][0][0] & 15
            raise WeightsError(
                f"{name} has elements of class {kind} and {dtype.itemsize} bytes, expected numbers that NumPy has"
            )
        stored = storage.read(self.source, layout, shape, np.dtype("u1") if dtype.kind == "b" else dtype, name)
        array = stored != 0 if dtype.kind == "b" else stored.astype(dtype.newbyteorder("="), copy=False)
        array.flags.writeable = False
        return array


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
