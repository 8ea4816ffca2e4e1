"""ONNX's operators on integers (QOperator) as the operators on floats that they stand for, their weights dequantised.

Source: onnx/docs/Operators.md (QLinearConv, QLinearMatMul); onnxruntime/docs/ContribOperators.md (the others)
"""

from dataclasses import replace

import numpy as np

from ...errors import WeightsError
from .onnx_folding import dequantized

#: The operator on floats, and where its inputs' (tensor, scale, zero point) and the output's grid are.
Q_OPERATORS = {
    "QLinearConv": ("Conv", (0, 3), 6),
    "QGemm": ("Gemm", (0, 3), 7),
    "QLinearMatMul": ("MatMul", (0, 3), 6),
    "QLinearAdd": ("Add", (0, 3), 6),
    "QLinearMul": ("Mul", (0, 3), 6),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,), 3),
}
NHWC_POOL = "NhwcMaxPool"  # MaxPool of integers whose channels are last
BIASES = {"QLinearConv": 8, "QGemm": 6}  # where the bias is: int32, of the scale input's times weight's


def as_floats(node, constant):
    """The node on floats that a node of Q_OPERATORS stands for.

    Parameters
    ----------
    node : onnx_nodes.Node
    constant : callable (name) -> array, None where the name is no constant's

    Returns
    -------
    (Node, {name: float32 array} of its constants, {name: (scale, zero point, axis)} of these and of its output)

    Raises
    ------
    WeightsError
        Inputs are missing, or a scale is no constant or fits to nothing.
    """
    op, places, end = Q_OPERATORS[node.op]
    if len(node.inputs) < end + 2:
        raise WeightsError(f"{node} has {len(node.inputs)} inputs, expected {end + 2} or more")
    arrays, scales = {}, {node.outputs[0]: (*_numbers(node, constant, end), 1)}
    names = [node.inputs[place] for place in places]
    floats = replace(node, op=op)
    axis = -1 if floats.inputs_first else 0  # where a weight has its output channels
    for name, place in zip(names, places):
        value = constant(name)
        if value is not None:
            scale, zero = _numbers(node, constant, place + 1)
            scales[name] = scale, zero, axis
            arrays[name] = _dequantized(node, name, value, scale, zero, axis)
    bias = node.inputs[BIASES[node.op]] if len(node.inputs) > BIASES.get(node.op, end + 2) else ""
    if bias:
        reads, weighs, value = _numbers(node, constant, 1)[0], _numbers(node, constant, 4)[0], constant(bias)
        if value is None or reads.size != 1:
            raise WeightsError(f"{node} has a bias that is no constant, or {reads.size} scales for its input")
        scale = reads.astype(np.float32).ravel() * weighs.ravel()
        scales[bias] = scale, None, 0
        names.append(bias)
        arrays[bias] = _dequantized(node, bias, value, scale, None, 0)
    return replace(floats, inputs=names), arrays, scales


def _numbers(node, constant, place):
    """(scale, zero point) from an input on."""
    scale, zero = (constant(name) for name in node.inputs[place : place + 2])
    if scale is None or zero is None:
        raise WeightsError(f"{node} has a scale or a zero point that is no constant")
    return scale, zero


def _dequantized(node, name, value, scale, zero, axis):
    try:
        return dequantized(value, scale, zero, axis)
    except (ValueError, IndexError, TypeError) as error:
        raise WeightsError(f"{node} has {name[:100]!r} with a scale that does not fit: {error}") from error
