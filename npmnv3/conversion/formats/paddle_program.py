"""Paddle's programs: what lies beside inference parameters, as one list of operations whichever paddle wrote it.

A program is inference.pdmodel (a protocol buffer, paddle 2) or inference.json (paddle 3). Operations have paddle 3's names
and order of inputs here.

Source: https://github.com/PaddlePaddle/Paddle/blob/develop/paddle/fluid/framework/framework.proto
"""

import json
import struct

from ...errors import WeightsError
from . import protobuf
from .record import Operation

_DENSE_TENSOR = 7
_MAX_NESTING = 8  # of an attribute's value
_KINDS = {  # paddle 2's names that are others
    "hard_swish": "hardswish",
    "hard_sigmoid": "hardsigmoid",
    "elementwise_add": "add",
    "elementwise_sub": "subtract",
    "elementwise_mul": "multiply",
    "elementwise_div": "divide",
    "matmul_v2": "matmul",
    "mul": "matmul",
    "reshape2": "reshape",
    "squeeze2": "squeeze",
    "unsqueeze2": "unsqueeze",
    "transpose2": "transpose",
    "flatten2": "flatten",
    "flatten_contiguous_range": "flatten",
    "reduce_mean": "mean",
    "feed": "data",
    "batch_norm_": "batch_norm",
}
_INPUTS = {  # paddle 2's slots in paddle 3's order; what is not listed has X, Y first
    "conv2d": ("Input", "Filter", "Bias"),
    "depthwise_conv2d": ("Input", "Filter", "Bias"),
    "batch_norm": ("X", "Mean", "Variance", "Scale", "Bias"),
}
_ATTRIBUTES = {  # paddle 2's names that are others
    "trans_x": "transpose_x",
    "trans_y": "transpose_y",
    "dropout_implementation": "mode",
    "dim": "axis",
    "keep_dim": "keepdim",
    "ksize": "kernel_size",
    "data_layout": "data_format",
}


def parse_pdmodel(data):
    """({parameter: shape}, tuple of Operation) of paddle 2's program."""
    block = protobuf.collect(protobuf.message(protobuf.collect(data), 1))
    shapes = {}
    for variable in map(protobuf.collect, block.get(3, ())):
        kind = protobuf.collect(protobuf.message(variable, 2))
        if protobuf.integer(variable, 3) and protobuf.integer(kind, 1) == _DENSE_TENSOR:
            tensor = protobuf.collect(protobuf.message(protobuf.collect(protobuf.message(kind, 3)), 1))
            shapes[protobuf.text(variable, 1)] = protobuf.integers(tensor, 2)
    return shapes, tuple(_operation(protobuf.collect(fields)) for fields in block.get(4, ()))


def _operation(fields):
    kind = protobuf.text(fields, 3)
    inputs, outputs = _slots(fields, 1), _slots(fields, 2)
    attributes = {}
    for attribute in map(protobuf.collect, fields.get(4, ())):
        name = protobuf.text(attribute, 1)
        attributes[_ATTRIBUTES.get(name, name)] = _attribute(attribute)
    input_names = _in_order(inputs, _INPUTS.get(kind, ("X", "Y")))
    output_names = _in_order(outputs, ("Output", "Out", "Y"))
    # A norm writes its running statistics over those that it was given: nothing new.
    output_names = tuple(name for i, name in enumerate(output_names) if i == 0 or name not in input_names)
    return Operation(_KINDS.get(kind, kind), input_names, output_names, attributes)


def _slots(fields, number):
    """{slot: names} of the inputs or outputs of an operation."""
    slots = map(protobuf.collect, fields.get(number, ()))
    return {protobuf.text(slot, 1): protobuf.texts(slot, 2) for slot in slots}


def _in_order(slots, first):
    names = sorted(slots, key=lambda name: first.index(name) if name in first else len(first))
    return tuple(value for name in names for value in slots[name])


def _attribute(fields):
    """Whole number, float, text, bool or tuple of whole numbers; None for what no network here has."""
    if 4 in fields or 19 in fields:
        number, kind, size = (4, "<f", 4) if 4 in fields else (19, "<d", 8)
        data = protobuf.fixed(fields, number)
        return struct.unpack(kind, data[:size])[0] if len(data) >= size else None
    if 5 in fields:
        return protobuf.text(fields, 5)
    for number in (3, 10, 13):
        if number in fields:
            value = protobuf.integer(fields, number)
            return value - (1 << 64) if value >> 63 else value
    return next((protobuf.integers(fields, number) for number in (6, 15) if number in fields), None)


def parse_json(data):
    """({parameter: shape}, tuple of Operation) of paddle 3's program."""
    try:
        shapes, operations, names = {}, [], {}
        for made in json.loads(data)["program"]["regions"][0]["blocks"][0]["ops"]:
            if made["#"] == "p":  # a parameter
                name, result = str(made["A"][3]), made["O"]
                names[result["%"]], shapes[name] = name, tuple(result["TT"]["D"][1])
                continue
            kind = str(made["#"]).rpartition(".")[2]
            inputs = tuple(names.get(value["%"], f"%{value['%']}") for value in made["I"])
            outputs = tuple(f"%{value['%']}" for value in made["O"])
            attributes = {str(each["N"]): _value(each["AT"]) for each in made.get("A", ())}
            operations.append(Operation(_KINDS.get(kind, kind), inputs, outputs, attributes))
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise WeightsError(f"not a program of paddle 3 ({type(error).__name__}: {str(error)[:100]})") from error
    return shapes, tuple(operations)


def _value(attribute, depth=0):
    """An attribute's value: the kind stands under "#", what it is under "D"; lists become tuples."""
    value = attribute.get("D")
    if isinstance(value, list) and depth < _MAX_NESTING:
        return tuple(_value(item, depth + 1) if isinstance(item, dict) else item for item in value)
    return value
