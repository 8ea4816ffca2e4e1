"""What ONNX's nodes say of space: strides, padding, sides, where the channels are."""

from ...errors import WeightsError
from ...network.padding import same_padding
from ..formats import protobuf
from ..formats.onnx_folding import DEQUANTIZE, QUANTIZE
from ..formats.onnx_qoperators import NHWC_POOL

TRANSPOSE = "Transpose"
_PERMUTATIONS = {True: (0, 2, 3, 1), False: (0, 3, 1, 2)}  # to channels last, to channels first
#: Operations on one number after another, wherever the channels are.
_EACH_NUMBER = (
    QUANTIZE,
    DEQUANTIZE,
    "Add",
    "Mul",
    "QLinearAdd",
    "QLinearMul",
    "HardSigmoid",
    "HardSwish",
    "Relu",
    "Clip",
    "Identity",
)


def space_of(node, kernel, shape):
    """{"stride", "pad"} of a Conv with a kernel (KH, KW) on a tensor of this shape."""
    attributes = node.attributes
    strides = attributes.get("strides") or (1, 1)
    if len(strides) != 2 or min(strides) < 1 or any(n > 1 for n in attributes.get("dilations") or ()):
        raise WeightsError(f"{node} has strides {strides} or dilation, which no network here has")
    auto = attributes.get("auto_pad") or "NOTSET"
    if auto == "NOTSET":
        pads = attributes.get("pads") or (0, 0, 0, 0)
        if len(pads) != 4:
            raise WeightsError(f"{node} has the padding {pads}")
        return {"stride": tuple(strides), "pad": (pads[0], pads[2], pads[1], pads[3])}
    if auto not in ("SAME_UPPER", "VALID") or len(shape) != 3:
        raise WeightsError(f"{node} is padded by {auto[:50]!r}, as no network here is")
    pad = sum(same_padding(shape[1:], kernel, strides), ()) if auto == "SAME_UPPER" else (0, 0, 0, 0)
    return {"stride": tuple(strides), "pad": pad}


def input_shape(value):
    """(C, H, W) of a graph's input of a told shape; 0 for what is not told."""
    tensor = protobuf.collect(protobuf.message(protobuf.collect(protobuf.message(value, 2)), 1))
    dims = [
        protobuf.integer(protobuf.collect(dim), 1) for dim in protobuf.collect(protobuf.message(tensor, 2)).get(1, ())
    ]
    return tuple(dims[1:])


def channels_first(node, shape):
    """(C, H, W) of an input (H, W, C) that a graph lays out anew before all else."""
    if node.attributes.get("perm") != _PERMUTATIONS[False] or len(shape) != 3:
        raise WeightsError(
            f"{node} permutes the input's axes by {node.attributes.get('perm')}, as no network here does"
        )
    return shape[2], *shape[:2]


def _takes_last(node):
    return node.op == NHWC_POOL or bool(node.attributes.get("channels_last"))


class Layouts:
    """Which tensors have their channels last, as ONNX Runtime's optimiser lays them out (ORT_ENABLE_ALL).

    last : their names
    """

    def __init__(self):
        self.last = set()

    def axes(self, name):
        """Where a tensor's height and width are."""
        return [1, 2] if name in self.last else [2, 3]

    def follow(self, node, reads):
        """Note how a node lays out what it gives.

        reads : the names of those of its inputs for which it matters

        Raises
        ------
        WeightsError
            It takes its channels elsewhere than they are, or turns height and width.
        """
        found = {name in self.last for name in reads}
        if not found or node.op == "ReduceMean":
            return
        last = found == {True}
        if node.op == TRANSPOSE:
            last = not last
            if node.attributes.get("perm") != _PERMUTATIONS[last]:
                raise WeightsError(f"{node} permutes axes by {node.attributes.get('perm')}, as no network here does")
        elif len(found) > 1 or (last and node.op not in _EACH_NUMBER) != _takes_last(node):
            raise WeightsError(
                f"{node} takes channels where they are not, or reads some first and some last: save the model without ONNX "
                "Runtime's changes of layout (ORT_ENABLE_EXTENDED)"
            )
        if last:
            self.last.update(node.outputs)
