"""The operations as plain loops, compiled by Numba: twins of the NumPy definitions, with their names and signatures.

Arrays are (N, C, H, W) or (N, C), float32 or float64. In memory the channels of a pixel lie side by side: a result is
an (N, C, H, W) view of an array (N, H, W, C), which the next operation takes without a copy. What lies otherwise is
copied once, weights too; a weight that is a view of an array in its loop's order is not.

An operation is a thin function of NumPy arrays, with the loop that does its work below. What NumPy itself does in one
pass over the numbers as they lie (scale, add, the gates' hard-sigmoid) is left to it: every loop takes time to compile.

Those of convolutions and linear layers are in `layer_loops`.
"""

import numpy as np

from .jit import as_contiguous, as_input, as_pixels, channels_first, channels_last, loop
from .layer_loops import conv2d, depthwise_conv2d, in_loop_order, linear, pointwise_conv2d
from .pages import empty

# fmt: off
__all__ = [
    "add", "batch_norm", "conv2d", "depthwise_conv2d", "global_avg_pool", "hard_sigmoid", "hard_swish", "identity",
    "in_loop_order", "linear", "max_pool2d", "mul", "norm_act", "pointwise_conv2d", "relu", "scale",
]
# fmt: on


def batch_norm(x, gamma, beta, mean, variance, *, eps):
    """(x - mean) / sqrt(variance + eps) * gamma + beta, a channel at a time; x (N, C, H, W) or (N, C)."""
    factor, pixels = gamma / np.sqrt(variance + np.asarray(eps, x.dtype)), as_pixels(x)
    out = empty(pixels.shape, x.dtype)
    rows = (-1, len(gamma))
    _batch_norm(pixels.reshape(rows), as_input(mean), as_input(factor), as_input(beta), out.reshape(rows))
    return channels_first(out)


@loop
def _batch_norm(x, mean, factor, beta, out):
    pixels, c = x.shape
    for p in range(pixels):
        for k in range(c):
            out[p, k] = (x[p, k] - mean[k]) * factor[k] + beta[k]


def norm_act(x, factor, offset, *, act):
    """x * factor + offset, a channel at a time, then act ("", "relu" or "hard_swish"): one pass, in place; gives x."""
    pixels = as_contiguous(channels_last(x))
    kind = ("", "relu", "hard_swish").index(act)
    _norm_act(pixels.reshape(-1, len(factor)), as_input(factor), as_input(offset), kind)
    if not np.may_share_memory(pixels, x):  # x lay otherwise, and was copied
        x[...] = channels_first(pixels)
    return x


@loop
def _norm_act(x, factor, offset, act):
    """x (P, C), factor and offset (C,). Comparisons leave NaN what it is."""
    (pixels, c), number = x.shape, x.dtype.type
    zero, three, six = number(0), number(3), number(6)
    if act == 0:
        for p in range(pixels):
            for k in range(c):
                x[p, k] = x[p, k] * factor[k] + offset[k]
    elif act == 1:  # ReLU
        for p in range(pixels):
            for k in range(c):
                y = x[p, k] * factor[k] + offset[k]
                x[p, k] = zero if y < zero else y
    else:  # hard-swish
        for p in range(pixels):
            for k in range(c):
                y = x[p, k] * factor[k] + offset[k]
                gate = y + three
                x[p, k] = y * (zero if gate < zero else six if gate > six else gate) / six


def relu(x):
    """max(x, 0); NaN stays NaN."""
    return _each_number(_relu, x)


@loop
def _relu(x, out):
    zero = x.dtype.type(0)
    for p in range(x.size):
        out[p] = zero if x[p] < zero else x[p]


def hard_swish(x):
    """x * clip(x + 3, 0, 6) / 6."""
    return _each_number(_hard_swish, x)


@loop
def _hard_swish(x, out):
    number = x.dtype.type
    zero, three, six = number(0), number(3), number(6)
    for p in range(x.size):
        gate = x[p] + three
        out[p] = x[p] * (zero if gate < zero else six if gate > six else gate) / six


def _each_number(work, x):
    """A loop over the numbers of x as they lie in memory, whatever they are."""
    pixels = as_pixels(x)
    out = empty(pixels.shape, x.dtype)
    work(pixels.reshape(-1), out.reshape(-1))
    return channels_first(out)


def hard_sigmoid(x, *, slope):
    """clip(slope * x + 0.5, 0, 1). Its inputs are gates, (N, C): no loop would gain anything."""
    out = as_pixels(x) * np.asarray(slope, x.dtype) + np.asarray(0.5, x.dtype)
    return channels_first(np.minimum(np.maximum(out, 0), 1))


def global_avg_pool(x):
    """Mean over the pixels: (N, C, H, W) -> (N, C)."""
    out = np.empty(x.shape[:2], x.dtype)
    _global_avg_pool(as_pixels(x), out)
    return out


@loop
def _global_avg_pool(x, out):
    """x (N, H, W, C). The sums of the rows are added: the error of one sum over all pixels would grow faster."""
    n, h, w, c = x.shape
    row, pixels = np.empty_like(x[0, 0, 0]), x.dtype.type(h * w)
    for i in range(n):
        for k in range(c):
            out[i, k] = 0
        for y in range(h):
            for k in range(c):
                row[k] = 0
            for z in range(w):
                for k in range(c):
                    row[k] += x[i, y, z, k]
            for k in range(c):
                out[i, k] += row[k]
        for k in range(c):
            out[i, k] /= pixels


def max_pool2d(x, *, kernel):
    """Largest of each kernel x kernel square, squares side by side; what is left over at the border is dropped."""
    pixels, (n, c, h, w) = as_pixels(x), x.shape
    oh, ow = h // kernel, w // kernel
    squares = pixels[:, : oh * kernel, : ow * kernel].reshape(n, oh, kernel, ow, kernel, c)
    return channels_first(squares.max(axis=(2, 4)))


def scale(x, *, factor):
    """x times a constant."""
    return channels_first(as_pixels(x) * np.asarray(factor, x.dtype))


def mul(x, gate):
    """Each channel of x (N, C, H, W) times its gate (N, C): the end of squeeze-and-excitation."""
    n, c, h, w = x.shape
    out = empty((n, h, w, c), x.dtype)
    _mul(as_pixels(x).reshape(n, h * w, c), as_input(gate), out.reshape(n, h * w, c))
    return channels_first(out)


@loop
def _mul(x, gate, out):
    """x (N, P, C), gate (N, C)."""
    n, pixels, c = x.shape
    for i in range(n):
        for p in range(pixels):
            for k in range(c):
                out[i, p, k] = x[i, p, k] * gate[i, k]


def add(x, y):
    """The sum of two tensors of one shape."""
    x, y = as_pixels(x), as_pixels(y)
    return channels_first(np.add(x, y, out=empty(x.shape, x.dtype)))


def identity(x):
    """Its input, by another name."""
    return x
