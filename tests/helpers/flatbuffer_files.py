"""TensorFlow Lite models written by hand: tables, vectors and texts one after another, each before what refers to it."""

import struct

import numpy as np

TYPES = {"f4": 0, "f2": 1, "i4": 2, "u1": 3, "i8": 4, "i1": 9}


class Numbers:
    """A vector of numbers of one of `struct`'s kinds."""

    def __init__(self, kind, *values):
        self.kind, self.values = kind, values


def encode(root):
    """The bytes of a file whose root is a table: {field: value}; values are ("kind of number", number), tables, lists of
    tables, texts, bytes and `Numbers`."""
    out = bytearray(struct.pack("<I4s", 0, b"TFL3"))
    struct.pack_into("<I", out, 0, _table(out, root))
    return bytes(out)


def _table(out, fields):
    """Write a table after the vectors and tables that it refers to go behind it; its position."""
    count = max(fields, default=-1) + 1
    while len(out) % 4:
        out.append(0)
    vtable = len(out)
    out += struct.pack(
        f"<HH{count}H", 4 + 2 * count, 4 + 8 * count, *(4 + 8 * i if i in fields else 0 for i in range(count))
    )
    while len(out) % 4:
        out.append(0)
    here = len(out)
    out += struct.pack("<i", here - vtable) + bytes(8 * count)
    for field, value in fields.items():
        at = here + 4 + 8 * field
        if isinstance(value, tuple):
            struct.pack_into(f"<{value[0]}", out, at, value[1])
        else:
            struct.pack_into("<I", out, at, _other(out, value) - at)
    return here


def _other(out, value):
    """Write a table, vector or text; its position."""
    if isinstance(value, dict):
        return _table(out, value)
    while len(out) % 8 != 4:
        out.append(0)
    here = len(out)
    if isinstance(value, list):
        out += struct.pack("<I", len(value)) + bytes(4 * len(value))
        for i, item in enumerate(value):
            at = here + 4 + 4 * i
            struct.pack_into("<I", out, at, _table(out, item) - at)
        return here
    if isinstance(value, Numbers):
        data, count = struct.pack(f"<{len(value.values)}{value.kind}", *value.values), len(value.values)
    else:
        data = value.encode() if isinstance(value, str) else value
        count = len(data)
    out += struct.pack("<I", count) + data + b"\0"
    return here


class Graph:
    """Collects tensors and operators of a model."""

    def __init__(self):
        self.tensors, self.buffers, self.operators, self.codes = [], [{}], [], []
        self.input = 0

    def tensor(self, name, shape, array=None, scale=None, zero=(0,), axis=0, kind="f4"):
        """Add a tensor, a constant where an array is given; its index."""
        place = 0
        if array is not None:
            place, kind = len(self.buffers), array.dtype.str[1:]
            self.buffers.append({0: array.tobytes()})
        fields = {0: Numbers("i", *shape), 1: ("b", TYPES[kind]), 2: ("I", place), 3: name}
        if scale is not None:
            fields[4] = {2: Numbers("f", *scale), 3: Numbers("q", *zero), 6: ("i", axis)}
        self.tensors.append(fields)
        return len(self.tensors) - 1

    def constant(self, name, array, **more):
        return self.tensor(name, array.shape, np.ascontiguousarray(array) if array.ndim else array, **more)

    def operator(self, code, inputs, shape, options=None, name="", **more):
        """Add an operator; the index of its output."""
        if code not in self.codes:
            self.codes.append(code)
        output = self.tensor(name or f"t{len(self.tensors)}", shape, **more)
        fields = {0: ("I", self.codes.index(code)), 1: Numbers("i", *inputs), 2: Numbers("i", output)}
        self.operators.append(fields | ({} if options is None else {4: options}))
        return output

    def bytes(self, behind=False):
        """The file's; `behind`, with all constants behind the tables, as newer tools write them."""
        codes = [{0: ("b", min(code, 127)), 3: ("i", code)} for code in self.codes]
        graph = {0: self.tensors, 1: Numbers("i", self.input), 3: self.operators}

        def whole(buffers):
            return encode({0: ("I", 3), 1: codes, 2: [graph], 3: "by hand", 4: buffers})

        if not behind:
            return whole(self.buffers)

        def pointing(start):
            buffers = [{}]
            for data in (buffer[0] for buffer in self.buffers[1:]):
                buffers.append({1: ("Q", start), 2: ("Q", len(data))})
                start += len(data)
            return whole(buffers)

        return pointing(len(pointing(0))) + b"".join(buffer[0] for buffer in self.buffers[1:])
