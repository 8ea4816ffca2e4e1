"""ONNX Runtime's layers with what follows them in one node, as the nodes of ONNX's own that they were made of.

Source: onnxruntime/docs/ContribOperators.md, com.microsoft.FusedConv and FusedGemm: what
GraphOptimizationLevel.ORT_ENABLE_EXTENDED saves, and ORT_ENABLE_ALL on ARM
"""

from dataclasses import replace

from ...errors import WeightsError

FUSED = {"FusedConv": "Conv", "FusedGemm": "Gemm"}
_LAYERS_INPUTS = 3  # one more is added to what the layer gives
_NUMBERS = {  # of an activation: its attributes, in the order of activation_params
    "Relu": (),
    "Sigmoid": (),
    "Tanh": (),
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Clip": ("min", "max"),
}
_MARK = "activation"


def apart(node):
    """[nodes of ONNX's own] for an `onnx_nodes.Node`, itself where it is no fused one."""
    if node.op not in FUSED:
        return [node]
    first = {name: value for name, value in node.attributes.items() if not name.startswith(_MARK)}
    parts = [(FUSED[node.op], node.inputs[:_LAYERS_INPUTS], first)]
    parts += [("Add", [name], {}) for name in node.inputs[_LAYERS_INPUTS:] if name]
    parts += [(node.attributes[_MARK], [], _numbers(node))] if node.attributes.get(_MARK) else []
    values = [f"{node.outputs[0]}, part {i}" for i in range(1, len(parts))] + node.outputs[:1]
    before = [[], *([value] for value in values)]
    return [
        replace(node, op=op, inputs=previous + inputs, outputs=[value], attributes=attributes)
        for (op, inputs, attributes), previous, value in zip(parts, before, values)
    ]


def _numbers(node):
    """The attributes of the activation in a fused node: FusedConv's are in a row, FusedGemm's under their names."""
    kind, row = node.attributes[_MARK], node.attributes.get(f"{_MARK}_params", ())
    named = {name: node.attributes.get(f"{_MARK}_{name}") for name in _NUMBERS.get(kind, ())}
    numbers = {name: value for name, value in named.items() if value is not None} | dict(zip(named, row))
    if kind not in _NUMBERS or not all(isinstance(value, float) for value in numbers.values()):
        raise WeightsError(f"{node} ends in {str(kind)[:50]!r} with {str(numbers)[:100]}, which no layer here has")
    return numbers
