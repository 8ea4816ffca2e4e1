"""Operations on uint8 that TensorFlow Lite rounds otherwise than those on int8, or alike: its integers, beside ties."""

import goldens
import numpy as np
import pytest
from flatbuffer_files import Graph

from npmnv3.conversion.quantized import read_quantized_model
from npmnv3.dumps.quantized import Quantized
from npmnv3.model.quantized import QuantizedModel

DEPTHWISE, HARD_SWISH = 4, 117
OPTIONS = {0: ("b", 0), 1: ("i", 1), 2: ("i", 1), 3: ("i", 1), 4: ("b", 0)}  # "same" padding, no stride, nothing fused


@pytest.mark.parametrize("kernels", ["tflite-reference", "tflite-optimized", "xnnpack"])
def test_the_integers_are_the_kernels(kernels, tmp_path):
    """A hard-swish and a depthwise convolution, which the three kernels compute alike."""
    with np.load(goldens.CUT / "int8" / "uint8_operations.npz") as stored:
        data = dict(stored)
    made, shape = Graph(), data["x"].shape
    x = made.tensor("x", shape, scale=data["input_scale"], zero=data["input_zero_point"], kind="u1")
    h, d = ({"scale": [scale], "zero": [zero], "kind": "u1"} for scale, zero in zip(data["scale"], data["zero_point"]))
    made.operator(HARD_SWISH, [x], shape, None, "h", **h)
    weight = made.constant("w", data["weight"], scale=data["weight_scale"], zero=data["weight_zero_point"])
    made.operator(DEPTHWISE, [x, weight, made.constant("b", data["bias"])], shape, OPTIONS, "d", **d)
    (tmp_path / "m.tflite").write_bytes(made.bytes())
    plan = read_quantized_model(tmp_path / "m.tflite")[0]
    assert not plan.warnings
    model = QuantizedModel(Quantized(plan, None, shape[-1]), kernels, "numpy")
    found = model.trace(plan.grids["input"].dequantize(data["x"].transpose(0, 3, 1, 2)), integers=True)
    for step in plan.steps:
        np.testing.assert_array_equal(found[step.name].transpose(0, 2, 3, 1), data[step.name[-1]], step.op)
