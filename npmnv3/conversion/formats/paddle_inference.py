"""Paddle's inference parameters: tensors without names, .pdiparams, whose names are in the program beside them.

The program is inference.pdmodel (a protocol buffer, paddle 2) or inference.json (paddle 3). The tensors lie in the
order of their sorted internal names; here they come in the order in which the program uses them, a norm's as gamma,
beta, mean, variance, so that they can be matched with a network whose names are others.
"""

import json
import math
import os
import struct

from ...dumps.reader import Reader
from ...errors import WeightsError
from . import protobuf
from .arrays import BFLOAT16, check_shape, itemsize, shaped
from .record import Checkpoint

MAGIC = bytes(16)  # version 0, no levels of detail, version 0
MAX_PROGRAM = 32 << 20  # bytes
MAX_DESCRIPTOR = 1 << 10  # bytes
_DTYPES = {0: "b1", 1: "i2", 2: "i4", 3: "i8", 4: "f2", 5: "f4", 6: "f8", 20: "u1", 21: "i1", 22: BFLOAT16}
_DENSE_TENSOR = 7
_SLOTS = ("Scale", "Bias", "Mean", "Variance")  # of a norm in a .pdmodel, the rest keep the file's order
_NORM_INPUTS = (0, 3, 4, 1, 2)  # x, mean, variance, scale, bias as paddle 3 has them


def read(reader):
    program, shapes, order = _program(reader)
    arrays, position = {}, 0
    for name in sorted(shapes):
        arrays[name], position = _tensor(reader, position, name)
        if shapes[name] != arrays[name].shape:
            raise WeightsError(
                f"the tensor at {name}'s place has shape {arrays[name].shape}, {program} says {shapes[name]}"
            )
    if position != reader.size:
        raise WeightsError(
            f"{reader.size - position} bytes after the last of {len(arrays)} tensors; {program} is not its program"
        )
    used = dict.fromkeys(name for name in order if name in shapes)
    unused = [name for name in shapes if name not in used]
    notes = [f"named by {program}"] + ([f"the program does not use {', '.join(unused[:10])}"] if unused else [])
    return Checkpoint("paddle-inference", {name: arrays[name] for name in [*used, *unused]}, notes=tuple(notes))


def _program(reader):
    """(the program's file name, {name: shape}, names in order of use) from the file beside the parameters."""
    if reader.path is None:
        raise WeightsError(
            "paddle's inference parameters have no names in them; give the path of the file, not its bytes"
        )
    stem = os.path.splitext(reader.path)[0]
    for suffix, parse in ((".pdmodel", _parse_pdmodel), (".json", _parse_json)):
        if os.path.exists(stem + suffix):
            name = os.path.basename(stem + suffix)
            with Reader(stem + suffix) as program:
                if program.size > MAX_PROGRAM:
                    raise WeightsError(f"{name} has {program.size} bytes, more than {MAX_PROGRAM}")
                try:
                    return name, *parse(program.take(0, program.size, name))
                except WeightsError as error:
                    raise WeightsError(f"{name} beside it: {error}") from error
    name = os.path.basename(stem)
    raise WeightsError(f"holds no names; put {name}.pdmodel or {name}.json, which paddle writes with it, beside it")


def _tensor(reader, position, name):
    """One tensor and where the next one begins."""
    *head, size = struct.unpack("<IQIi", reader.take(position, 20, f"{name}'s header"))
    if any(head) or not 0 < size <= MAX_DESCRIPTOR:
        raise WeightsError(f"{name}'s header at {position} is {(*head, size)}, expected (0, 0, 0, a few)")
    descriptor = protobuf.collect(reader.take(position + 20, size, f"{name}'s descriptor"))
    dtype = _DTYPES.get(protobuf.integer(descriptor, 1, -1))
    shape = check_shape(protobuf.integers(descriptor, 2), name)
    if dtype is None:
        raise WeightsError(f"{name} has the element type {protobuf.integer(descriptor, 1, -1)}, which is not known")
    position += 20 + size
    count = math.prod(shape) * itemsize(dtype)
    return shaped(reader.take(position, count, name), dtype, shape, name), position + count


def _parse_pdmodel(data):
    block = protobuf.collect(protobuf.message(protobuf.collect(data), 1))
    shapes, order = {}, []
    for variable in map(protobuf.collect, block.get(3, ())):
        kind = protobuf.collect(protobuf.message(variable, 2))
        if protobuf.integer(variable, 3) and protobuf.integer(kind, 1) == _DENSE_TENSOR:
            tensor = protobuf.collect(protobuf.message(protobuf.collect(protobuf.message(kind, 3)), 1))
            shapes[protobuf.text(variable, 1)] = protobuf.integers(tensor, 2)
    for operation in map(protobuf.collect, block.get(4, ())):
        slots = [protobuf.collect(slot) for slot in operation.get(1, ())]
        slots.sort(key=lambda slot: _SLOTS.index(protobuf.text(slot, 1)) if protobuf.text(slot, 1) in _SLOTS else -1)
        order += [name for slot in slots for name in protobuf.texts(slot, 2)]
    return shapes, order


def _parse_json(data):
    try:
        operations = json.loads(data)["program"]["regions"][0]["blocks"][0]["ops"]
        names, shapes, order = {}, {}, []
        for operation in operations:
            if operation["#"] == "p":  # a parameter
                name, result = str(operation["A"][3]), operation["O"]
                names[result["%"]], shapes[name] = name, tuple(result["TT"]["D"][1])
                continue
            inputs = [value["%"] for value in operation["I"]]
            if operation["#"].endswith("batch_norm_") and len(inputs) == len(_NORM_INPUTS):
                inputs = [inputs[i] for i in _NORM_INPUTS]
            order += [names[i] for i in inputs if i in names]
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise WeightsError(f"not a program of paddle 3 ({type(error).__name__}: {str(error)[:100]})") from error
    return shapes, order
