"""Paddle's inference files for the tests: parameters, and programs of both kinds; and fields of protocol buffers."""

import json
import struct

import numpy as np


def varint(value):
    value, out = value & (1 << 64) - 1, b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number, value):
    """A field of a protocol buffer: a whole number, text or a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def pdiparams(arrays, kind=5):
    """Paddle's inference parameters: the tensors in the order of their sorted names."""
    out = b""
    for name in sorted(arrays):
        descriptor = field(1, kind) + b"".join(field(2, n) for n in arrays[name].shape)
        out += struct.pack("<IQIi", 0, 0, 0, len(descriptor)) + descriptor + arrays[name].tobytes()
    return out


def pdmodel(shapes, operations):
    """A program: {parameter: shape} and [(type, {slot: names})], or with {slot: names} of outputs and {attribute: value}."""
    block = field(1, 0) + field(2, -1)
    for name, shape in shapes.items():
        dims = field(1, 5) + b"".join(field(2, n) for n in shape)
        block += field(3, field(1, name) + field(2, field(1, 7) + field(3, field(1, dims))) + field(3, 1))
    for kind, inputs, *more in operations:
        outputs, attributes = more or ({}, {})
        made = b"".join(
            field(number, field(1, slot) + b"".join(field(2, name) for name in names))
            for number, slots in ((1, inputs), (2, outputs))
            for slot, names in slots.items()
        )
        told = b"".join(field(4, field(1, name) + _pdmodel_value(value)) for name, value in attributes.items())
        block += field(4, made + field(3, kind) + told)
    return field(1, block)


def _pdmodel_value(value):
    """An attribute's kind and value."""
    if isinstance(value, bool):
        return field(2, 6) + field(10, int(value))
    if isinstance(value, int):
        return field(2, 0) + field(3, value)
    if isinstance(value, float):
        return field(2, 1) + varint(4 << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, str):
        return field(2, 2) + field(5, value)
    return field(2, 3) + b"".join(field(6, number) for number in value)


def pir_json(shapes, operations):
    """The same for paddle 3: [(type, [names])], or with a list of outputs and {attribute: value}."""
    ids = {name: i + 1 for i, name in enumerate(shapes)}
    made = [
        {
            "#": "p",
            "A": [0, 1, 1, name],
            "O": {"%": ids[name], "TT": {"#": "0.t_dtensor", "D": [{"#": "0.t_f32"}, list(shape)]}},
        }
        for name, shape in shapes.items()
    ]
    for kind, names, *more in operations:
        outputs, attributes = more or ([], {})
        inputs = [{"%": ids.get(name, 999)} for name in names]
        ids |= {name: 1000 + len(made) for name in outputs}
        told = [{"N": name, "AT": _pir_value(value)} for name, value in attributes.items()]
        made.append({"#": kind, "A": told, "I": inputs, "O": [{"%": ids[name]} for name in outputs]})
    return json.dumps({"base_code": {"magic": "pir"}, "program": {"regions": [{"blocks": [{"ops": made}]}]}}).encode()


def _pir_value(value):
    if isinstance(value, (list, tuple)):
        return {"#": "0.a_array", "D": [_pir_value(number) for number in value]}
    kind = {bool: "bool", int: "i32", float: "f32", str: "str"}[type(value)]
    return {"#": f"0.a_{kind}", "D": float(np.float32(value)) if kind == "f32" else value}
