"""What a frozen integer classifier does: the pictures' part is `runtime`'s, the arithmetic that of `ops.integers`.

`compose_integers` copies from here what a network and its kernel set need. What differs from one frozen file to the next is
generated there; here such names are stand-ins.
"""

import base64
import os
import sys
from types import SimpleNamespace

import numpy as np

from ..ops.definitions import conv2d, depthwise_conv2d, linear, max_pool2d, pointwise_conv2d
from ..ops.grids import Grid
from ..ops.integers import (
    add,
    exact_weight,
    global_avg_pool,
    hard_sigmoid,
    hard_swish,
    layer,
    mean_to_vector,
    mul,
    relu,
    scale,
)
from ..ops.saturation import saturates, saturating_pairs
from ..pictures.decode import turn
from ..pictures.pixels import centre, line_of_text, luminance, normalise, short_side, short_side_opencv, squashed
from ..pictures.plain import check_size
from ..pictures.resample import opencv_linear, pillow
from .runtime import classify, main

#: What the generated code may use beside this module's own functions.
__all__ = [
    "Grid",
    "SimpleNamespace",
    "add",
    "base64",
    "centre",
    "check_size",
    "classify",
    "conv2d",
    "depthwise_conv2d",
    "global_avg_pool",
    "hard_sigmoid",
    "hard_swish",
    "layer",
    "line_of_text",
    "linear",
    "luminance",
    "main",
    "max_pool2d",
    "mean_to_vector",
    "mul",
    "normalise",
    "opencv_linear",
    "os",
    "pillow",
    "pointwise_conv2d",
    "relu",
    "scale",
    "short_side",
    "short_side_opencv",
    "squashed",
    "sys",
    "turn",
]

GRIDS = {}
KERNELS = SimpleNamespace()
LAYERS = {}


def between(*names):
    """The grids of an operation's inputs and, last, its output, and the kernels whose rules it follows."""
    *inputs, out = (GRIDS[name] for name in names)
    source = {"grid": inputs[0]} if len(inputs) == 1 else {"grids": inputs}
    return {**source, "out": out, "kernels": KERNELS}


def unpack_integers(data):
    """{layer: (weight in floats, bias, scales of the weight, Pairs that saturate or None)}.

    They lie in `data` one after another.
    """
    record = [
        (name, [("weight", kind, shape), ("bias", "<i4", shape[:1]), ("scale", "<f4", (n,)), ("zero", "<i2", (zeros,))])
        for name, (_, _, kind, shape, n, zeros) in LAYERS.items()
    ]
    layers, unpacked = np.frombuffer(data, np.dtype(record))[0], {}
    for name, (op, source, kind, *_) in LAYERS.items():
        arrays = zip(layers[name], (kind, np.int32, np.float32, np.int32))
        weight, bias, scale, zero = (np.array(array, dtype) for array, dtype in arrays)
        grid = GRIDS[source]
        saturating = saturating_pairs(weight) if saturates(op, weight, grid, GRIDS[name], KERNELS) else None
        unpacked[name] = exact_weight(weight, zero, grid), bias, scale, saturating
    return unpacked
