"""ONNX models reduced to their layers."""

import sys

import numpy as np
import paddle_files
import pytest

from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import WeightsError

onnx = pytest.importorskip("onnx", reason="needs onnx to write the files")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def model(nodes, constants, output="y", **more):
    tensors = [
        value if isinstance(value, TensorProto) else numpy_helper.from_array(value, name)
        for name, value in constants.items()
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", output)]
    graph = helper.make_graph(
        [helper.make_node(op, i, o, **a) for op, i, o, a in nodes], "g", value[:1], value[1:], tensors
    )
    return helper.make_model(graph, producer_name="by hand", **more).SerializeToString()


CONV, BIAS, NORM = draw(4, 3, 3, 3), draw(4), [draw(4) for _ in range(4)]
CONV_NODE = ("Conv", ["x", "w"], ["c"], {"strides": [2, 1], "pads": [1, 1, 1, 1], "group": 1})


def test_layers_in_order_with_their_attributes():
    nodes = [
        CONV_NODE,
        ("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"], {"epsilon": 1e-3}),
        ("HardSigmoid", ["n"], ["h"], {"alpha": 0.2}),
        ("Mul", ["n", "h"], ["s"], {}),
        ("Mul", ["s", "factor"], ["d"], {}),
        ("Flatten", ["d"], ["f"], {}),
        ("Gemm", ["f", "fc", "fcb"], ["z"], {"transB": 1}),
        ("Softmax", ["z"], ["p"], {"axis": 1}),
        ("Identity", ["p"], ["y"], {}),
    ]
    constants = {
        "w": CONV,
        **dict(zip("gbmv", NORM, strict=True)),
        "factor": np.float32(0.8).reshape(1),
        "fc": draw(2, 5),
        "fcb": draw(2),
    }
    checkpoint = read_checkpoint(model(nodes, constants))
    layers = checkpoint.layers
    assert [layer.op for layer in layers] == [
        "Conv",
        "BatchNormalization",
        "HardSigmoid",
        "Mul",
        "Mul",
        "Gemm",
        "Softmax",
    ]
    assert list(checkpoint.arrays) == ["w", "g", "b", "m", "v", "fc", "fcb"]
    assert layers[0].attributes == {"strides": (2, 1), "pads": (1, 1, 1, 1), "group": 1}
    assert np.array_equal(layers[0].params["weight"], CONV) and "bias" not in layers[0].params
    assert [
        np.array_equal(layers[1].params[role], v)
        for role, v in zip(("gamma", "beta", "mean", "variance"), NORM, strict=True)
    ] == [True] * 4
    assert layers[1].attributes["epsilon"] == pytest.approx(1e-3) and layers[2].attributes["alpha"] == pytest.approx(
        0.2
    )
    assert layers[3].params == {} and layers[4].params["constant"].item() == np.float32(0.8)
    assert checkpoint.notes == ("the graph ends in softmax: its output are probabilities",)
    assert checkpoint.metadata == {"producer": "by hand"}


def test_biases_that_come_by_an_add_of_their_own():
    shape = np.array([1, 4, 1, 1], np.int64)
    nodes = [
        ("Constant", [], ["bias"], {"value": numpy_helper.from_array(BIAS)}),
        ("Constant", [], ["shape"], {"value_ints": [1, 4, 1, 1]}),
        CONV_NODE,
        ("Reshape", ["bias", "shape"], ["b4"], {}),
        ("Add", ["b4", "c"], ["a"], {}),
        ("Identity", ["a"], ["i"], {}),
        ("Relu", ["i"], ["y"], {}),
    ]
    checkpoint = read_checkpoint(model(nodes, {"w": CONV}))
    assert [layer.op for layer in checkpoint.layers] == ["Conv", "Relu"]
    assert np.array_equal(checkpoint.layers[0].params["bias"], BIAS)
    assert list(checkpoint.arrays) == ["w", "bias"] and checkpoint.arrays["bias"].shape == (4,)
    given = model([CONV_NODE, ("Add", ["c", "b"], ["y"], {})], {"w": CONV, "b": BIAS.reshape(shape)})
    assert np.array_equal(read_checkpoint(given).layers[0].params["bias"], BIAS)


def test_other_adds_are_layers():
    nodes = [CONV_NODE, ("Add", ["c", "three"], ["t"], {}), ("Add", ["t", "c"], ["y"], {})]
    layers = read_checkpoint(model(nodes, {"w": CONV, "three": np.float32(3).reshape(())})).layers
    assert [(layer.op, sorted(layer.params)) for layer in layers] == [
        ("Conv", ["weight"]),
        ("Add", ["constant"]),
        ("Add", []),
    ]


def test_matrices_come_output_first():
    weight, bias = draw(5, 2), draw(2)
    for nodes in (
        [("MatMul", ["x", "w"], ["z"], {}), ("Add", ["z", "b"], ["y"], {})],
        [("Gemm", ["x", "w", "b"], ["y"], {})],
        [("Transpose", ["t"], ["w2"], {"perm": [1, 0]}), ("Gemm", ["x", "w2", "b"], ["y"], {})],
    ):
        layer = read_checkpoint(model(nodes, {"w": weight, "b": bias, "t": weight.T.copy()})).layers[0]
        assert np.array_equal(layer.params["weight"], weight.T) and np.array_equal(layer.params["bias"], bias)


# fmt: off
STORED = (
    # element type          values as the field holds them                         the array
    (TensorProto.FLOAT,     {"float_data": [1.5, -2]},                             np.array([1.5, -2], np.float32)),
    (TensorProto.DOUBLE,    {"double_data": [1.5, -2]},                            np.array([1.5, -2])),
    (TensorProto.FLOAT16,   {"int32_data": [0x3E00, 0xC000]},                      np.array([1.5, -2], np.float16)),
    (TensorProto.BFLOAT16,  {"int32_data": [0x3FC0, 0xC000]},                      np.array([1.5, -2], np.float32)),
    (TensorProto.BFLOAT16,  {"raw_data": b"\xc0\x3f\x00\xc0"},                     np.array([1.5, -2], np.float32)),
)
# fmt: on


@pytest.mark.parametrize("kind, data, expected", STORED)
def test_element_types(kind, data, expected):
    tensor = TensorProto(name="w", data_type=kind, dims=[1, 2], **data)
    found = read_checkpoint(model([("MatMul", ["x", "w"], ["y"], {})], {"w": tensor})).arrays["w"]
    assert found.dtype == expected.dtype and np.array_equal(found, expected[None])


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
        "element type 8 .*, which is not read",
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


def test_the_package_is_not_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert np.array_equal(read_checkpoint(model([CONV_NODE], {"w": CONV})).arrays["w"], CONV)


@pytest.mark.parametrize("place", (b"\x0a\x00", b"\x2a\x00", b"\x6a\x00"))
def test_empty_messages_without_end(place):
    graph = paddle_files.field(7, place * 1_000_000)
    with pytest.raises(WeightsError, match="a message of more than 100000 fields: refused"):
        read_checkpoint(paddle_files.field(1, 8) + graph)


# Data in another file


def beside(path, location="m.onnx.data", offset=0, length=None, values=None):
    """A model whose convolution's weight lies in the file m.onnx.data beside it."""
    values = CONV if values is None else values
    tensor = TensorProto(name="w", data_type=1, dims=values.shape, data_location=TensorProto.EXTERNAL)
    told = {"location": location, "offset": str(offset), "length": None if length is None else str(length)}
    for key, value in told.items():
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    node = helper.make_node("Conv", ["x", "w"], ["c"])
    graph = helper.make_graph([node], "g", [], [], [tensor])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def test_data_in_a_file_beside(tmp_path):
    values = CONV
    (tmp_path / "m.onnx.data").write_bytes(b"12345678" + values.tobytes())
    found = read_checkpoint(beside(tmp_path / "m.onnx", offset=8, length=values.nbytes))
    np.testing.assert_array_equal(found.arrays["w"], values)
    with pytest.raises(WeightsError, match="give the model's path, not its bytes"):
        read_checkpoint((tmp_path / "m.onnx").read_bytes())


@pytest.mark.parametrize(
    "change, message",
    [
        ({"location": "/etc/passwd"}, "refused, it does not lie beside"),
        ({"location": "../m.onnx.data"}, "refused, it does not lie beside"),
        ({"location": "a\\b"}, "refused, it does not lie beside"),
        ({"location": ""}, "refused, it does not lie beside"),
        ({"location": "nothing.data"}, "which is not beside it: put it there"),
        ({"offset": 1 << 40}, "damaged or cut off"),
        ({"offset": 10**15}, "would be 432 bytes from 1000000000000000, but the file has 432: damaged or cut off"),
        ({"offset": 10**45}, "expected a whole number"),
        ({"offset": -1}, "at offset '-1', expected a whole number"),
        ({"length": 3}, "has 3 bytes in 'm.onnx.data', expected"),
    ],
)
def test_data_that_are_not_simply_beside(change, message, tmp_path):
    (tmp_path / "m.onnx.data").write_bytes(CONV.tobytes())
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(beside(tmp_path / "m.onnx", **change))


def model_of(nodes, constants):
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [], [], weights)
    return read_checkpoint(helper.make_model(graph).SerializeToString())


def test_quantized_weights_stand_for_floats():
    """A model of QuantizeLinear and DequantizeLinear pairs: what the weights stand for, and the scales beside."""
    q = np.array([[[[3]]], [[[-5]]]], np.int8)
    constants = {"q": q, "s": np.float32([0.5, 0.25]), "z": np.int8([0, 0]), "xs": np.float32(0.1), "xz": np.uint8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0),
        helper.make_node("Conv", ["xd", "w"], ["y"]),
        helper.make_node("QuantizeLinear", ["y", "xs", "xz"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "xs", "xz"], ["yd"]),
    ]
    found = model_of(nodes, constants)
    assert found.layers[0].params["weight"].ravel().tolist() == [1.5, -1.25]
    assert [layer.op for layer in found.layers] == ["Conv", "Relu"], "clipping at zero is a relu"
    assert set(found.metadata["quantization"]) == {"xq", "xd", "w", "yq", "yd"}
    with pytest.raises(WeightsError, match="cannot be done"):
        model_of(nodes, {**constants, "s": np.float32([1, 2, 3])})


def test_constants_that_the_graph_quantizes_itself():
    """Such as the zero that is padded with: to the nearest even, cut at the ends of the integers."""
    values = np.float32([[[[0.26]]], [[[-1e9]]]])
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Conv", ["x", "d"], ["y"]),
    ]
    found = model_of(nodes, {"w": values, "s": np.float32(0.5), "z": np.int8(0)})
    assert found.layers[0].params["weight"].ravel().tolist() == [0.5, -64.0]
    with pytest.raises(WeightsError, match="cannot be done"):
        model_of(nodes, {"w": values, "s": np.float32(0), "z": np.int8(0)})


def test_biases_through_shape_and_expand():
    weight = CONV
    nodes = [
        helper.make_node("Constant", [], ["zero"], value_float=0.0),
        helper.make_node("CastLike", ["zero", "x"], ["like"]),
        helper.make_node("Constant", [], ["size"], value_ints=[len(weight)]),
        helper.make_node("Expand", ["like", "size"], ["b"]),
        helper.make_node("Conv", ["x", "w", "b"], ["y"]),
    ]
    assert list(model_of(nodes, {"w": weight}).layers[0].params) == ["weight"]
    nodes[2] = helper.make_node("Constant", [], ["size"], value_ints=[1 << 40])
    with pytest.raises(WeightsError, match="cannot be done"):
        model_of(nodes, {"w": weight})


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


@pytest.mark.parametrize("classes", [1, 4])
def test_a_sigmoid_of_each_class_is_warned_of(classes):
    nodes = [("Gemm", ["x", "w"], ["z"], {"transB": 1}), ("Sigmoid", ["z"], ["y"], {})]
    warnings = read_checkpoint(model(nodes, {"w": draw(classes, 3)})).warnings
    assert len(warnings) == (classes > 1)
    assert not warnings or "the graph ends in sigmoid: 4 classes, each by itself" in warnings[0]
