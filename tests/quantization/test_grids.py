"""Grids and integers by the rules of the tools that make quantised files."""

import numpy as np
import pytest
import tflite_integers

from npmnv3.errors import UsageError
from npmnv3.ops.grids import Grid
from npmnv3.quantization.grids import fit_bias, grid_of, quantize_bias, quantize_weight, weight_scales
from npmnv3.quantization.ranges import parse_ranges
from npmnv3.quantization.schemes import SCHEMES, check_scheme

F32 = np.float32
FILES = (
    "timm--mobilenetv3_small_050.int8",
    "timm--mobilenetv3_small_050.int8_per_tensor",
    "ppocr--text_direction.int8",
    "ppocr--text_direction.dead_se",
    "keras--MobileNetV3Small-to-blocks.4.int8",
)

# fmt: off
GRIDS = (
    #  scheme       low    high  wide   scale                  zero  dtype
    ("tflite",      -1.0,   1.0, False, F32(2) / F32(255),       -1, "int8"),
    ("tflite",       0.0,   6.0, False, F32(6) / F32(255),     -128, "int8"),   # a gate's relu6
    ("tflite",       0.0,   1.0, False, F32(1) / F32(255),     -128, "int8"),
    ("tflite",       0.0,   0.0, False, F32(7.843137e-09),        0, "int8"),   # a dead squeeze
    ("tflite",       2.0,   5.1, False, F32(5.1) / F32(255),   -128, "int8"),   # widened to hold 0
    ("tflite",      -5.1,  -2.0, False, F32(5.1) / F32(255),    127, "int8"),
    ("tflite",      -1.0,   3.0, True,  F32(3 / 32767),           0, "int16"),
    ("onnx",        -1.0,   1.0, False, F32(2 / 255),           128, "uint8"),  # 127.5, to the even one
    ("onnx",         0.0,   0.0, False, F32(1),                   0, "uint8"),
    ("onnx",        -1.0,   3.0, True,  F32(4 / 65535),       16384, "uint16"),
    ("symmetric",   -1.0,  2.54, False, F32(2.54 / 127),          0, "int8"),
    ("symmetric",    0.0,   0.0, False, F32(1),                   0, "int8"),
    ("pow2",        -1.0,  2.54, False, F32(2.0 ** -5),           0, "int8"),
    ("pow2",         0.0, 127.0, False, F32(1),                   0, "int8"),
)
# fmt: on


@pytest.mark.parametrize("scheme,low,high,wide,scale,zero,dtype", GRIDS)
def test_grids(scheme, low, high, wide, scale, zero, dtype):
    assert grid_of(low, high, SCHEMES[scheme], wide=wide) == Grid(float(scale), zero, dtype)


@pytest.mark.parametrize("low,high", [(float("nan"), 1.0), (0.0, float("inf")), (2.0, 1.0)])
def test_ranges_that_are_none(low, high):
    with pytest.raises(UsageError, match="expected two finite numbers, the smaller first"):
        grid_of(low, high, SCHEMES["tflite"])


@pytest.mark.parametrize("text", ["percentile=50", "percentile=100.1", "percentile=x", "percentile=nan", "kl", "mse=3"])
def test_ranges_that_cannot_be_chosen(text):
    with pytest.raises(UsageError, match="expected (minmax|a percentile above 50)"):
        parse_ranges(text)


def test_a_scheme_that_is_none():
    with pytest.raises(UsageError, match="no scheme is called 'tflight', expected one of .*; nearest: tflite"):
        check_scheme("tflight")


@pytest.mark.parametrize("name", FILES)
def test_weights_of_real_files_come_out_again(name, shared):
    """What a file's integers stand for gives the same integers and scales, and they the scales of the biases."""
    scheme, layers = SCHEMES["tflite"], tflite_integers.layers(shared / "golden" / "int8" / f"{name}.tflite")
    assert len(layers) > 10
    for x, integers, scales, bias, _ in layers:
        if np.abs(bias.data).max() < 2**29:  # those of a bias too large are made the other way round
            assert np.array_equal(bias.scale, (x.scale * scales).astype(F32))
        real = integers.astype(F32) * scales.reshape(-1, *(1,) * (integers.ndim - 1))
        found = weight_scales(real, scheme, per_tensor=len(scales) == 1)
        full = np.abs(integers.reshape(len(scales), -1)).max(1) == 127  # where no bias enlarged it
        np.testing.assert_array_max_ulp(found[full], scales[full], 1)
        assert np.array_equal(quantize_weight(real, scales, scheme), integers)
        value = (bias.data * bias.scale.astype(np.float64)).astype(F32)
        if np.abs(bias.data).max() < 2**23:  # beyond that float32 does not tell integers apart
            assert np.array_equal(quantize_bias(value, bias.scale, scheme), bias.data)


def test_a_bias_too_large_enlarges_its_weights_scale(shared):
    """The layer behind a dead squeeze: weights of a few steps, every bias near 2^30, as the converter has it."""
    dead = [
        layer
        for layer in tflite_integers.layers(shared / "golden" / "int8" / "ppocr--text_direction.dead_se.tflite")
        if layer[0].scale < 1e-7
    ]
    ((x, integers, scales, bias, _),) = dead
    value = (np.sign(bias.data) * 2.0**30 * bias.scale.astype(np.float64)).astype(F32)
    real = np.full(integers.shape, 0.5, F32)
    found, of_bias = fit_bias(weight_scales(real, SCHEMES["tflite"]), value, float(x.scale[0]), SCHEMES["tflite"])
    assert np.array_equal(found, scales) and np.array_equal(of_bias, bias.scale)
    assert np.array_equal(quantize_bias(value, of_bias, SCHEMES["tflite"]), bias.data)


def test_the_gates_of_real_files(shared):
    """Gates that reach 1 have the scales 6/255 and 1/255."""
    for name in ("keras--MobileNetV3Small-to-blocks.4.int8", "ppocr--text_direction.int8"):
        outputs = [out for _, _, out in tflite_integers.operators(shared / "golden" / "int8" / f"{name}.tflite")]
        found = {(float(out.scale[0]), int(out.zero_point[0])) for out in outputs if len(out.scale)}
        for high in (6.0, 1.0):
            grid = grid_of(0.0, high, SCHEMES["tflite"])
            assert (grid.scale, grid.zero_point) in found
