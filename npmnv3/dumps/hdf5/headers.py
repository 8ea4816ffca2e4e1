"""Where an HDF5 file begins, and the messages that describe an object."""

import struct

from ...errors import WeightsError
from .source import RESAVE

MAGIC = b"\x89HDF\r\n\x1a\n"
HEAD = 34  # bytes of a header before its first message, at most
MAX_HEADERS = 16 << 20  # bytes, of all objects together
MAX_BLOCKS = 10_000  # of one object

SPACE, LINKS, TYPE, LINK, EXTERNAL, LAYOUT = 0x01, 0x02, 0x03, 0x06, 0x07, 0x08
FILTERS, ATTRIBUTE, CONTINUATION, SYMBOLS, ATTRIBUTES = 0x0B, 0x0C, 0x10, 0x11, 0x15
_SHAREABLE = {SPACE, TYPE, FILTERS, ATTRIBUTE}
_SHARED = 2  # flag of a message: its content lies elsewhere


def root_address(source):
    """Where the root group's header is."""
    head = source.take(0, min(100, source.size), "the superblock")
    version = head[8]
    if version in (0, 1):
        sizes, at = head[13:15], 24 + 4 * version
        base, _, end, _, _, root = struct.unpack_from("<6Q", head, at)
    elif version in (2, 3):
        sizes = head[9:11]
        base, _, end, root = struct.unpack_from("<4Q", source.checked(0, 48, MAGIC, "the superblock"), 12)
    else:
        raise WeightsError(f"HDF5 with superblock {version}, expected 0 to 3")
    if sizes != b"\x08\x08" or base:
        raise WeightsError(
            f"HDF5 with addresses of {sizes[0]} and lengths of {sizes[1]} bytes from {base}, expected 8, 8, 0"
        )
    if end > source.size:
        raise WeightsError(f"an HDF5 file of {source.size} bytes that says it has {end}: cut off")
    return root


class Headers:
    """The headers of a file's objects, each read once."""

    def __init__(self, source):
        self.source, self.left, self.known = source, MAX_HEADERS, {}

    def messages(self, address, name):
        """{type: [contents]} of the object whose header is there, called `name` in messages."""
        if address not in self.known:
            head = self.source.peek(address, HEAD, f"the header of {name!r}")
            read = self._new_blocks if head[:4] == b"OHDR" else self._old_blocks
            contents = {}
            for kind, flags, content in read(address, head, name):
                if flags & _SHARED and kind in _SHAREABLE:
                    raise WeightsError(
                        f"{name!r} shares a part of its header with other objects, which is not read{RESAVE}"
                    )
                contents.setdefault(kind, []).append(content)
            self.known[address] = contents
        return self.known[address]

    def _count(self, size):
        self.left -= size
        if self.left < 0:
            raise WeightsError(f"the headers of the file's objects take more than {MAX_HEADERS} bytes: refused")

    def _walk(self, blocks, parse):
        """The messages of blocks, to which continuations add while they are walked."""
        for number, (begin, size) in enumerate(blocks):
            self._count(size)
            if number > MAX_BLOCKS:
                raise WeightsError(f"a header has more than {MAX_BLOCKS} parts: refused")
            for kind, flags, content in parse(number, begin, size):
                if kind == CONTINUATION:
                    blocks.append(struct.unpack_from("<2Q", content))
                yield kind, flags, content

    def _old_blocks(self, address, head, name):
        version, _, length = struct.unpack_from("<B7sI", head)
        if version != 1:
            raise WeightsError(f"{name!r} has a header of version {version}, expected 1 or 2: damaged")

        def parse(_, begin, size):
            data = self.source.take(begin, size, "a header's block")
            return _split(data, struct.Struct("<2HB3x"), begin)

        return self._walk([(address + 16, length)], parse)

    def _new_blocks(self, address, head, name):
        version, flags = head[4:6]
        if version != 2:
            raise WeightsError(f"{name!r} has a header of version {version}, expected 1 or 2: damaged")
        width, before = 1 << (flags & 3), 6 + 16 * bool(flags & 0x20) + 4 * bool(flags & 0x10)
        length = int.from_bytes(head[before : before + width], "little")
        message = struct.Struct("<BHB2x" if flags & 4 else "<BHB")

        def parse(number, begin, size):
            signature, skip = (b"OHDR", before + width) if number == 0 else (b"OCHK", 4)
            data = self.source.checked(begin, size, signature, "a header's block")
            return _split(data[skip:-4], message, begin)

        return self._walk([(address, before + width + length + 4)], parse)


def _split(data, head, begin):
    """(type, flags, content) of the messages in a block."""
    position = 0
    while position + head.size <= len(data):
        kind, length, flags = head.unpack_from(data, position)
        content = data[position + head.size : position + head.size + length]
        if len(content) < length:
            raise WeightsError(f"a header's message at {begin + position} is cut off: damaged")
        yield kind, flags, content
        position += head.size + length
