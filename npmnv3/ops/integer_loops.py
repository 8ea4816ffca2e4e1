"""The hot integer operations as loops, compiled by Numba: twins of `requantize.requantize` and of what `integers` does to
saturating pairs.

The products are the float loops', on numbers small enough to be exact.
"""

import numpy as np

from .jit import as_input, loop
from .layer_loops import conv2d, depthwise_conv2d, linear, pointwise_conv2d
from .requantize import F32, FLOAT_FACTORS, quantize_multiplier
from .requantize import requantize as by_definition

__all__ = ["add_lost", "conv2d", "depthwise_conv2d", "linear", "pointwise_conv2d", "requantize"]

_RULES = {"double": 0, "up": 1, "up_by_8": 1, "single": 2, "truncate": 3}


def _rows(x):
    """(P, C) of (N, C, H, W) or (N, C), as it lies in the loops' memory, and what makes (N, C, ...) of it again."""
    if x.ndim == 2:
        return as_input(x), lambda rows: rows
    n, c, h, w = x.shape
    return as_input(x.transpose(0, 2, 3, 1).reshape(-1, c)), lambda rows: rows.reshape(n, h, w, c).transpose(0, 3, 1, 2)


def requantize(acc, bias, rule, factor, out, low, high, *, wide=False):
    """Exact sums (N, C, ...), floats, and a bias (C,) int32 as the integers of a grid; see `requantize.requantize`."""
    if rule == "real":  # of vectors alone: nothing hot
        return by_definition(acc, bias, rule, factor, out, low, high, wide=wide)
    rows, shaped = _rows(acc)
    result, channels = np.empty(rows.shape, np.int32), rows.shape[1]  # one dtype: a loop is compiled for each
    bias = as_input(np.asarray(bias, np.int64))
    if rule in FLOAT_FACTORS:
        factor = as_input(np.broadcast_to(factor, channels))
        ends = F32(low - out.zero_point), F32(high - out.zero_point)
        _round_floats(rows, bias, wide, factor, out.zero_point, *ends, result)
    else:
        m, e = (as_input(np.broadcast_to(part, channels)) for part in quantize_multiplier(factor))
        whole = channels // 8 * 8 if rule == "up_by_8" else channels
        _round_integers(rows, bias, wide, m, e, _RULES[rule], whole, out.zero_point, low, high, result)
    return shaped(result.astype(out.dtype))


@loop
def _round_integers(rows, bias, wide, m, e, rule, whole, zero, low, high, out):
    """Channels from `whole` on are rounded by "double" where the others are by "up"."""
    for p in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            x, left, right = np.int64(rows[p, k]) + bias[k], max(e[k], 0), max(-e[k], 0)
            x = x if wide else np.int64(np.int32(x))
            if rule >= 2:
                half = (1 << (30 - e[k])) if rule == 2 else 0
                y = (x * m[k] + half) >> (31 - e[k])
            else:
                shifted = np.int64(np.int32(x << left)) if left > 0 else x  # in 32 bits, as the engines do it
                y = (shifted * m[k] + (1 << 30)) >> 31
                half = (1 << right) >> 1
                y = (y + half - (1 if (rule == 0 or k >= whole) and y < 0 and right > 0 else 0)) >> right
            out[p, k] = min(max(y + zero, low), high)


@loop
def _round_floats(rows, bias, wide, factor, zero, low, high, out):
    for p in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            x = np.int64(rows[p, k]) + bias[k]
            y = np.float32(x if wide else np.int64(np.int32(x))) * factor[k]
            out[p, k] = np.int64(np.rint(min(max(y, low), high))) + zero


def add_lost(terms, outputs, places, weights, lost):
    """Add to (O, P) int32 what each pair of terms (K, P) uint8 loses: outputs and places (M,), weights (M, 2) int8."""
    _saturate(as_input(terms), as_input(outputs), as_input(places), as_input(weights), lost)


@loop
def _saturate(terms, outputs, places, weights, lost):
    # Floats stay of 32 bits here, which integers do not: twice as fast.
    low, high = np.float32(-32768), np.float32(32767)
    for i in range(outputs.shape[0]):
        a, b = np.float32(weights[i, 0]), np.float32(weights[i, 1])
        o, k = outputs[i], places[i]
        for p in range(terms.shape[1]):
            pair = a * np.float32(terms[k, p]) + b * np.float32(terms[k + 1, p])
            lost[o, p] += np.int32(min(max(pair, low), high) - pair)
