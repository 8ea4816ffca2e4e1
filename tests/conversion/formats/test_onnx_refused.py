"""ONNX models, and files that look like some, that are refused, and what is said of each."""

import numpy as np
import paddle_files
import pytest
from onnx_files import CONV, CONV_NODE, TensorProto, draw, helper, model, onnx

from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import WeightsError


def external(name="w"):
    tensor = TensorProto(name=name, data_type=1, dims=[4, 3, 3, 3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


BRANCH = helper.make_node(
    "If", ["x"], ["y"], then_branch=helper.make_graph([], "a", [], []), else_branch=helper.make_graph([], "b", [], [])
)

REFUSED = (
    (
        "external data",
        [CONV_NODE],
        {"w": external()},
        "'w' has its data in another file .location=/etc/passwd.: refused",
    ),
    ("unused external", [CONV_NODE], {"w": CONV, "u": external("u")}, "'u' has its data in another file"),
    (
        "sizes",
        [CONV_NODE],
        {"w": TensorProto(name="w", data_type=1, dims=[1 << 40], raw_data=b"1234")},
        "bytes, but 4 are there",
    ),
    (
        "impossible",
        [CONV_NODE],
        {"w": TensorProto(name="w", data_type=1, dims=[1 << 62, 1 << 62], raw_data=b"")},
        "impossible shape",
    ),
    (
        "too few values",
        [CONV_NODE],
        {"w": TensorProto(name="w", data_type=1, dims=[4], float_data=[1])},
        "16 bytes, but 4 are there",
    ),
    (
        "texts",
        [CONV_NODE],
        {"w": TensorProto(name="w", data_type=8, dims=[1], string_data=[b"a"])},
        "element type 8, which is not read$",
    ),
    (
        "integers of 4 bits",
        [CONV_NODE],
        {"w": TensorProto(name="w", data_type=22, dims=[4, 3, 3, 3], raw_data=bytes(54))},
        "element type 22, which is not read .*integers of 4; .* give the model in floats that it was made from",
    ),
    ("integers", [CONV_NODE], {"w": np.zeros((4, 3, 3, 3), np.int8)}, "has a weight int8"),
    ("weights computed", [("Relu", ["x"], ["w"], {}), CONV_NODE], {}, "weights that are no constants"),
    (
        "norm computed",
        [CONV_NODE, ("BatchNormalization", ["c", "x", "x", "x", "x"], ["y"], {})],
        {"w": CONV},
        "parameters that are no constants",
    ),
    (
        "bias of other size",
        [("Conv", ["x", "w", "b"], ["y"], {})],
        {"w": CONV, "b": draw(3)},
        r"float32 \(3,\), expected 4 floating",
    ),
    ("scaled Gemm", [("Gemm", ["x", "w"], ["y"], {"alpha": 2.0})], {"w": draw(2, 3)}, "scales its product"),
    ("transposed input", [("Gemm", ["x", "w"], ["y"], {"transA": 1})], {"w": draw(2, 3)}, "transposes its input"),
    (
        "impossible shape",
        [("Reshape", ["w", "s"], ["q"], {}), CONV_NODE],
        {"w": CONV, "s": np.array([5])},
        "Reshape 'q' cannot be done",
    ),
    ("no weights", [("Relu", ["x"], ["y"], {})], {}, "no layer has weights"),
    (
        "foreign operation",
        [("NhwcFusedConv", ["x", "w"], ["y"], {"domain": "com.microsoft"})],
        {"w": CONV},
        "none of ONNX's own: ONNX Runtime has made it for a processor",
    ),
)


@pytest.mark.parametrize("nodes, constants, message", [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(nodes, constants, message):
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(model(nodes, constants))


def test_branches_are_refused():
    proto = onnx.ModelProto.FromString(model([CONV_NODE], {"w": CONV}))
    proto.graph.node.append(BRANCH)
    with pytest.raises(WeightsError, match="has graphs in it"):
        read_checkpoint(proto.SerializeToString())


def test_cut_off_and_damaged():
    data = model([CONV_NODE], {"w": CONV})
    with pytest.raises(WeightsError, match="ONNX: a field of [0-9]+ bytes .* damaged or cut off"):
        read_checkpoint(data[:-10])


@pytest.mark.parametrize("place", (b"\x0a\x00", b"\x2a\x00", b"\x6a\x00"))
def test_empty_messages_without_end(place):
    graph = paddle_files.field(7, place * 1_000_000)
    with pytest.raises(WeightsError, match="a message of more than 100000 fields: refused"):
        read_checkpoint(paddle_files.field(1, 8) + graph)


@pytest.mark.parametrize("integers", ["ConvInteger", "MatMulInteger", "MatMulIntegerToFloat"])
def test_integers_that_are_made_when_the_model_runs(integers):
    nodes = [("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], {}), (integers, ["q", "w"], ["y"], {})]
    with pytest.raises(
        WeightsError, match=f"quantised dynamically.*DynamicQuantizeLinear.*{integers}|{integers}.*give"
    ):
        read_checkpoint(model([CONV_NODE, *nodes], {"w": CONV}))


def test_core_mls_models():
    with pytest.raises(WeightsError, match="a Core ML model, which is not read: give the file that it was made of"):
        read_checkpoint(b"\x08\x04\x12\x03abc\xb2\x1f\x04\x0a\x02ab")  # with the field neuralNetwork, 502


def test_tensorflows_graphs(tmp_path):
    for data in (b"\x08\x01\x12\x03abc", b"\x0a\x03abc"):  # a SavedModel, a frozen graph
        (tmp_path / "saved_model.pb").write_bytes(data)
        with pytest.raises(WeightsError, match="saved_model.pb: TensorFlow's graph .* save the weights"):
            read_checkpoint(tmp_path / "saved_model.pb")
    for name in ("model-1.index", "model-1.data-00000-of-00001"):
        (tmp_path / name).write_bytes(b"\0\0\6\x08")
        with pytest.raises(WeightsError, match=f"{name}: TensorFlow's graph .* or checkpoint, which is not read"):
            read_checkpoint(tmp_path / name)
    (tmp_path / "model.pb").write_bytes(model([CONV_NODE], {"w": CONV}))
    assert read_checkpoint(tmp_path / "model.pb").format == "onnx"
