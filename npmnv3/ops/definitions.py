"""The operations in NumPy: the definition, and the oracle for everything faster.

Arrays are (N, C, H, W) or, pooled, (N, C), float32 or float64; a result has its input's dtype, and inputs stay as they
are. NaN and infinity pass through. Convolutions correlate (no flipped kernels), as all frameworks do.
"""

import math

import numpy as np

#: Numbers that a convolution works on at a time, beside its input and output, so that they stay in the cache; and of
#: small maps, where hundreds of calls on a few numbers each would cost more than the sums.
ROOM = 1 << 18
LEAST_ROOM = 1 << 14

#: The fewest channels in a group that come last in memory.
LEAST_LOOP = 48


def pad2d(x, pad):
    """Add `pad` = (top, bottom, left, right) pixels of zeros round (N, C, H, W)."""
    if not any(pad):
        return x
    top, bottom, left, right = pad
    n, c, h, w = x.shape
    out = np.zeros((n, c, h + top + bottom, w + left + right), x.dtype)
    out[:, :, top : top + h, left : left + w] = x
    return out


def conv2d(x, weight, bias=None, *, stride=(1, 1), pad=(0, 0, 0, 0)):
    """Correlate all channels with a bank of kernels.

    Parameters
    ----------
    x : (N, C, H, W)
    weight : (O, C, KH, KW), dtype of x
    bias : (O,), dtype of x, or None
    stride : (height, width), pixels
    pad : (top, bottom, left, right), pixels of zeros

    Returns
    -------
    (N, O, OH, OW); OH = (H + top + bottom - KH) // stride + 1
    """
    (n, _, h, w), (o, c, kh, kw), (sh, sw) = x.shape, weight.shape, stride
    oh, ow = (h + pad[0] + pad[1] - kh) // sh + 1, (w + pad[2] + pad[3] - kw) // sw + 1
    out = np.empty((n, o, oh, ow), x.dtype)
    band = max(1, _room(x.shape[1:], out.shape[1:]) // _conv2d_row(weight.shape, ow, stride))
    for top in range(0, oh, band):
        part = out[:, :, top : top + band]
        first, last = top * sh - pad[0], (top + part.shape[2] - 1) * sh - pad[0] + kh
        start, stop = min(max(first, 0), h), max(min(last, h), 0)
        rows = pad2d(x[:, :, start:stop], (start - first, last - stop, *pad[2:]))
        windows = np.lib.stride_tricks.sliding_window_view(rows, (kh, kw), axis=(2, 3))[:, :, ::sh, ::sw]
        columns = windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kh * kw, part.shape[2] * ow)
        part[...] = np.matmul(weight.reshape(o, -1), columns).reshape(part.shape)
        del rows, windows, columns  # before the next band's are made: only one band is held at a time
    return _add_bias(out, bias)


def _conv2d_row(shape, ow, stride):
    """Numbers that `conv2d` works on for a row of output: columns, product, and the rows of the padded picture."""
    o, c, kh, kw = shape
    return (c * kh * kw + o) * ow + c * stride[0] * (ow * stride[1] + kw)


def pointwise_conv2d(x, weight, bias=None):
    """1x1 convolution: a matrix product over the channels of each pixel.

    Parameters
    ----------
    x : (N, C, H, W)
    weight : (O, C), dtype of x
    bias : (O,), dtype of x, or None

    Returns
    -------
    (N, O, H, W)
    """
    n, c, h, w = x.shape
    return _add_bias(np.matmul(weight, x.reshape(n, c, h * w)).reshape(n, len(weight), h, w), bias)


def depthwise_conv2d(x, weight, bias=None, *, stride=(1, 1), pad=(0, 0, 0, 0)):
    """Correlate each channel with its own kernel.

    Parameters
    ----------
    x : (N, C, H, W)
    weight : (C, KH, KW), dtype of x
    bias : (C,), dtype of x, or None
    stride : (height, width), pixels
    pad : (top, bottom, left, right), pixels of zeros

    Returns
    -------
    (N, C, OH, OW); OH = (H + top + bottom - KH) // stride + 1

    Source: Howard et al. 2017, arXiv:1704.04861, section 3.1
    """
    n, c, h, w = x.shape
    oh = (h + pad[0] + pad[1] - weight.shape[1]) // stride[0] + 1
    ow = (w + pad[2] + pad[3] - weight.shape[2]) // stride[1] + 1
    out = np.empty((n, c, oh, ow), x.dtype)
    last, groups, _ = _depthwise_groups(x.shape[1:], weight.shape[1:], out.shape[1:], stride)
    of_group = _depthwise_of_pixels if last else _depthwise_of_maps
    for i in range(n):
        for group in range(groups):
            part = slice(c * group // groups, c * (group + 1) // groups)
            of_group(x[i, part], weight[part], stride, pad, out[i, part])
    return _add_bias(out, bias)


def _depthwise_groups(shape, kernel, out, stride):
    """How channels are worked on: (last or first in memory, in how many groups, numbers worked on for each of them).

    Last, where many of them fit in, since NumPy's loops are then as long: on the padded picture, unless most of it is
    border, the taps and the sums. First, on padded picture and phases, then on phases and two sums.
    """
    (c, oh, ow), (kh, kw), (sh, sw) = out, kernel, stride
    pixels = max(math.prod(shape[1:]), oh * ow)
    padded = ((oh - 1) * sh + kh) * ((ow - 1) * sw + kw) + kh * kw + oh * ow
    groups = -(-c // max(1, min(ROOM, 3 * c * pixels // 2) // padded))
    if padded <= 4 * pixels and c >= LEAST_LOOP * groups:
        return True, groups, padded
    rows, width = oh + (kh - 1) // sh + 1, ow + (kw - 1) // sw
    phases, sums = rows * width * min(sh, kh) * min(sw, kw), 2 * oh * width
    maps = phases + (sums if stride == (1, 1) else max(sums, rows * sh * width * sw))
    return False, -(-c // max(1, _room(shape, out) // maps)), maps


def _depthwise_of_pixels(x, weight, stride, pad, out):
    """Sum of the pixels under each tap, channels last, for a few channels (C, H, W) of one picture."""
    (c, oh, ow), (kh, kw), (sh, sw) = out.shape, weight.shape[1:], stride
    padded = np.zeros(((oh - 1) * sh + kh, (ow - 1) * sw + kw, c), x.dtype)
    fits = padded[pad[0] : pad[0] + x.shape[1], pad[2] : pad[2] + x.shape[2]]
    fits[...] = x[:, : fits.shape[0], : fits.shape[1]].transpose(1, 2, 0)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(0, 1))[::sh, ::sw]
    taps = np.ascontiguousarray(weight.transpose(1, 2, 0))
    out[...] = np.einsum("yxcij,ijc->yxc", windows, taps).transpose(2, 0, 1)


def _depthwise_of_maps(x, weight, stride, pad, out):
    """Sum of shifted pictures, one a tap, for a few channels (C, H, W) of one picture.

    A stride is undone first: `phases[p, q]` holds every stride-th row from p and column from q. In the flat rows of a
    phase a tap is an offset, so one long slice serves all rows; what it computes beyond a row's end is cut off.
    """
    (c, oh, ow), (kh, kw), (sh, sw) = out.shape, weight.shape[1:], stride
    rows, width = oh + (kh - 1) // sh + 1, ow + (kw - 1) // sw  # one row more than needed: the last tap runs over
    padded = np.zeros((c, rows * sh, width * sw), x.dtype)
    fits = padded[:, pad[0] : pad[0] + x.shape[1], pad[2] : pad[2] + x.shape[2]]
    fits[...] = x[:, : fits.shape[1], : fits.shape[2]]
    phases = {
        (p, q): np.ascontiguousarray(padded[:, p::sh, q::sw]).reshape(c, -1)
        for p in range(min(sh, kh))
        for q in range(min(sw, kw))
    }
    del padded, fits
    total = np.zeros((c, oh * width), x.dtype)
    product = np.empty_like(total)
    for i in range(kh):
        for j in range(kw):
            start = i // sh * width + j // sw
            shifted = phases[i % sh, j % sw][:, start : start + oh * width]
            total += np.multiply(shifted, weight[:, i, j, None], out=product)
    out[...] = total.reshape(c, oh, width)[:, :, :ow]


def linear(x, weight, bias=None):
    """x (N, C) times weight (O, C) transposed, plus bias (O,) or None: (N, O)."""
    return _add_bias(x @ weight.T, bias)


def _add_bias(out, bias):
    if bias is not None:
        out += bias.reshape(-1, *(1,) * (out.ndim - 2))
    return out


def batch_norm(x, gamma, beta, mean, variance, *, eps):
    """(x - mean) / sqrt(variance + eps) * gamma + beta, a channel at a time; x (N, C, H, W) or (N, C)."""
    scale = gamma / np.sqrt(variance + np.asarray(eps, x.dtype))
    axes = (-1, *(1,) * (x.ndim - 2))
    return (x - mean.reshape(axes)) * scale.reshape(axes) + beta.reshape(axes)


def norm_act(x, factor, offset, *, act):
    """A batch norm as inference has it, x * factor + offset a channel, then an activation; IN PLACE, and the quicker
    way.

    Parameters
    ----------
    x : (N, C, H, W) or (N, C); is overwritten
    factor, offset : (C,), dtype of x; see `network.folding.norm_line`
    act : "" (none), "relu" or "hard_swish"

    Returns
    -------
    x
    """
    axes = (-1, *(1,) * (x.ndim - 2))
    x *= factor.reshape(axes)
    x += offset.reshape(axes)
    if act == "relu":
        np.maximum(x, 0, out=x)
    elif act == "hard_swish":
        clipped = x + 3
        x *= np.clip(clipped, 0, 6, out=clipped)
        x /= 6
    return x


def relu(x):
    """max(x, 0); NaN stays NaN."""
    return np.maximum(x, 0)


def hard_swish(x):
    """x * clip(x + 3, 0, 6) / 6.

    Source: Howard et al. 2019, arXiv:1905.02244, section 5.2
    """
    y = x + 3
    np.clip(y, 0, 6, out=y)
    y *= x
    y /= 6
    return y


def hard_sigmoid(x, *, slope):
    """clip(slope * x + 0.5, 0, 1): slope 1/6 as in the paper, 0.2 in PaddlePaddle."""
    return np.clip(x * np.asarray(slope, x.dtype) + np.asarray(0.5, x.dtype), 0, 1)


def global_avg_pool(x):
    """Mean over the pixels: (N, C, H, W) -> (N, C)."""
    return x.mean(axis=(2, 3))


def max_pool2d(x, *, kernel):
    """Largest of each kernel x kernel square, squares side by side; what is left over at the border is dropped."""
    n, c, h, w = x.shape
    oh, ow = h // kernel, w // kernel
    squares = x[:, :, : oh * kernel, : ow * kernel].reshape(n, c, oh, kernel, ow, kernel)
    return squares.max(axis=(3, 5))


def scale(x, *, factor):
    """x times a constant."""
    return x * np.asarray(factor, x.dtype)


def mul(x, gate):
    """Each channel of x (N, C, H, W) times its gate (N, C)."""
    return x * gate[:, :, None, None]


def add(x, y):
    """The sum of two tensors of one shape."""
    return x + y


def identity(x):
    """Its input, by another name."""
    return x


# How much the convolutions work on at a time


def _room(shape, out):
    """Numbers to work on at a time: fewer than a large map (C, H, W) has, so that memory stays small as well."""
    return min(ROOM, max(LEAST_ROOM, math.prod(shape) * 3 // 4, math.prod(out) * 3 // 4))


def conv2d_scratch(shape, weight, out, stride):
    """Numbers that `conv2d` holds for a picture beside input and output.

    Parameters
    ----------
    shape, weight, out : of the input (C, H, W), the weight (O, C, KH, KW) and the output (O, OH, OW)
    stride : (height, width), pixels
    """
    row = _conv2d_row(weight, out[2], stride)
    return min(out[1], max(1, _room(shape, out) // row)) * row + weight[1] * weight[2] * (
        out[2] * stride[1] + weight[3]
    )


def depthwise_conv2d_scratch(shape, weight, out, stride):
    """The same of `depthwise_conv2d`; weight is (C, KH, KW)."""
    _, groups, of_channel = _depthwise_groups(shape, weight[1:], out, stride)
    return -(-out[0] // groups) * of_channel
