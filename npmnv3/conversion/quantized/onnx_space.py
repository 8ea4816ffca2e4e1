"""What ONNX's nodes say of space: strides, padding, sides."""

from ...errors import WeightsError
from ..formats import protobuf


def space_of(node, kernel, shape):
    """{"stride", "pad"} of a Conv with a kernel (KH, KW) on a tensor of this shape."""
    told = node.attributes
    strides = told.get("strides") or (1, 1)
    if len(strides) != 2 or min(strides) < 1 or any(n > 1 for n in told.get("dilations") or ()):
        raise WeightsError(f"{node} has strides {strides} or dilation, which no network here has")
    auto = told.get("auto_pad") or "NOTSET"
    if auto == "NOTSET":
        pads = told.get("pads") or (0, 0, 0, 0)
        if len(pads) != 4:
            raise WeightsError(f"{node} has the padding {pads}")
        return {"stride": tuple(strides), "pad": (pads[0], pads[2], pads[1], pads[3])}
    if auto not in ("SAME_UPPER", "VALID") or len(shape) != 3:
        raise WeightsError(f"{node} is padded by {auto[:50]!r}, as no network here is")
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip(shape[1:], strides, kernel)]
    pad = tuple(part for total in totals for part in (total // 2, total - total // 2))
    return {"stride": tuple(strides), "pad": pad if auto == "SAME_UPPER" else (0, 0, 0, 0)}


def slid(side, kernel, stride, pad):
    """Height and width of a convolution's output."""
    ends = (pad[:2], pad[2:])
    return tuple((n + sum(end) - k) // s + 1 for n, end, k, s in zip(side, ends, kernel, stride))


def input_shape(value):
    """(C, H, W) of a graph's input of a told shape; 0 for what is not told."""
    tensor = protobuf.collect(protobuf.message(protobuf.collect(protobuf.message(value, 2)), 1))
    dims = [
        protobuf.integer(protobuf.collect(dim), 1) for dim in protobuf.collect(protobuf.message(tensor, 2)).get(1, ())
    ]
    return tuple(dims[1:])
