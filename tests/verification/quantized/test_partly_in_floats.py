"""An .onnx of integers with parts in floats, as NNCF and `op_types_to_quantize` leave them: run, and judged as floats."""

import numpy as np
import pytest
import quantized_goldens as golden
from command_line import run

import npmnv3
from npmnv3.conversion.quantized import PartlyInFloats, read_quantized_model
from npmnv3.errors import WeightsError

onnx = pytest.importorskip("onnx")
FILE = golden.FOLDER / "ppocr--text_direction.qdq_u8s8_per_channel_reduce_range.onnx"


def without_pairs(graph, op):
    """Take the QuantizeLinear and the DequantizeLinear behind each node of this kind out of a graph."""
    made = {node.output[0] for node in graph.node if node.op_type == op}
    gone = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in made]
    source = {node.output[0]: node.input[0] for node in gone}
    pairs = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in source]
    floats = {node.output[0]: source[node.input[0]] for node in pairs}
    for node in (*gone, *pairs):
        graph.node.remove(node)
    for node in graph.node:
        node.input[:] = [floats.get(name, name) for name in node.input]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """(the float network that the file's weights stand for, its input, the file with its gates in floats)."""
    weights = tmp_path_factory.mktemp("weights") / "w.npz"
    model = onnx.load(FILE)
    without_pairs(model.graph, "HardSigmoid")
    onnx.save(model, weights.with_suffix(".onnx"))
    npmnv3.convert(weights.with_suffix(".onnx"), weights.with_suffix(".h5"))
    with np.load(FILE.with_suffix(".npz")) as file:
        x = file["float_input"]
    np.save(weights.with_suffix(".npy"), x)
    return weights.with_suffix(".h5"), weights.with_suffix(".npy"), model


def test_gates_in_floats(case, tmp_path, capsys):
    weights, x, model = case
    port = tmp_path / "port.onnx"
    onnx.save(model, port)
    with pytest.raises(PartlyInFloats, match=r"in floats: not quantised throughout.*`npmnv3 verify` runs it as it is"):
        read_quantized_model(port)
    code, out, _ = run(capsys, "verify", weights, port, "--input", x)
    assert code == 0 and "FINE: an int8 port" in out and "judged as floats, not integer for integer" in out, out[:400]


def test_a_fault_of_it(case, tmp_path, capsys):
    weights, x, model = case
    port, broken = tmp_path / "port.onnx", onnx.ModelProto()
    broken.CopyFrom(model)
    layer = [node for node in broken.graph.node if node.op_type == "Conv"][5]
    dequantized = next(node for node in broken.graph.node if node.output[0] == layer.input[2])
    bias = next(i for i in broken.graph.initializer if i.name == dequantized.input[0])
    bias.CopyFrom(onnx.numpy_helper.from_array(np.zeros_like(onnx.numpy_helper.to_array(bias)), bias.name))
    onnx.save(broken, port)
    code, out, _ = run(capsys, "verify", weights, port, "--input", x)
    assert code == 1 and "DIVERGES" in out, out[:400]


def test_integers_of_it_are_refused_with_what_to_do(case, tmp_path):
    weights, x, model = case
    port = tmp_path / "port.onnx"
    onnx.save(model, port)
    with pytest.raises(WeightsError, match="not quantised throughout"):
        npmnv3.verify(weights, port, x, tensors={"logits": np.zeros((1, 2), np.uint8)})


def test_a_layer_with_weights_in_floats(case, tmp_path):
    """As `nodes_to_exclude` leaves it."""
    model = onnx.ModelProto()
    model.CopyFrom(case[2])
    layer = next(node for node in model.graph.node if node.op_type == "Conv")
    layer.input[1] = "floats"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "floats"))
    onnx.save(model, tmp_path / "port.onnx")
    with pytest.raises(PartlyInFloats, match="has weights in floats"):
        read_quantized_model(tmp_path / "port.onnx")
