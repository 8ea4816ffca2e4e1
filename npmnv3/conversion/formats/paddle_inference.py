"""Paddle's inference parameters: tensors without names, .pdiparams, whose names are in the program beside them.

The tensors lie in the order of their sorted internal names; here they come in the order in which the program uses them,
a norm's as gamma, beta, mean, variance, so that they can be matched with a network whose names are others.
"""

import contextlib
import math
import os
import re
import struct
from dataclasses import replace

from ...dumps.reader import Reader, naming
from ...errors import WeightsError
from . import protobuf
from .arrays import BFLOAT16, check_shape, itemsize, shaped
from .paddle_program import parse_json, parse_pdmodel
from .record import Checkpoint

MAGIC = bytes(16)  # version 0, no levels of detail, version 0
MAX_PROGRAM = 32 << 20  # bytes
MAX_DESCRIPTOR = 1 << 10  # bytes
_DTYPES = {0: "b1", 1: "i2", 2: "i4", 3: "i8", 4: "f2", 5: "f4", 6: "f8", 20: "u1", 21: "i1", 22: BFLOAT16}
_NORM_INPUTS = (0, 3, 4, 1, 2)  # x, mean, variance, scale, bias as programs have them
_INTERNAL = re.compile(r"^[a-z0-9_]+_\d+\.[wb]_\d+$")  # paddle's own names of parameters


def refuse_program(path):
    """WeightsError for a program alone, which has no weights; it names the file that has."""
    stem, suffix = os.path.splitext(path or "")
    beside = [os.path.basename(stem) + end for end in (".pdiparams", ".pdparams") if os.path.exists(stem + end)]
    if suffix == ".pdmodel" or suffix == ".json" and beside:
        weights = f"{beside[0]}, which lies beside it" if beside else "the .pdiparams that paddle wrote with it"
        raise WeightsError(f"a program of paddle's, which has no weights; give {weights}")


def read(reader):
    """The parameters by the program beside them; of two programs the one that they are of."""
    if reader.path is None:
        raise WeightsError(
            "paddle's inference parameters have no names in them; give the path of the file, not its bytes"
        )
    programs = _programs(reader.path)
    if not programs:
        name = os.path.basename(os.path.splitext(reader.path)[0])
        raise WeightsError(f"holds no names; put {name}.pdmodel or {name}.json, which paddle writes with it, beside it")
    for path, parse in programs[:-1]:
        with contextlib.suppress(WeightsError):  # the other one is tried then, and its error counts
            return _read_by(reader, path, parse)
    return _read_by(reader, *programs[-1])


def _read_by(reader, path, parse):
    program, (shapes, operations) = os.path.basename(path), _parsed(path, parse)
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
    used = dict.fromkeys(name for name in _order(operations) if name in shapes)
    unused = [name for name in shapes if name not in used]
    notes = [f"named by {program}"] + ([f"the program does not use {', '.join(unused[:10])}"] if unused else [])
    arrays = {name: arrays[name] for name in [*used, *unused]}
    return Checkpoint("paddle-inference", arrays, notes=tuple(notes), program=operations)


def in_programs_order(checkpoint, path):
    """A state dict under paddle's internal names, which `paddle.static.save` gives, in the order of the program beside it.

    That program may be one for training, so that nothing but the order is taken from it.

    Raises
    ------
    WeightsError
        The names are internal, and no program beside has them.
    """
    if not checkpoint.arrays or not all(_INTERNAL.search(name) for name in checkpoint.arrays):
        return checkpoint
    for program, parse in _programs(path):
        order = dict.fromkeys(_order(_parsed(program, parse)[1]))
        arrays = {name: checkpoint.arrays[name] for name in order if name in checkpoint.arrays}
        if len(arrays) == len(checkpoint.arrays):
            notes = (*checkpoint.notes, f"ordered by {os.path.basename(program)}")
            arrays = {name: array.read() for name, array in arrays.items()}
            return replace(checkpoint, format="paddle-inference", arrays=arrays, notes=notes)
    name, first = os.path.basename(os.path.splitext(path or "NAME")[0]), next(iter(checkpoint.arrays))
    raise WeightsError(
        f"its names are paddle's internal ones ({first[:100]}, ...), which tell no place in the network; put the program "
        f"that was saved with it, {name}.pdmodel or {name}.json, beside it, or save model.state_dict()"
    )


def _order(operations):
    """The names that operations take, in order."""
    for operation in operations:
        inputs = operation.inputs
        if operation.kind == "batch_norm" and len(inputs) == len(_NORM_INPUTS):
            inputs = [inputs[i] for i in _NORM_INPUTS]
        yield from inputs


def _programs(path):
    """[(path, its parser)] of the programs beside a file."""
    stem = os.path.splitext(path or "")[0]
    candidates = ((stem + suffix, parse) for suffix, parse in ((".pdmodel", parse_pdmodel), (".json", parse_json)))
    return [(program, parse) for program, parse in candidates if path and os.path.exists(program)]


def _parsed(path, parse):
    """({parameter: shape}, operations) of a program's file."""
    name = os.path.basename(path)
    with Reader(path) as program:
        if program.size > MAX_PROGRAM:
            raise WeightsError(f"{name} has {program.size} bytes, more than {MAX_PROGRAM}")
        with naming(f"{name} beside it"):
            return parse(program.take(0, program.size, name))


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
