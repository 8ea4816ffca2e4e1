"""A convolution or a linear layer of ONNX's, between integers."""

from typing import NamedTuple

import numpy as np

from ...errors import WeightsError
from ...network.padding import output_sides
from .builder import FEW, PartlyInFloats, bias_array
from .onnx_space import space_of

WHOLE = (
    "not quantised throughout; quantise every operation (quant_pre_process of onnxruntime.quantization first; op_types_to_quantize, "
    "nodes_to_exclude; QDQ in place of QOperator), or convert to a float dump, -o NAME.h5; `npmnv3 verify` runs it as it is"
)
_NEAR = 1e-5  # relative: a float32 product, rounded in whatever order


class Weight(NamedTuple):
    """Constants that are integers. scale : None of a bias without one of its own"""

    integers: np.ndarray
    scale: object = None
    zero: np.ndarray = np.zeros(1, np.int32)
    axis: int = 0


def add_layer(graph, node, act, out, grid, source):
    """Add a layer's step to a graph's builder."""
    builder, (weight, scale, zero, _) = graph.builder, _weight(graph, node)
    if node.op == "Conv":
        fields = space_of(node, weight.shape[2:], builder.shapes[source])
    else:
        fields, weight = {"stride": (1, 1), "pad": (0, 0, 0, 0)}, weight[:, :, None, None]
    group = node.attributes.get("group", 1)
    if group not in (1, len(weight)) or (group > 1 and weight.shape[1] != 1):
        raise WeightsError(f"{node} has {group} groups, which no network here has")
    op, weight = builder.layer_op(source, weight, depthwise=group > 1, strides=fields["stride"], pads=fields["pad"])
    scale = scale.reshape(-1)
    arrays = {
        "weight": weight,
        "bias": _bias(graph, node, out, np.float32(builder.grids[source].scale) * scale, len(weight)),
        "weight_scale": scale,
        "weight_zero_point": zero.reshape(-1).astype(np.int32),
    }
    if op in ("linear", "pointwise_conv2d"):
        shape, fields = (len(weight), *builder.shapes[source][1:]), {}
    else:
        sides = output_sides(builder.shapes[source][1:], weight.shape[-2:], fields["stride"], fields["pad"])
        shape = len(weight), *sides
    builder.add(out, op, (source,), shape, grid, arrays, act=act, **fields)


def _weight(graph, node):
    """The Weight of a layer, output channels first."""
    attributes, name = node.attributes, (*node.inputs, "")[1]
    found = graph.weights.get(name)
    if found is None and graph.constant(name) is not None:
        raise PartlyInFloats(f"{node} has weights in floats: {WHOLE}")
    scaled = attributes.get("alpha", 1.0) != 1 or attributes.get("beta", 1.0) != 1 or attributes.get("transA")
    if found is None or found.scale is None or scaled:
        raise WeightsError(f"{node} has weights that are no quantised constants, or scales its product or its bias")
    if found.integers.dtype.itemsize > 1:
        raise WeightsError(
            f"{node} has weights of {found.integers.dtype}, of which no kernel set computes: quantise them to 8 bits, or convert to "
            "a float dump, -o NAME.h5"
        )
    weight, scale = found.integers.T if node.inputs_first else found.integers, found.scale
    if weight.ndim != (4 if node.op == "Conv" else 2):
        raise WeightsError(f"{node} has weights {weight.shape}")
    of_q_operator = node.inputs[0].startswith(f"{node.outputs[0]} reads ")  # whose scales need no axis
    elsewhere = not of_q_operator and found.axis % weight.ndim != node.inputs_first
    if scale.size > 1 and (scale.size != len(weight) or elsewhere):
        raise WeightsError(
            f"{node} has weights {weight.shape} with {scale.size} scales along axis {found.axis}, expected {len(weight)} "
            "along the output channels, or one"
        )
    return found._replace(integers=weight)


def _bias(graph, node, out, scale, count):
    """A layer's int32 bias; what it loses as such is noted under the step's name. `scale` is that of its sums."""
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    stored = graph.weights.get(name)
    if not name:
        return bias_array(name, None, count)
    if stored is None:
        real = graph.constant(name)
        if real.dtype.kind != "f" or real.size != count or not (np.abs(real) < scale * 2.0**31).all():
            raise WeightsError(
                f"{node} has the bias {name[:FEW]!r}, {real.dtype} {real.shape}, expected {count} int32 or floats"
            )
        graph.builder.notes.append("biases are floats in it: rounded to int32 as ONNX Runtime does when it loads it")
        bias = np.rint(real.astype(np.float32).reshape(count) / scale).astype(np.int32)
        graph.builder.bias_rests[out] = real.reshape(count) / scale.astype(np.float64) - bias
        return bias
    if stored.scale is not None:
        _check_bias_grid(node, stored, scale, count)
    return bias_array(name, stored.integers, count)


def _check_bias_grid(node, bias, scale, count):
    if bias.scale.size not in (1, count):
        raise WeightsError(f"{node} has a bias with {bias.scale.size} scales, expected {count}, or one")
    found, wanted = (np.broadcast_to(part.ravel(), count) for part in (bias.scale, scale))
    off = np.abs(found - wanted)
    channel = int(np.argmax(off - _NEAR * wanted))
    if bias.zero.any() or not off[channel] <= _NEAR * wanted[channel]:
        raise WeightsError(
            f"{node} has a bias of the scale {found[channel]:.6g} in channel {channel} and of zero points up to "
            f"{np.abs(bias.zero).max()}, expected {wanted[channel]:.6g}, its input's times its weights', and 0"
        )
