"""Where HDF5 keeps what does not fit into headers: trees of records, and heaps that these lead into."""

import struct

from ...errors import WeightsError
from .checksum import lookup3
from .source import RESAVE, UNDEFINED

MAX_RECORDS = 100_000  # of a tree
MAX_LEVELS = 32


def _bytes_for(number):
    return max(number.bit_length() - 1, 0) // 8 + 1


def records(source, address, kind):
    """The records of a B-tree, version 2, in its order; `kind` is the type that they must have."""
    head = source.checked(address, 38, b"BTHD", "a tree of records")
    actual, node, size, depth, root, count = struct.unpack_from("<xBIHH2xQH", head, 4)
    if actual != kind or not size or depth > MAX_LEVELS:
        raise WeightsError(f"a tree at {address} is of kind {actual} and {depth} levels, expected kind {kind}: damaged")
    return list(_Nodes(source, node, size, depth).walk(root, count, depth)) if count else []


class _Nodes:
    """Nodes of a B-tree: how wide the pointers to children are depends on how many records a child can have."""

    def __init__(self, source, node, size, depth):
        self.source, self.node, self.size, self.seen = source, node, size, 0
        most = max((node - 10) // size, 0)
        self.count_bytes, self.total_bytes, total = _bytes_for(most), [0], most
        for _ in range(depth):
            pointer = 8 + self.count_bytes + self.total_bytes[-1]
            most = max((node - 10 - pointer) // (size + pointer), 0)
            total = (most + 1) * total + most
            self.total_bytes.append(_bytes_for(total))

    def walk(self, address, count, depth):
        self.seen += count
        if self.seen > MAX_RECORDS:
            raise WeightsError(f"a tree has more than {MAX_RECORDS} records: refused")
        pointer = 8 + self.count_bytes + self.total_bytes[depth - 1] if depth else 0
        used = 6 + count * self.size + (count + 1) * pointer + 4
        signature = b"BTIN" if depth else b"BTLF"
        data = self.source.checked(address, used, signature, "a tree's node")
        for index in range(count):
            if depth:
                yield from self._child(data, 6 + count * self.size + index * pointer, depth)
            yield data[6 + index * self.size : 6 + (index + 1) * self.size]
        if depth:
            yield from self._child(data, 6 + count * self.size + count * pointer, depth)

    def _child(self, data, at, depth):
        (address,) = struct.unpack_from("<Q", data, at)
        return self.walk(address, int.from_bytes(data[at + 8 : at + 8 + self.count_bytes], "little"), depth - 1)


class FractalHeap:
    """Objects in blocks that double in size from row to row."""

    def __init__(self, source, address):
        head = source.take(address, 142, "a heap")
        if struct.unpack_from("<H", head, 7)[0]:
            raise WeightsError(f"a heap at {address} is compressed, which is not read{RESAVE}")
        head = source.checked(address, 146, b"FRHP", "a heap")
        self.source, self.address, self.blocks, self.huge = source, address, {}, None
        self.id_size, _, self.flags, most = struct.unpack_from("<HHBI", head, 5)
        (self.huge_tree,) = struct.unpack_from("<Q", head, 22)
        self.width, self.start, self.largest, bits, _, self.root, self.rows = struct.unpack_from("<H2Q2HQH", head, 110)
        if not self.width or not self.start or not self.largest or bits > 64:
            raise WeightsError(f"a heap at {address} has blocks without a size: damaged")
        self.offset_bytes = -(-bits // 8)
        self.length_bytes = min(_bytes_for(self.largest), _bytes_for(most) if most else 1)

    def object(self, identity):
        """The bytes that an object's number leads to."""
        kind = identity[0] >> 4 & 3
        if identity[0] >> 6 or kind == 3:
            raise WeightsError(f"an object's number in the heap at {self.address} is of no known kind: damaged")
        if kind == 2:
            return bytes(identity[1 : 2 + (identity[0] & 15)])
        if kind == 1:
            return self._huge(int.from_bytes(identity[1 : self.id_size], "little"))
        ends = 1 + self.offset_bytes, 1 + self.offset_bytes + self.length_bytes
        offset, length = (int.from_bytes(identity[a:b], "little") for a, b in zip((1, ends[0]), ends))
        return self._managed(offset, length)

    def _huge(self, number):
        if self.huge is None:
            rows = records(self.source, self.huge_tree, 1) if self.huge_tree != UNDEFINED else []
            self.huge = {
                identity: (at, size) for at, size, identity in (struct.unpack_from("<3Q", row) for row in rows)
            }
        if number not in self.huge:
            raise WeightsError(f"an object of the heap at {self.address} is not there: damaged")
        return self.source.take(*self.huge[number], "an object of a heap")

    def _managed(self, offset, length):
        base, data = self._block(offset)
        content = data[offset - base : offset - base + length]
        if len(content) != length:
            raise WeightsError(f"an object of the heap at {self.address} goes beyond its block: damaged")
        return content

    def _block(self, offset):
        """(offset, bytes) of the block that holds an offset."""
        address, base, size, rows = self.root, 0, self.start, self.rows
        for _ in range(MAX_LEVELS):
            if not rows:
                return base, self._direct(address, size)
            row = (offset - base) // (self.width * self.start)
            row = row.bit_length()
            size = self.start << max(row - 1, 0)
            begin = base + (self.width * size if row else 0)
            column = (offset - begin) // size
            if row >= rows:
                break
            address = self._pointer(address, rows, row * self.width + column)
            base = begin + column * size
            rows = 0 if size <= self.largest else (size // (self.start * self.width)).bit_length()
        raise WeightsError(f"an object of the heap at {self.address} is in no block of it: damaged")

    def _direct(self, address, size):
        if address not in self.blocks:
            data = self.source.take(address, size, "a heap's block")
            if data[:4] != b"FHDB":
                raise WeightsError(f"a heap's block at {address} begins with {data[:4]!r}: damaged")
            self._check(data, address)
            self.blocks[address] = data
        return self.blocks[address]

    def _check(self, data, address):
        """Compare a block's checksum, which lies behind its first fields, and is of the block with zeros in its place."""
        if self.flags & 2:
            at = 13 + self.offset_bytes
            if lookup3(data[:at] + bytes(4) + data[at + 4 :]) != struct.unpack_from("<I", data, at)[0]:
                raise WeightsError(f"a heap's block at {address} is damaged: its checksum is another")

    def _pointer(self, address, rows, index):
        key = address, rows
        if key not in self.blocks:
            size = 13 + self.offset_bytes + 8 * rows * self.width + 4
            self.blocks[key] = self.source.checked(address, size, b"FHIB", "a heap's block of addresses")
        (pointer,) = struct.unpack_from("<Q", self.blocks[key], 13 + self.offset_bytes + 8 * index)
        return pointer


def global_heap_objects(source, address):
    """{number: bytes} of a heap of texts, which any object of the file may refer to."""
    signature, size = struct.unpack("<8sQ", source.take(address, 16, "a heap of texts"))
    if signature != b"GCOL\1\0\0\0":
        raise WeightsError(f"a heap of texts at {address} does not begin with GCOL: damaged")
    data, position, objects = source.take(address, size, "a heap of texts"), 16, {}
    while position + 16 <= len(data):
        index, length = struct.unpack_from("<H6xQ", data, position)
        if not index:  # the rest is free
            break
        if index in objects:
            raise WeightsError(f"a heap of texts at {address} has the text {index} twice: damaged")
        objects[index] = data[position + 16 : position + 16 + length]
        position += 16 + -(-length // 8) * 8
    return objects
