"""Nodes of ONNX graphs, with their attributes, of ONNX's types."""

import struct
from dataclasses import dataclass

import numpy as np

from ...errors import WeightsError
from . import protobuf
from .onnx_folding import DEQUANTIZE, QUANTIZE
from .onnx_fused import FUSED, apart
from .onnx_qoperators import NHWC_POOL, Q_OPERATORS
from .onnx_tensors import read_tensor

_DEFAULTS = {1: 0.0, 2: 0, 3: "", 6: (), 7: ()}  # by AttributeProto.AttributeType
_ATTRIBUTES = {
    float: ("alpha", "beta", "epsilon", "max", "min"),
    int: ("axis", "ceil_mode", "channels_last", "group", "keepdims", "to", "training_mode", "transA", "transB"),
    tuple: ("axes", "dilations", "kernel_shape", "pads", "perm", "strides"),
    str: ("activation", "auto_pad", "mode"),
}
_MICROSOFT = (QUANTIZE, DEQUANTIZE, NHWC_POOL, *Q_OPERATORS, *FUSED)  # ONNX Runtime's own, of this domain
_OPTIMIZED = (
    ": ONNX Runtime has made it for a processor; give the model from before, or as it saves it with "
    "GraphOptimizationLevel.ORT_ENABLE_BASIC"
)


@dataclass(frozen=True)
class Node:
    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict  # {name: int, float, str, tuple, or the fields of a tensor}

    def __str__(self):
        return f"{self.op[:50]} {self.outputs[0][:100]!r}"

    @property
    def inputs_first(self):
        """Whether a layer's weight has the input channels first."""
        return self.op == "MatMul" or (self.op == "Gemm" and not self.attributes.get("transB"))


def read_nodes(graph):
    """The nodes of a graph's fields, those that ONNX Runtime fused taken apart."""
    for fields in graph.get(1, ()):
        yield from apart(_read_node(protobuf.collect(fields)))


def _read_node(fields):
    """A node; WeightsError if it is none of ONNX's own operators, nor of ONNX Runtime's quantised or fused ones."""
    domain, op = protobuf.text(fields, 7), protobuf.text(fields, 4)
    node = Node(op, protobuf.texts(fields, 1), protobuf.texts(fields, 2), {})
    known = domain in ("", "ai.onnx") or (domain == "com.microsoft" and op in _MICROSOFT)
    if not node.outputs or not known:
        message = f"the node {protobuf.text(fields, 3)[:100]!r} ({domain[:50]} {op[:50]}) is none of ONNX's own"
        raise WeightsError(message + _OPTIMIZED * domain.startswith("com.microsoft"))
    for attribute in map(protobuf.collect, fields.get(5, ())):
        name, value = protobuf.text(attribute, 1), _attribute(node, attribute)
        if value is None:
            continue
        kind = next((kind for kind, names in _ATTRIBUTES.items() if name in names), object)
        if not isinstance(value, kind) or kind is tuple and not all(isinstance(number, int) for number in value):
            raise WeightsError(f"{node} has {name} = {str(value)[:50]!r}, of another type than ONNX's")
        node.attributes[name] = value
    return node


def _attribute(node, fields):
    """An attribute's value: float, int, str, tuple, or the fields of a tensor; None for what no layer here has."""
    if 6 in fields or 11 in fields:
        raise WeightsError(f"{node} has graphs in it (branches or loops), which no network here has")
    if 2 in fields or 7 in fields:
        numbers = protobuf.fixed(fields, 2 if 2 in fields else 7)
        values = struct.unpack(f"<{len(numbers) // 4}f", numbers[: len(numbers) // 4 * 4])
        return values if 7 in fields else next(iter(values), 0.0)
    if 3 in fields or 8 in fields:
        values = protobuf.integers(fields, 3 if 3 in fields else 8)
        return values if 8 in fields else next(iter(values), 0)
    if 4 in fields:
        return protobuf.text(fields, 4)
    if 5 in fields:
        return protobuf.collect(protobuf.message(fields, 5))
    return _DEFAULTS.get(protobuf.integer(fields, 20))  # some writers leave zeros out


def read_constant(node, external):
    """A Constant node's array."""
    for name, kind, dtype in (("value_float", float, "f4"), ("value_int", int, "i8")):
        numbers = node.attributes.get(name + "s", node.attributes.get(name))
        if all(isinstance(number, kind) for number in (numbers if isinstance(numbers, tuple) else [numbers])):
            return np.array(numbers, dtype)
    if not isinstance(node.attributes.get("value"), dict):
        raise WeightsError(f"{node} has no value")
    return read_tensor(node.attributes["value"], external)
