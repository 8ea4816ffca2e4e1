"""The loops of convolutions and linear layers, which are the work of a network; see `loops`.

A long sum is as many sums as a vector has lanes, or more, added at the end: its error grows more slowly. It has the
same order wherever the pixel lies, so a picture has the same bits in any batch.
"""

import numpy as np

from .jit import as_input, as_pixels, channels_first, loop
from .pages import empty

#: Channels up to which a product runs along the outputs: sums along so few channels are over before they are quick.
FEW = 80


def _bias(weight, bias):
    return as_input(np.zeros(len(weight), weight.dtype) if bias is None else bias)


def conv2d(x, weight, bias=None, *, stride=(1, 1), pad=(0, 0, 0, 0)):
    """Correlate all channels of x (N, C, H, W) with a bank of kernels (O, C, KH, KW): (N, O, OH, OW).

    The numbers under a kernel are laid out as the channels of one pixel; the rest is a 1x1 convolution.
    """
    (n, c, h, w), (o, _, kh, kw), (top, bottom, left, right) = (x.shape, weight.shape, pad)
    high, wide = h + top + bottom, w + left + right
    padded = np.zeros((n, high, wide, c), x.dtype)
    for k in range(c):  # a channel at a time is quicker than a pixel at a time
        padded[:, top : top + h, left : left + w, k] = x[:, k]
    taps = -(-kh * kw * c // 16) * 16  # zeros fill the last vector
    laid = np.zeros((n, (high - kh) // stride[0] + 1, (wide - kw) // stride[1] + 1, taps), x.dtype)
    _lay_out(as_input(padded.reshape(n, high, wide * c)), kh, kw * c, stride[0], stride[1] * c, laid)
    kernels = np.zeros((o, taps), weight.dtype)
    kernels[:, : kh * kw * c] = weight.transpose(0, 2, 3, 1).reshape(o, kh * kw * c)
    return channels_first(_product(as_input(laid), kernels, bias))


@loop
def _lay_out(x, kh, kw, sh, sw, laid):
    """laid[n, y, z] = the numbers under a kernel at (y, z); x is (N, H, W * C), KW and SW count numbers, not pixels."""
    n, oh, ow, _ = laid.shape
    for i in range(n):
        for y in range(oh):
            for u in range(kh):
                for v in range(kw):
                    for z in range(ow):
                        laid[i, y, z, u * kw + v] = x[i, y * sh + u, z * sw + v]


def pointwise_conv2d(x, weight, bias=None):
    """1x1 convolution: x (N, C, H, W) times weight (O, C), plus bias (O,) or None: (N, O, H, W)."""
    return channels_first(_product(as_pixels(x), weight, bias))


def linear(x, weight, bias=None):
    """x (N, C) times weight (O, C) transposed, plus bias (O,) or None: (N, O)."""
    return _product(as_pixels(x), weight, bias)


def in_loop_order(op, weight):
    """A parameter of an operation, in the same shape, as its loop reads it: one that is not copied at each call."""
    if op == "depthwise_conv2d" and weight.ndim == 3:
        return as_input(weight.transpose(1, 2, 0)).transpose(2, 0, 1)
    if op == "pointwise_conv2d" and weight.ndim == 2 and _is_of_few(weight):
        return as_input(weight.T).T
    return as_input(weight)


def _is_of_few(weight):
    o, c = weight.shape
    return c <= FEW and c < o and c % 4 == 0


def _product(x, weight, bias):
    """x (..., C) times weight (O, C) transposed, plus bias: (..., O). Nothing else decides which loop."""
    (o, c), pixels = weight.shape, x.size // x.shape[-1]
    out = empty((pixels, o), x.dtype)
    if x.ndim == 4 and _is_of_few(weight):
        _product_of_few(x.reshape(pixels, c), as_input(weight.T), _bias(weight, bias), out)
    else:
        _product_of_many(x.reshape(pixels, c), as_input(weight), _bias(weight, bias), out)
    return out.reshape(*x.shape[:-1], o)


@loop
def _product_of_few(x, weight, bias, out):
    """x (P, C) times weight (C, O), for few channels: vectors run along the outputs.

    Four pixels (p, q, r, s) by four channels at a time: what is loaded of weights and outputs serves four times. At the
    end the last pixel is taken again, so all sums are made before any is written.
    """
    (pixels, c), o = x.shape, bias.size
    for p in range(0, pixels, 4):
        q, r, s = min(p + 1, pixels - 1), min(p + 2, pixels - 1), min(p + 3, pixels - 1)
        for k in range(o):
            out[p, k] = out[q, k] = out[r, k] = out[s, k] = bias[k]
        for j in range(0, c, 4):
            p0, p1, p2, p3 = x[p, j], x[p, j + 1], x[p, j + 2], x[p, j + 3]
            q0, q1, q2, q3 = x[q, j], x[q, j + 1], x[q, j + 2], x[q, j + 3]
            r0, r1, r2, r3 = x[r, j], x[r, j + 1], x[r, j + 2], x[r, j + 3]
            s0, s1, s2, s3 = x[s, j], x[s, j + 1], x[s, j + 2], x[s, j + 3]
            for k in range(o):
                w0, w1, w2, w3 = (weight[j, k], weight[j + 1, k], weight[j + 2, k], weight[j + 3, k])
                at_p = out[p, k] + (p0 * w0 + p1 * w1 + p2 * w2 + p3 * w3)
                at_q = out[q, k] + (q0 * w0 + q1 * w1 + q2 * w2 + q3 * w3)
                at_r = out[r, k] + (r0 * w0 + r1 * w1 + r2 * w2 + r3 * w3)
                at_s = out[s, k] + (s0 * w0 + s1 * w1 + s2 * w2 + s3 * w3)
                out[p, k], out[q, k], out[r, k], out[s, k] = at_p, at_q, at_r, at_s


@loop
def _product_of_many(x, weight, bias, out):
    """x (P, C) times weight (O, C) transposed, for many channels: vectors run along the channels.

    Three pixels (p, q, r) by four outputs (k, l, m, n) at a time: twelve sums, and as many multiplications for seven
    numbers that are loaded. The order of the lines is what twelve sums, three pixels and one weight need: sixteen
    registers. At the end the last pixel or output is taken again. About 4096 numbers of x stay in the nearest cache
    while all weights pass by.
    """
    (pixels, c), o = x.shape, bias.size
    block = max(3, 4096 // c // 3 * 3)
    for first in range(0, pixels, block):
        last = min(first + block, pixels)
        for k in range(0, o, 4):
            l, m, n = min(k + 1, o - 1), min(k + 2, o - 1), min(k + 3, o - 1)
            w_k, w_l, w_m, w_n = weight[k], weight[l], weight[m], weight[n]
            for p in range(first, last, 3):
                q, r = min(p + 1, last - 1), min(p + 2, last - 1)
                x_p, x_q, x_r = x[p], x[q], x[r]
                pk, pl, pm, pn = qk, ql, qm, qn = rk, rl, rm, rn = (bias[k], bias[l], bias[m], bias[n])
                for j in range(c):
                    pk += x_p[j] * w_k[j]
                    qk += x_q[j] * w_k[j]
                    rk += x_r[j] * w_k[j]
                    pl += x_p[j] * w_l[j]
                    ql += x_q[j] * w_l[j]
                    rl += x_r[j] * w_l[j]
                    pm += x_p[j] * w_m[j]
                    qm += x_q[j] * w_m[j]
                    rm += x_r[j] * w_m[j]
                    pn += x_p[j] * w_n[j]
                    qn += x_q[j] * w_n[j]
                    rn += x_r[j] * w_n[j]
                out[p, k], out[p, l], out[p, m], out[p, n] = pk, pl, pm, pn
                out[q, k], out[q, l], out[q, m], out[q, n] = qk, ql, qm, qn
                out[r, k], out[r, l], out[r, m], out[r, n] = rk, rl, rm, rn


def depthwise_conv2d(x, weight, bias=None, *, stride=(1, 1), pad=(0, 0, 0, 0)):
    """Correlate each channel of x (N, C, H, W) with its own kernel (C, KH, KW): (N, C, OH, OW)."""
    if any(pad) and not np.isfinite(weight).all():  # the zeros outside of the map count, times infinity they are NaN
        x, pad = np.pad(x, ((0, 0), (0, 0), pad[:2], pad[2:])), (0, 0, 0, 0)
    (n, c, h, w), (_, kh, kw), (top, bottom, left, right) = x.shape, weight.shape, pad
    out = empty((n, (h + top + bottom - kh) // stride[0] + 1, (w + left + right - kw) // stride[1] + 1, c), x.dtype)
    kernel = as_input(weight.transpose(1, 2, 0))
    _depthwise(as_pixels(x), kernel, _bias(weight, bias), stride[0], stride[1], top, left, out)
    return channels_first(out)


@loop
def _depthwise(x, weight, bias, sh, sw, top, left, out):
    """x (N, H, W, C), weight (KH, KW, C): a row of outputs at a time from each row of x that it needs.

    The taps in a row are summed at once if they are three or five and inside the map, one by one at a border.
    """
    (_, h, w, c), (kh, kw, _), (n, oh, ow, _) = x.shape, weight.shape, out.shape
    for i in range(n):
        for y in range(oh):
            for z in range(ow):
                for k in range(c):
                    out[i, y, z, k] = bias[k]
            for u in range(max(0, top - y * sh), min(kh, h + top - y * sh)):
                row = y * sh + u - top
                for z in range(ow):
                    j = z * sw - left
                    inside = 0 <= j <= w - kw
                    if inside and kw == 3:
                        for k in range(c):
                            a, b = x[i, row, j, k] * weight[u, 0, k], x[i, row, j + 1, k] * weight[u, 1, k]
                            out[i, y, z, k] += a + b + x[i, row, j + 2, k] * weight[u, 2, k]
                    elif inside and kw == 5:
                        for k in range(c):
                            a, b = x[i, row, j, k] * weight[u, 0, k], x[i, row, j + 1, k] * weight[u, 1, k]
                            d, e = x[i, row, j + 2, k] * weight[u, 2, k], x[i, row, j + 3, k] * weight[u, 3, k]
                            out[i, y, z, k] += a + b + d + e + x[i, row, j + 4, k] * weight[u, 4, k]
                    else:
                        for v in range(max(0, -j), min(kw, w - j)):
                            for k in range(c):
                                out[i, y, z, k] += x[i, row, j + v, k] * weight[u, v, k]
