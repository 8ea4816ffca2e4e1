"""ONNX models reduced to their layers."""

import sys

import numpy as np
import pytest
from onnx_files import CONV, CONV_NODE, TensorProto, draw, helper, model, model_of, numpy_helper

from npmnv3.conversion.formats import read_checkpoint
from npmnv3.errors import WeightsError

BIAS, NORM = draw(4), [draw(4) for _ in range(4)]


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


def test_the_package_is_not_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert np.array_equal(read_checkpoint(model([CONV_NODE], {"w": CONV})).arrays["w"], CONV)


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


@pytest.mark.parametrize("classes", [1, 4])
def test_a_sigmoid_of_each_class_is_warned_of(classes):
    nodes = [("Gemm", ["x", "w"], ["z"], {"transB": 1}), ("Sigmoid", ["z"], ["y"], {})]
    warnings = read_checkpoint(model(nodes, {"w": draw(classes, 3)})).warnings
    assert len(warnings) == (classes > 1)
    assert not warnings or "the graph ends in sigmoid: 4 classes, each by itself" in warnings[0]
