"""A convolution or a linear layer of TensorFlow Lite's, between integers."""

import numpy as np

from ...errors import WeightsError
from ...network.integer_plan import OF_VECTORS
from ...network.padding import same_padding
from ..formats.tflite_tensors import Op, channels_first, window
from .builder import FEW, bias_array


def add_layer(graph, code, inputs, output, options, name, source):
    """Add a layer's step to a graph's builder."""
    tensors, builder = graph.tensors, graph.builder
    weight = tensors.array(inputs[1]) if len(inputs) > 1 else None
    if weight is None or weight.ndim != (2 if code == Op.DENSE else 4) or options is None:
        raise WeightsError(f"the tensor {name[:FEW]!r} has weights that are no constants")
    scale = _weight_scale(tensors, code, inputs[1], weight)
    weight, fields, act = _placed(builder, code, weight, options, source)
    op, weight = builder.layer_op(
        source, weight, depthwise=code == Op.DEPTHWISE, strides=fields["stride"], pads=fields["pad"]
    )
    if code == Op.DENSE:
        op = "fully_connected"
    if op in OF_VECTORS:
        fields = {}
    bias = tensors.array(inputs[2]) if len(inputs) > 2 else None
    arrays = {"weight": weight, "bias": bias_array(name, bias, len(weight)), **scale}
    shape = (len(weight),) if op in OF_VECTORS else graph.shape(output)
    builder.add(name, op, (source,), shape, graph.grid(output), arrays, act=graph.act(act, name), **fields)


def _weight_scale(tensors, code, index, weight):
    name, quantization = tensors.name(index), tensors.scale(index)
    if quantization is None or weight.dtype not in (np.int8, np.uint8):
        raise WeightsError(f"the weights {name[:FEW]!r} are {weight.dtype} without a scale: not quantised")
    scale, zero, axis = quantization
    expected = 3 if code == Op.DEPTHWISE else 0
    if scale.size > 1 and (axis != expected or scale.size != weight.shape[expected]):
        raise WeightsError(
            f"the weights {name[:FEW]!r} {weight.shape} have {scale.size} scales along axis {axis}, expected "
            f"{weight.shape[expected]} along axis {expected}, or one"
        )
    if zero.size not in (1, scale.size) or np.abs(zero).max() > 255:
        raise WeightsError(f"the weights {name[:FEW]!r} have {zero.size} zero points up to {np.abs(zero).max()}")
    return {"weight_scale": scale, "weight_zero_point": zero.astype(np.int32)}


def _placed(builder, code, weight, options, source):
    """(weight (O, I, KH, KW), stride and padding, fused activation)."""
    if code == Op.DENSE:
        return weight[:, :, None, None], {"stride": (1, 1), "pad": (0, 0, 0, 0)}, options.number(0, "b")
    weight = channels_first(weight, code == Op.DEPTHWISE)
    stride, same, act = window(options, code == Op.DEPTHWISE)
    shape, pad = builder.shapes[source], (0, 0, 0, 0)
    if min(stride) < 1:
        raise WeightsError(f"a convolution with the stride {stride}: damaged")
    if same and len(shape) == 3:
        pad = sum(same_padding(shape[1:], weight.shape[2:], stride), ())
    return weight, {"stride": stride, "pad": pad}, act
