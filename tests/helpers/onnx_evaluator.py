"""onnx's own reference evaluator, with a convolution that ends in time where onnx's is a loop over pixels (1.14's is)."""

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_conv


class Conv(OpRun):
    """ONNX's operator Conv of four-dimensional pictures with explicit padding, as the exporter writes it."""

    def _run(
        self, x, w, b=None, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, pads=None, strides=None
    ):
        assert auto_pad in (None, "NOTSET") and set(dilations or [1]) == {1}, (auto_pad, dilations)
        assert kernel_shape is None or tuple(kernel_shape) == w.shape[2:], (kernel_shape, w.shape)
        top, left, bottom, right = pads or (0, 0, 0, 0)
        down, across = strides or (1, 1)
        padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], (2, 3))[:, :, ::down, ::across]
        windows = windows.reshape(len(x), group, -1, *windows.shape[2:])
        kernels = w.reshape(group, -1, *w.shape[1:])
        sums = np.einsum("bgcyxij,gocij->bgoyx", windows, kernels, optimize=True)
        sums = sums.reshape(len(x), len(w), *sums.shape[3:])
        return (sums if b is None else sums + b[:, None, None],)


def run_all(proto, x):
    """{tensor's name: array} of every node's output, given the graph's `input`."""
    names = [name for node in proto.graph.node for name in node.output]
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    slow = hasattr(op_conv, "im2col_naive_implementation")
    evaluator = ReferenceEvaluator(shown, new_ops=[Conv] if slow else None)
    return dict(zip(names, evaluator.run(names, {"input": x}), strict=True))
