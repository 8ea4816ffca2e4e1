"""What ONNX nodes make of constants: elements in another shape, repeated, or taken out of their quantised form."""

import math

import numpy as np

from ...errors import WeightsError

SAME_ELEMENTS = ("Identity", "Dropout", "Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
ABOUT_SHAPES = ("Shape", "Slice", "Gather", "Concat", "ConstantOfShape", "Cast")
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
QUANTIZED_TYPES = {2: "uint8", 3: "int8"}  # of onnx.TensorProto's numbers of types
KEEP = (
    "`npmnv3 convert FILE -o NAME.npz` keeps the integers of a file that is quantised throughout, its weights to 8 bits"
)
MAX_ELEMENTS = 1 << 24  # of what is repeated


def fold(node, inputs):
    """The array that a node gives for constant inputs; None for anything that computes.

    Raises
    ------
    WeightsError
        It cannot be done.
    """
    value = inputs[0]
    try:
        if node.op == "Transpose":
            return value.transpose(node.attributes.get("perm"))
        if node.op == "Reshape":
            return value.reshape([value.shape[i] if n == 0 else int(n) for i, n in enumerate(inputs[1].ravel()[:8])])
        if node.op == "Shape":
            return np.array(value.shape, np.int64)
        if node.op == "Expand":
            return _expanded(value, [int(n) for n in inputs[1].ravel()[:8]])
        if node.op in (QUANTIZE, DEQUANTIZE):
            function = quantized if node.op == QUANTIZE else dequantized
            return function(value, inputs[1], inputs[2] if len(inputs) > 2 else None, node.attributes.get("axis", 1))
    except (ValueError, IndexError, TypeError, OverflowError) as error:
        raise WeightsError(f"{node} cannot be done: {error}") from error
    return value if node.op in SAME_ELEMENTS else None


def _expanded(value, shape):
    if len(shape) == 1 and shape[0] > 1 and value.size == 1:
        shape = [shape[0]]
    if math.prod(max(n, 1) for n in shape) > MAX_ELEMENTS:
        raise ValueError(f"it would have more than {MAX_ELEMENTS} elements")
    return np.broadcast_to(value, np.broadcast_shapes(value.shape, tuple(shape)))


def quantized(value, scale, zero_point=None, axis=1):
    """value / scale + zero point, to the nearest even, cut at the ends of the zero point's integers (uint8 without one)."""
    if value.dtype.kind != "f" or scale.dtype.kind != "f" or not (scale > 0).all():
        raise ValueError(f"{value.dtype} with a scale of {scale.dtype} is not to be quantised")
    zero = np.zeros((), np.uint8) if zero_point is None else zero_point
    whole = np.rint(value / _along(scale, value.ndim, axis)) + _along(zero, value.ndim, axis)
    ends = np.iinfo(zero.dtype)
    return np.clip(whole, ends.min, ends.max).astype(zero.dtype)


def dequantized(value, scale, zero_point=None, axis=1):
    """(value - zero point) * scale in float32; scale and zero point single numbers or one an index of `axis`."""
    if value.dtype.kind not in "iu" or scale.dtype.kind != "f":
        raise ValueError(f"{value.dtype} with a scale of {scale.dtype} is not quantised")
    zero = 0 if zero_point is None else _along(zero_point.astype(np.int64), value.ndim, axis)
    return (value.astype(np.int64) - zero).astype(np.float32) * _along(scale.astype(np.float32), value.ndim, axis)


def _along(numbers, ndim, axis):
    """One number, or one an index of an axis, in a shape that fits to an array of so many axes."""
    shape = [1] * ndim if numbers.size > 1 else []
    if shape:
        shape[axis] = numbers.size
    return numbers.reshape(shape)
