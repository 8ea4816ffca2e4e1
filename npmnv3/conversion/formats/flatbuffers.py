"""FlatBuffers read by hand: as little of the format as TensorFlow Lite's models need.

Nothing is followed that does not lie in the data, and no vector is taken that is longer than what is left of them.

Source: https://flatbuffers.dev/internals/
"""

import struct

from ...errors import WeightsError

MAX_TABLES = 200_000  # that are looked into, of one file
_SIZES = {"b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "f": 4, "q": 8, "Q": 8, "d": 8}


class Buffer:
    """The bytes, and how many tables of them were looked into."""

    def __init__(self, data):
        self.data, self.tables = memoryview(data), 0

    def root(self):
        """The outermost table."""
        return Table(self, self.number("I", 0))

    def number(self, kind, position):
        """A little-endian number of a kind of `struct`'s, at a position."""
        if not 0 <= position <= len(self.data) - _SIZES[kind]:
            raise WeightsError(f"a number at {position} of {len(self.data)} bytes: damaged or cut off")
        return struct.unpack_from(f"<{kind}", self.data, position)[0]

    def bytes(self, position, count):
        """A part of the bytes, not copied."""
        if position < 0 or count < 0 or position + count > len(self.data):
            raise WeightsError(f"{count} bytes at {position} of {len(self.data)}: damaged or cut off")
        return self.data[position : position + count]


class Table:
    """A table: fields by number, each of which may be absent."""

    def __init__(self, buffer, position):
        buffer.tables += 1
        if buffer.tables > MAX_TABLES:
            raise WeightsError(f"more than {MAX_TABLES} tables: refused")
        self.buffer, self.position = buffer, position
        vtable = position - buffer.number("i", position)
        size = buffer.number("H", vtable)
        self.offsets = struct.unpack(f"<{size // 2}H", buffer.bytes(vtable, size // 2 * 2))[2:]

    def _at(self, field):
        """Where a field is, 0 if it is absent."""
        offset = self.offsets[field] if field < len(self.offsets) else 0
        return self.position + offset if offset else 0

    def _target(self, field):
        """Where what a field refers to is, 0 if it is absent."""
        at = self._at(field)
        return at + self.buffer.number("I", at) if at else 0

    def number(self, field, kind, default=0):
        """A number of a kind of `struct`'s."""
        at = self._at(field)
        return self.buffer.number(kind, at) if at else default

    def table(self, field):
        """A table, or None."""
        at = self._target(field)
        return Table(self.buffer, at) if at else None

    def raw(self, field, kind="B"):
        """The bytes of a vector of numbers."""
        at = self._target(field)
        if not at:
            return memoryview(b"")
        return self.buffer.bytes(at + 4, self.buffer.number("I", at) * _SIZES[kind])

    def numbers(self, field, kind):
        """A vector of numbers as a tuple."""
        data = self.raw(field, kind)
        return struct.unpack(f"<{len(data) // _SIZES[kind]}{kind}", data)

    def text(self, field):
        """A text, "" if it is absent."""
        try:
            return str(self.raw(field), "utf-8")
        except UnicodeDecodeError as error:
            raise WeightsError(f"a text that is none at {self.position}: damaged") from error

    def tables(self, field):
        """A vector of tables."""
        at = self._target(field)
        if not at:
            return []
        count = self.buffer.number("I", at)
        places = struct.unpack(f"<{count}I", self.buffer.bytes(at + 4, 4 * count))
        return [Table(self.buffer, at + 4 + 4 * i + place) for i, place in enumerate(places)]
