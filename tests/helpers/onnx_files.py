"""ONNX models written by hand with the package onnx: a convolution, and what may come with it."""

import numpy as np
import pytest

from npmnv3.conversion.formats import read_checkpoint

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


CONV = draw(4, 3, 3, 3)
CONV_NODE = ("Conv", ["x", "w"], ["c"], {"strides": [2, 1], "pads": [1, 1, 1, 1], "group": 1})


def model_of(nodes, constants):
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [], [], weights)
    return read_checkpoint(helper.make_model(graph).SerializeToString())
