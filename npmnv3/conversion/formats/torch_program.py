"""What an exported program (torch.export.save) computes: its graph in JSON, node by node.

Source: torch/_export/serde/schema.py
"""

import json

from ...errors import WeightsError
from .torch_operations import UNKNOWN, program_of

MAX_BYTES = 64 << 20
_AMBIGUOUS = ("assign", "hardsigmoid", "relu6")  # a gate, or ReLU6, is a part of some hard-swishes


def read_program(text, where):
    """(settings, operations, notes) of JSON, which messages call `where`.

    settings : what the layers are set to, as `modules.module_settings` has it, where batch norm is in parts, so that the
        operations cannot be compared one by one; {} elsewhere
    operations : tuple of Operation, empty there
    notes : sentences on what could not be compared

    Raises
    ------
    WeightsError
        No JSON.
    """
    try:
        program = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"not a program: {where} is no JSON ({str(error)[:200]})") from error
    try:
        operations = program_of(program["graph_module"])
    except UNKNOWN:
        operations = ()
    if any(operation.kind == "batch_norm" for operation in operations):
        return {}, operations, ()
    reason, unchecked = "has no batch norm in one piece", "epsilons"
    if not operations:
        reason, unchecked = "is written in a way that is not known here", "epsilons, padding and activations"
    settings = dict(_settings(number, operation) for number, operation in enumerate(operations))
    return (
        settings,
        (),
        (f"its program {reason}: {unchecked} are not checked, nor the order of its operations, its sums and products",),
    )


def _settings(number, operation):
    """(a layer's dotted name, what it is set to); of what has no parameters, a number and its kind."""
    if operation.kind != "conv2d":
        return str(number), {"class": "" if operation.kind in _AMBIGUOUS else operation.kind}
    attributes = operation.attributes
    pads, same = attributes.get("paddings"), attributes.get("padding_algorithm") == "SAME"
    if pads is None:
        pads = "same" if same else (0, 0)
    elif pads[:2] == pads[2:]:
        pads = pads[:2]
    name = operation.inputs[1].rpartition(".")[0]
    kind = "Conv2dSame" if same and pads != "same" else "Conv2d"
    return name, {"class": kind, "stride": attributes["strides"], "padding": pads, "dilation": attributes["dilations"]}
