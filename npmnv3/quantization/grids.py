"""From ranges to grids, by the rules of the tools that make quantised files."""

import numpy as np

from ..errors import UsageError
from ..ops.grids import Grid

F32 = np.float32
NARROW = 1e-6  # below this a range is widened: TensorFlow Lite's converter, kNearZeroTolerance


def grid_of(low, high, scheme, *, wide=False):
    """The grid of a tensor whose numbers lie from low to high.

    Parameters
    ----------
    low, high : float
    scheme : Scheme
    wide : bool, 16 bits

    Returns
    -------
    Grid

    Raises
    ------
    UsageError
        Ends that are not finite, or the wrong way round.
    """
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise UsageError(f"a range from {low} to {high}, expected two finite numbers, the smaller first")
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    dtype = scheme.wide if wide else scheme.dtype
    if scheme.wide_symmetric if wide else scheme.symmetric:
        return _symmetric(max(-low, high), dtype, scheme)
    return _tflite(low, high, dtype) if scheme.tool == "tflite" else _onnx(low, high, dtype)


def _tflite(low, high, dtype):
    """Source: TensorFlow 2.21, mlir/quantization/common/ir/FakeQuantSupport.cc, with the scale in float32."""
    first, last = np.iinfo(dtype).min, np.iinfo(dtype).max
    if high - low < NARROW:
        low, high = low - NARROW, high + NARROW
    scale = (F32(high) - F32(low)) / F32(last - first)
    zero = float(F32(first - low / float(scale)))
    return Grid(float(scale), int(np.clip(_half_away(zero), first, last)), dtype)


def _onnx(low, high, dtype):
    """Source: onnxruntime 1.32, quantization/quant_utils.py, compute_scale_zp"""
    first, last = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    scale = (high - low) / (last - first)
    if scale < np.finfo(F32).tiny:
        return Grid(1.0, 0, dtype)
    return Grid(float(F32(scale)), int(np.clip(np.rint(first - low / scale), first, last)), dtype)


def _symmetric(reach, dtype, scheme):
    last = np.iinfo(dtype).max
    if scheme.tool == "onnx":
        scale = reach / last
        return Grid(float(F32(scale)) if scale >= np.finfo(F32).tiny else 1.0, 0, dtype)
    scale = max(reach, NARROW) / last
    return Grid(float(F32(_power(scale) if scheme.power_of_two else scale)), 0, dtype)


def _power(scale):
    """The power of two from a scale up."""
    return 2.0 ** np.ceil(np.log2(scale))


def _half_away(x):
    """The nearest integers, halves away from zero."""
    x = np.asarray(x, np.float64)  # in float32 the sum itself would round 0.49999997 up
    return np.copysign(np.floor(np.abs(x) + 0.5), x)


def weight_scales(weight, scheme, per_tensor=False):
    """Scales of a weight, (O,) float32, or (1,) per tensor: its largest magnitude is 127.

    Parameters
    ----------
    weight : (O, ...) float array
    """
    reach = np.abs(weight.reshape(1 if per_tensor else len(weight), -1)).max(1).astype(F32)
    if scheme.tool == "onnx":
        return np.where(reach > 0, reach / F32(127), F32(1))
    scales = np.maximum(reach, F32(NARROW / 2)) / F32(127)
    return _power(scales.astype(np.float64)).astype(F32) if scheme.power_of_two else scales


#: How far a bias may go in its 32 bits before the weight's scale grows: half of them in TensorFlow Lite's converter.
BIAS_LIMIT = {"onnx": 2.0**31 - 1}
BIAS_LIMIT_OF_OTHERS = (2.0**31 - 1) / 2


def fit_bias(scales, bias, input_scale, scheme):
    """Scales of a weight and of the bias beside it, the weight's enlarged where the bias would not fit.

    Parameters
    ----------
    scales : (O,) or (1,) float32, of the weight
    bias : (O,) float
    input_scale : float, of the tensor that the layer reads

    Returns
    -------
    (scales of the weight, scales of the bias), both of the shape of `scales`, float32
    """
    limit = BIAS_LIMIT.get(scheme.tool, BIAS_LIMIT_OF_OTHERS)
    products = (F32(input_scale) * scales).astype(F32)
    reach = np.abs(bias).astype(np.float64)
    reach = reach if len(scales) == len(bias) else np.full(1, reach.max(initial=0.0))
    needed = reach / limit
    short = reach > limit * products.astype(np.float64)
    enlarged = (needed / float(F32(input_scale))).astype(F32)
    if scheme.power_of_two:
        enlarged = _power(np.maximum(enlarged, scales).astype(np.float64)).astype(F32)
        return np.where(short, enlarged, scales), (F32(input_scale) * np.where(short, enlarged, scales)).astype(F32)
    return np.where(short, enlarged, scales), np.where(short, needed.astype(F32), products)


def quantize_weight(weight, scales, scheme):
    """int8 integers of a weight (O, ...), halves to even, within -127..127 (-128 where scales are powers of two)."""
    steps = np.rint(weight.astype(F32) / scales.reshape(-1, *(1,) * (weight.ndim - 1)))
    return np.clip(steps, -128 if scheme.power_of_two else -127, 127).astype(np.int8)


def quantize_bias(bias, scales, scheme):
    """int32 integers of a bias (O,): by TensorFlow Lite times the reciprocal in float32, halves away from zero."""
    bias = np.asarray(bias, F32)
    if scheme.tool == "tflite":
        steps = _half_away((bias * (F32(1) / scales)).astype(F32))
    else:
        steps = np.rint((bias / scales).astype(F32))
    return np.clip(np.asarray(steps, np.float64), -(2.0**31 - 1), 2.0**31 - 1).astype(np.int32)
