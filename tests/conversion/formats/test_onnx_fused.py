"""Layers that ONNX Runtime fused with what follows them are read as the layers and activations that they were."""

import numpy as np
import pytest

from npmnv3.conversion.formats import read_checkpoint
from npmnv3.conversion.formats.onnx_fused import apart
from npmnv3.conversion.formats.onnx_nodes import Node
from npmnv3.errors import WeightsError

GATE = {"activation": "HardSigmoid", "activation_params": (0.25, 0.5)}
APART = {
    "relu": (Node("FusedConv", ["x", "w", "b"], ["y"], {"group": 2, "activation": "Relu"}), ["Conv", "Relu"], {}),
    "gate": (Node("FusedConv", ["x", "w"], ["y"], GATE), ["Conv", "HardSigmoid"], {"alpha": 0.25, "beta": 0.5}),
    "clip": (
        Node("FusedConv", ["x", "w", "b"], ["y"], {"activation": "Clip", "activation_params": (0.0, 6.0)}),
        ["Conv", "Clip"],
        {"min": 0.0, "max": 6.0},
    ),
    "sum": (Node("FusedConv", ["x", "w", "b", "z"], ["y"], {"activation": "Relu"}), ["Conv", "Add", "Relu"], {}),
    "sum alone": (Node("FusedConv", ["x", "w", "b", "z"], ["y"], {}), ["Conv", "Add"], {}),
    "linear": (
        Node("FusedGemm", ["x", "w", "b"], ["y"], {"activation": "LeakyRelu", "activation_alpha": 0.1}),
        ["Gemm", "LeakyRelu"],
        {"alpha": 0.1},
    ),
    "plain": (Node("Conv", ["x", "w"], ["y"], {}), ["Conv"], {}),
}


@pytest.mark.parametrize("node, ops, told", APART.values(), ids=APART)
def test_a_fused_node_is_a_chain(node, ops, told):
    parts = apart(node)
    assert [part.op for part in parts] == ops and parts[-1].attributes == told and parts[-1].outputs == ["y"]
    assert parts[0].inputs == node.inputs[:3] and all(not name.startswith("act") for name in parts[0].attributes)
    assert all(part.inputs[0] == before.outputs[0] for before, part in zip(parts, parts[1:]))
    assert [part.inputs[1:] for part in parts if part.op == "Add"] == [["z"]] * ops.count("Add")


@pytest.mark.parametrize("told", [{"activation": "Softplus"}, GATE | {"activation_params": (1, 2)}])
def test_another_activation_is_refused(told):
    with pytest.raises(WeightsError, match="FusedConv 'y' ends in '(Softplus|HardSigmoid)' with .*, which no layer"):
        apart(Node("FusedConv", ["x", "w"], ["y"], told))


def test_a_file_of_fused_nodes():
    onnx = pytest.importorskip("onnx", reason="needs onnx to write the file")
    weight = np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1)
    node = onnx.helper.make_node("FusedConv", ["x", "w"], ["y"], domain="com.microsoft", **GATE)
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [onnx.numpy_helper.from_array(weight, "w")])
    layers = read_checkpoint(onnx.helper.make_model(graph).SerializeToString()).layers
    assert [(layer.op, layer.inputs) for layer in layers] == [("Conv", ()), ("HardSigmoid", (0,))]
    assert layers[1].attributes == {"alpha": 0.25, "beta": 0.5} and np.array_equal(layers[0].params["weight"], weight)
